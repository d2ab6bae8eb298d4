"""The client: answers become records, refusals typed errors with a next step; the token shows nowhere."""

import pickle
import traceback

import pytest
from neve.client import Client, connect
from neve.errors import (
    Ambiguous,
    ColdDataError,
    Conflict,
    NeveError,
    NoRoom,
    NotAllowed,
    NotConfigured,
    NotFound,
    NotSignedIn,
    OverQuota,
    QuoteChanged,
    QuoteExpired,
    ServiceUnavailable,
    WrongUse,
)

TOKEN = "secret-token-0123456789"
PROBLEM = "application/problem+json"


def add(api, *names, **options):
    return [api.add(name, {"f.h5": (b"x", "nexus")}, ["hot"], **options) for name in names]


def test_records(api, client):
    (number,) = add(api, "saxs/run1", title="A title")
    dataset = client.find("run1")
    assert (dataset.id, dataset.full_name, dataset.tier, dataset.readable) == (number, "saxs/run1", "hot", "now")
    assert dataset.received_at.utcoffset().total_seconds() == 0
    (file,) = client.files(number)
    assert (file.path, file.size_bytes, file.copies[0].tier) == ("f.h5", 1, "hot")
    assert client.me().name == "alice"
    assert client.projects() == ["p1"]


def test_paging_is_lazy(api, client):
    add(api, *[f"saxs/run{n:03}" for n in range(45)])
    found = client.datasets({}, page_size=20)
    next(found)
    assert len(api.asked("GET", "/datasets?")) == 1
    assert len(list(found)) == 44
    assert len(api.asked("GET", "/datasets?")) == 3


def test_files_of_many_pages(api, client):
    number = api.add("saxs/many", {f"f{n:03}.h5": (b"x", "nexus") for n in range(450)}, ["archive"])
    assert [file.path for file in client.files(number)] == sorted(f"f{n:03}.h5" for n in range(450))


def test_unknown_name_says_the_nearest(api, client):
    add(api, "saxs/run42", "saxs/run43", "xas/edge", "weather/mast")
    with pytest.raises(NotFound) as caught:
        client.find("saxs/run44")
    assert caught.value.nearest[:2] in {("saxs/run43", "saxs/run42"), ("saxs/run42", "saxs/run43")}
    assert "Did you mean saxs/run4" in str(caught.value)
    assert "KeyError" not in str(caught.value)
    with pytest.raises(NotFound) as caught:
        client.find("egde")
    assert caught.value.nearest == ("xas/edge",)
    with pytest.raises(NotFound, match="lists what you may read"):
        client.find("zzzzzzzz")


def test_ambiguous_name(api, client):
    add(api, "saxs/run1", "xas/run1")
    with pytest.raises(Ambiguous, match="2 datasets are called run1") as caught:
        client.find("run1")
    assert sorted(caught.value.candidates) == ["saxs/run1", "xas/run1"]
    assert client.find("xas/run1").instrument == "xas"


@pytest.mark.parametrize("name", ["", "a\nb", "\x00"])
def test_no_dataset_name(client, api, name):
    with pytest.raises(WrongUse):
        client.find(name)
    assert api.seen == []


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "not-signed-in", NotSignedIn),
        (403, "not-allowed", NotAllowed),
        (404, "not-found", NotFound),
        (409, "ambiguous", Ambiguous),
        (409, "conflict", Conflict),
        (409, "over-quota", OverQuota),
        (409, "no-room", NoRoom),
        (409, "quote-expired", QuoteExpired),
        (409, "quote-changed", QuoteChanged),
        (409, "something-new", Conflict),
        (422, "wrong-use", WrongUse),
        (500, "something-new", ServiceUnavailable),
        (418, "something-new", NeveError),
    ],
)
def test_problems_become_typed_errors(api, client, status, code, kind):
    api.fail.append(
        (status, PROBLEM, b'{"status": %d, "code": "%s", "detail": "It is so.", "next_step": "Do this.", "limit": 3}' % (status, code.encode()))
    )
    with pytest.raises(NeveError) as caught:
        client.me()
    assert type(caught.value) is kind
    assert str(caught.value) == "It is so. Do this."
    assert caught.value.extra == {"limit": 3}


def test_get_is_tried_again_post_is_not(api, client):
    number = add(api, "saxs/run1")[0]
    api.fail += [(503, "text/html", b"busy")] * 2
    assert client.dataset(number).full_name == "saxs/run1"
    assert len(api.asked("GET", "/datasets/")) == 3
    api.fail.append((503, "text/html", b"busy"))
    with pytest.raises(ServiceUnavailable):
        client.ask_restore("saxs/run1")
    assert len(api.asked("POST", "/restores")) == 1


@pytest.mark.parametrize(
    "answer",
    [
        (404, "text/html", b"<html>404 page not found</html>"),
        (404, "application/json", b'{"detail": "Not Found"}'),
        (200, "text/html", b"<html>login</html>"),
        (302, "text/html", b""),
        (200, "application/json", b"{not json"),
        (200, "application/json", b"[]"),
        (200, "application/json", b'{"name": "alice"}'),
        (500, PROBLEM, b"[1]"),
    ],
)
def test_what_is_no_answer_of_the_archiver(api, client, answer):
    api.fail.append(answer)
    with pytest.raises(ServiceUnavailable) as caught:
        client.me()
    assert api.url in str(caught.value)
    assert caught.value.next_step


def test_unknown_members_are_skipped(api, client):
    (number,) = add(api, "saxs/run1")
    api.datasets[number]["colour"] = "blue"
    assert client.dataset(number).name == "run1"


def test_nobody_listens(free_port):
    client = Client(f"http://127.0.0.1:{free_port()}/services/archiver", TOKEN, retries=0)
    with pytest.raises(ServiceUnavailable, match="cannot be reached") as caught:
        client.me()
    assert caught.value.next_step
    client.close()


def test_no_answer_in_time(api):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = Client(f"http://127.0.0.1:{silent.getsockname()[1]}/x", TOKEN, timeout_s=0.2, retries=0)
        with pytest.raises(ServiceUnavailable, match=r"within 0\.2 s"):
            client.me()
        client.close()


def test_the_token_shows_nowhere(api, client, monkeypatch):
    api.fail += [(500, "text/html", b"")]
    with pytest.raises(ServiceUnavailable) as caught:
        client.me()
    told = [repr(client), str(client), repr(vars(client)), str(caught.value), repr(caught.value), "".join(traceback.format_exception(caught.value))]
    assert not [text for text in told if TOKEN in text]
    with pytest.raises(NotSignedIn) as caught:
        Client(api.url, "secret\nX: y")
    assert "secret" not in "".join(traceback.format_exception(caught.value)).replace('"secret\\n', "")
    with pytest.raises(TypeError):
        pickle.dumps(client)


def test_keys_show_nowhere(api, client):
    keys = client.credentials("p1")
    assert keys.secret_access_key == "secret-key"
    assert "secret-key" not in repr(keys)
    assert "session-token" not in repr(keys)


def test_wrong_token(api):
    client = Client(api.url, "another")
    with pytest.raises(NotSignedIn):
        client.me()
    client.close()


@pytest.mark.parametrize("url", ["", "data.example.org", "ftp://x/y", "http://", "http://user:secret@host/x"])
def test_no_address(url, monkeypatch):
    monkeypatch.delenv("NEVE_API_URL", raising=False)
    with pytest.raises(NotConfigured) as caught:
        Client(url, TOKEN)
    assert "secret" not in str(caught.value)


def test_from_the_environment(as_notebook, monkeypatch):
    assert connect().me().name == "alice"
    assert connect() is connect()
    monkeypatch.delenv("JUPYTERHUB_API_TOKEN")
    with pytest.raises(NotSignedIn, match="JUPYTERHUB_API_TOKEN"):
        connect()


def test_cold_data_error_says_what_to_type():
    error = ColdDataError("saxs/run7", "deep", 3 * 86400)
    assert (
        str(error)
        == 'saxs/run7 lies only in the deep archive and can be back within 3 days. This line asks for it back: neve.restore("saxs/run7").wait()'
    )
    assert (error.dataset, error.tier, error.back_within) == ("saxs/run7", "deep", "3 days")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1 second"),
        (20, "20 seconds"),
        (60, "1 minute"),
        (3600, "1 hour"),
        (5400, "90 minutes"),
        (5401, "2 hours"),
        (4 * 3600, "4 hours"),
        (86400, "1 day"),
        (259200, "3 days"),
        (259201, "4 days"),
    ],
)
def test_durations_are_never_told_shorter(seconds, text):
    from neve.wording import duration_text

    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_500_000, "1.5 MB"), (999_999, "1.0 MB"), (123_456_789, "123 MB"), (2 * 10**15, "2000 TB")],
)
def test_sizes(size, text):
    from neve.wording import size_text

    assert size_text(size) == text
