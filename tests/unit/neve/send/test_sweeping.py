"""Sources are deleted after two proven copies, and never before, nor when they are something else by then."""

from __future__ import annotations

import os

import pytest
from fixtures.watching import put
from neve.send.sweeping import sweep

FAR = 4e9  # seconds since 1970: everything was sent before


@pytest.fixture
def sent(watching):
    """Sends what lies in the inbox; the agent that did it."""

    def start(**settings):
        agent = watching(**settings)
        agent.pass_time()
        agent.pass_time(20)
        return agent

    return start


def swept(reception, journal, inbox, events, *, before=FAR, prune=True):
    return sweep(reception, journal, inbox, 1, before=before, prune=prune, tell=events.append)


def receipts(archiver, monkeypatch, change):
    """Let the archiver's receipts be as `change` makes them."""
    real = archiver._receipts

    def changed(number):
        answer = real(number)
        for item in answer["items"]:
            change(item)
        return answer

    monkeypatch.setattr(archiver, "_receipts", changed)


def test_two_proven_copies_and_it_goes_with_its_empty_folders(inbox, sent, reception, journal):
    put(inbox / "run42" / "deep" / "a.dat", b"abc")
    put(inbox / "run42" / "b.dat", b"b")
    sent()
    put(inbox / "run43" / "c.dat", b"not sent")
    (inbox / "run44").mkdir()
    events = []
    result = swept(reception, journal, inbox, events)
    assert (result.files, result.size_bytes, result.left) == (2, 4, 0)
    assert sorted(path.relative_to(inbox).as_posix() for path in inbox.rglob("*")) == ["run43", "run43/c.dat", "run44"]
    assert list(journal.entries()) == []
    assert inbox.is_dir()


def test_the_inbox_itself_never_goes(inbox, sent, reception, journal):
    put(inbox / "only.dat", b"abc")
    sent()
    assert swept(reception, journal, inbox, []).files == 1
    assert inbox.is_dir()


def test_while_the_dataset_is_open_folders_stay_and_manifests_know(inbox, sent, reception, journal):
    put(inbox / "run42" / "a.dat", b"abc")
    sent()
    assert swept(reception, journal, inbox, [], prune=False).files == 1
    assert (inbox / "run42").is_dir()
    assert journal.at(inbox / "run42" / "a.dat").state == "received"
    assert swept(reception, journal, inbox, []).files == 0  # closed by now
    assert not (inbox / "run42").exists() or not any((inbox / "run42").iterdir())
    assert journal.at(inbox / "run42" / "a.dat") is None


ALMOST = {
    "one copy": lambda item: item["copies"].pop(),
    "two copies in one place": lambda item: [copy.update(place="here") for copy in item["copies"]],
    "one not proven": lambda item: item["copies"][1].update(proven_at=None),
    "another sum": lambda item: item.update(sha256="0" * 64),
    "another size": lambda item: item.update(size_bytes=item["size_bytes"] + 1),
    "another path": lambda item: item.update(path="other.dat"),
    "a path that only begins alike": lambda item: item.update(path="a.dat.bak"),
}


@pytest.mark.parametrize("almost", ALMOST)
def test_less_than_that_and_it_stays(inbox, sent, reception, journal, archiver, monkeypatch, almost):
    path = put(inbox / "run42" / "a.dat", b"abc")
    sent()
    receipts(archiver, monkeypatch, ALMOST[almost])
    result = swept(reception, journal, inbox, [])
    assert (result.files, result.left) == (0, 1)
    assert path.read_bytes() == b"abc"


def test_the_journal_alone_is_no_reason(inbox, sent, reception, journal, archiver):
    path = put(inbox / "run42" / "a.dat", b"abc")
    sent()
    archiver.files.clear()  # a ledger that was lost
    assert swept(reception, journal, inbox, []).files == 0
    assert path.exists()


@pytest.mark.parametrize("what", ["other size", "other time", "a link", "a folder", "gone"])
def test_a_file_that_is_another_by_now_stays(inbox, sent, reception, journal, what):
    path = put(inbox / "run42" / "a.dat", b"abc", mtime_ns=10**18)
    sent()
    path.unlink()
    match what:
        case "other size":
            put(path, b"abcd", mtime_ns=10**18)
        case "other time":
            put(path, b"xyz", mtime_ns=10**18 + 1_000)
        case "a link":
            path.symlink_to(put(inbox / "elsewhere.dat", b"abc", mtime_ns=10**18))
        case "a folder":
            path.mkdir()
    before = sorted(path.parent.iterdir())
    result = swept(reception, journal, inbox, [])
    assert result.files == 0
    assert (sorted(path.parent.iterdir()) if path.parent.exists() else []) == before


def test_other_bytes_of_the_same_size_and_date_stay(inbox, sent, reception, journal):
    path = put(inbox / "run42" / "a.dat", b"abc", mtime_ns=10**18)
    sent()
    put(path, b"xyz", mtime_ns=10**18)
    events = []
    assert (swept(reception, journal, inbox, events).files, path.read_bytes()) == (0, b"xyz")
    assert "other bytes" in events[0].about["reason"]


def test_another_content_under_the_same_path_goes_by_its_own_receipt(inbox, sent, reception, journal, archiver):
    path = put(inbox / "run42" / "a.dat", b"first")
    agent = sent()
    put(path, b"second one")
    agent.pass_time(31)
    agent.pass_time(31)
    assert set(archiver.content()) == {b"a.dat", b"a.dat@v2"}
    assert swept(reception, journal, inbox, []).files == 1
    assert not path.exists()


def test_not_before_its_age(inbox, sent, reception, journal):
    path = put(inbox / "run42" / "a.dat", b"abc")
    sent()
    sent_at = journal.at(path).at
    assert swept(reception, journal, inbox, [], before=sent_at - 1).left == 1
    assert swept(reception, journal, inbox, [], before=sent_at + 1).files == 1


def test_what_lies_outside_the_inbox_is_not_touched(inbox, tmp_path, sent, reception, journal):
    from neve.send.sender import send
    from neve.send.source import scan

    put(inbox / "run42" / "a.dat", b"abc")
    sent()
    outside = put(tmp_path / "elsewhere" / "b.dat", b"b")
    send(reception, journal, "p1", "run42", scan([outside.parent], lambda _skipped: None), close=False)
    assert swept(reception, journal, inbox, []).files == 1
    assert outside.exists()


@pytest.mark.skipif(os.name == "nt", reason="rights of POSIX")
def test_what_cannot_be_deleted_is_told(inbox, sent, reception, journal, monkeypatch):
    from pathlib import Path

    put(inbox / "run42" / "a.dat", b"abc")
    sent()

    def refused(self, missing_ok=False):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refused)
    events = []
    assert swept(reception, journal, inbox, events).left == 1
    assert events[0].kind == "kept"
    assert events[0].about["reason"] == "cannot be deleted (Permission denied)"


def test_the_agent_deletes_where_it_is_so_set_and_asks_again(inbox, sent, archiver, monkeypatch):
    put(inbox / "run42" / "a.dat", b"abc")
    copies = {"left": 1}
    receipts(archiver, monkeypatch, lambda item: item.update(copies=item["copies"][: copies["left"]]))
    agent = sent(delete_after="two-copies")
    agent.pass_time(400)
    assert archiver.datasets[1]["state"] == "closed"
    assert (inbox / "run42" / "a.dat").exists()
    copies["left"] = 2
    agent.pass_time(1300)
    assert list(inbox.iterdir()) == []
    assert agent.said("deleted") == [{"dataset_id": 1, "files": 1, "bytes": 3}]
    asked = archiver.asked_for("/receipts")
    agent.pass_time(100_000)
    assert archiver.asked_for("/receipts") == asked, "nothing is left to ask for"
    assert agent.watch.status().deleted == 1


def test_the_agent_deletes_nothing_by_itself(inbox, sent, archiver):
    path = put(inbox / "run42" / "a.dat", b"abc")
    agent = sent()
    agent.pass_time(400)
    agent.pass_time(100_000)
    assert archiver.asked_for("/receipts") == 0
    assert path.exists()
