"""The REST API holds what /openapi.json says: Schemathesis makes requests from it, right and wrong, as scientist, admin, instrument and nobody.

Each answer is looked at: no fault of ours, a documented status, content type, headers and body; what the document forbids is refused, and so is a
method that it does not name. What is well-formed and still makes no sense (a cursor that no list has given) is refused with 422, so that a refusal of
what the document allows is no error here.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fixtures.archive import Bench, settings_toml
from fixtures.door import Served
from fixtures.postgres import Postgres
from fixtures.processes import BIN, PATIENCE
from fixtures.routes import ROUTES, problem
from fixtures.site import ALL, TokenTable, fill
from fixtures.store import S3Store

from archiver import auth, keys
from archiver.pages import create_site

IDENTITIES = ["scientist", "admin", "instrument", "nobody"]
QUICK = ("--max-examples", "4", "--generation-deterministic", "--phases")
PHASES = dict.fromkeys(IDENTITIES, "examples,fuzzing") | {"admin": "examples,coverage,fuzzing"}  # an admin gets furthest; the rest is long
THOROUGH = ("--max-examples", "40", "--phases", "examples,coverage,fuzzing,stateful")
# Where they stand a number may stand, too: `DELETE …/uploads/done` is told that `done` is no number, and Allow names both.
A_NUMBERS_PLACE = ["/api/v1/datasets/complete", "/api/v1/datasets/facets", "/api/v1/datasets/{dataset_id}/uploads/done"]


@dataclass
class Api:
    """An archiver that answers at `url`. `tokens`: by identity; nobody has none."""

    url: str
    tokens: dict[str, str]
    bench: Bench


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, store: S3Store) -> Iterator[Api]:
    """Data in every tier, a dataset that is sent to just now, a restore, a hold, comments, on a real port."""
    folder: Path = tmp_path_factory.mktemp("openapi")
    (folder / "home").mkdir()
    text = settings_toml(folder / "home", store, store.buckets("hot", "archive", "deep"), archive={"bundles": True}, deep={"recall": "always"})
    text += f'[api]\nbroker_role_arn = "arn:aws:iam::role/notebooks"\nsts_endpoint_url = "{store.endpoint_url}"\n'
    team = store.buckets("team")["team"]
    text += f'[team]\nbucket = "{team}"\nrole_arn = "arn:aws:iam::role/team"\n'
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        text += f'[ledger]\nurl = "{postgres.ledger()}"\n'
    (folder / "neve.toml").write_text(text, "utf-8")
    bench = Bench(folder, folder / "neve.toml")
    fill(bench)
    hub = TokenTable()
    tokens = {
        "scientist": hub.add("scientist", "snow", scopes=[*ALL, auth.INGEST]),
        "admin": hub.add("admin", scopes=[*ALL, auth.INGEST, auth.ADMIN]),
        "another admin": hub.add("chief", scopes=[*ALL, auth.ADMIN]),
    }
    with bench.archive.ledger.begin() as tx:
        tx.allow_projects("saxs", ["snow"])
    tokens["instrument"] = keys.make(bench.archive, "saxs")
    served = Served(create_site(bench.archive, hub))
    made = Api(f"http://127.0.0.1:{served.listener.getsockname()[1]}/services/archiver", tokens, bench)
    begin_things(made)
    yield made
    served.end()
    bench.give_back()
    with contextlib.closing(store.client()) as s3:
        s3.delete_bucket(Bucket=team)


def begin_things(api: Api) -> None:
    """What requests can be about, for each identity: an open dataset with files on their way, a restore, a hold, a comment, an announcement."""

    def say(who: str, path: str, body: object) -> dict:
        answer = httpx.post(f"{api.url}/api/v1/{path}", json=body, headers={"Authorization": f"Bearer {api.tokens[who]}"}, timeout=30 * PATIENCE)
        assert answer.is_success, answer.text
        return answer.json()

    for who in ("instrument", "scientist", "admin"):
        instrument = {} if who == "instrument" else {"instrument": "saxs"}
        number = say(who, "datasets", {"name": f"open-{who}", "project": "snow", **instrument})["id"]
        files = [{"path": f"{n}.bin", "size_bytes": n * 20 * 2**20, "mark": "m"} for n in range(3)]
        say(who, f"datasets/{number}/uploads", {"files": files})
        growing = {"path": "growing.bin", "size_bytes": 5, "mark": "m", "taken_at": "2026-03-01T12:00:00Z"}
        say(who, f"datasets/{number}/snapshots", {"files": [growing]})
    for who in ("scientist", "admin"):
        say(who, "restores", {"dataset": "saxs/run-0"})
        say(who, "holds", {"dataset": "saxs/run-5", "until": "2026-04-01", "reason": "thesis"})
        say(who, "datasets/6/comments", {"text": "The beam was low."})
    say("another admin", "erasures", {"dataset": "saxs/run-4", "reason": "consent withdrawn"})
    say("admin", "announcements", {"text": "Maintenance.", "until": "2026-03-03"})


def configuration() -> str:
    """What requests are often about: things that are there, and words that were trouble somewhere."""
    texts = ["saxs/run-0", "saxs/run-2", "saxs/run-5", "weather/core-1", "snow", "saxs", "open-instrument", "open-scientist", "open-admin"]
    texts += [
        "",
        " ",
        "\u0000",
        "\u00e9",
        "e\u0301",
        "\u202e",
        "\U0001f9ca",
        "%",
        "*",
        "../..",
        "a" * 5000,
        "2026-03-05",
        "'; --",
        "{{7*7}}",
        "1e999",
    ]
    lines = [f"[dictionaries.texts]\nvalues = {json.dumps(texts, ensure_ascii=False)}"]
    lines += ["[dictionaries.there]\nvalues = [1, 2, 3, 6, 12, 13, 14]", "[parameters]"]
    for name in ("dataset_id", "file_id", "comment_id", "restore_id", "hold_id", "transfer_id", "erasure_id", "snapshot_id"):
        lines.append(f'"path.{name}" = {{ dictionary = "there", probability = 0.7 }}')
    for name in ("dataset", "project", "instrument", "name", "files", "path", "text", "until", "title", "comment", "email", "reason"):
        lines.append(f'"body.{name}" = {{ dictionary = "texts", probability = 0.3 }}')
    lines.append('[generation.dictionaries]\nstring = { dictionary = "texts", probability = 0.1 }')
    lines.append(
        f"[[operations]]\ninclude-path = {json.dumps(A_NUMBERS_PLACE)}\nchecks.unsupported_method.enabled = false\n"
        "checks.allow_header_conformance.enabled = false"
    )
    return "\n".join(lines) + "\n"


def conform(api: Api, who: str, folder: Path, *options: str) -> None:
    """Have requests made as this identity, and see that each answer is as the document says."""
    (folder / "schemathesis.toml").write_text(configuration(), "utf-8")
    command = [BIN / "st", "--config-file", folder / "schemathesis.toml", "run", f"{api.url}/openapi.json", "--no-color", "--warnings", "off"]
    command += ["--generation-allow-x00", "true", "--continue-on-failure", "--exclude-checks", "positive_data_acceptance", *options]
    if who in api.tokens:
        command += ["--header", f"Authorization: Bearer {api.tokens[who]}"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SCHEMATHESIS")}
    done = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Tested: {len(ROUTES)}\n" in done.stdout, done.stdout


@pytest.mark.parametrize("who", IDENTITIES)
def test_each_answer_is_as_documented(api: Api, tmp_path: Path, who: str):
    conform(api, who, tmp_path, *QUICK, PHASES[who])


ODD_HEADERS: list[dict[str, str | bytes]] = [
    *(
        {"Range": asked}
        for asked in ("bytes=0-", "bytes=2-1", "bytes=-1", "bytes=0-0,2-3", "bytes=99999999999999999999-", "lines=1-2", "bytes=\u0661-")
    ),
    {"If-Match": "*", "If-None-Match": "*", "If-Modified-Since": "yesterday", "If-Range": '"x"', "Range": "bytes=1-"},
    {"Accept": "image/png", "Accept-Encoding": "rot13;q=2", "Accept-Language": "\u202e"},
    {
        "X-HTTP-Method-Override": "DELETE",
        "X-Forwarded-Prefix": "//evil.example",
        "X-Forwarded-Host": "evil.example",
        "Forwarded": "host=evil.example",
    },
    {"Cookie": "neve=\x01; =; ;;", "Origin": "null", "Sec-Fetch-Site": "cross-site"},
    {"Authorization": b"Bearer \xff\xfe"},
    {"Authorization": "Basic YTpi"},
    {"Authorization": "Bearer neve_"},
    {"Authorization": ""},
]
ODD_BODIES: list[tuple[str | None, bytes]] = [
    *((None, body) for body in (b"", b"{}")),
    *(
        ("application/json", body)
        for body in (b"", b"null", b"[]", b"{}", b'""', b"1e999", b'{"text": "\\ud800"}', b'{"text": 1, "text": "\\u0000"}')
    ),
    ("application/json", b'{"days": ' + b"9" * 5000 + b"}"),
    ("application/json", b'{"text": "' + b"a" * 2**20 + b'"}'),
    ("application/json; charset=utf-16", "{}".encode("utf-16")),
    ("application/toml", b"\xff"),
    ("application/x-www-form-urlencoded", b"text=a&text=b"),
    ("multipart/form-data", b"--"),
    ("text/plain\u00e9", b"{}"),
]
ODD_QUERIES = [
    "limit=1&limit=2",
    "cursor=&cursor=",
    "limit=" + "9" * 5000,
    "q=%00",
    "q=%ff",
    "q=%ED%A0%80",
    "%00=1",
    "=",
    "&&&",
    "path=" + "&path=" * 200,
    "x=1",
]


@pytest.mark.parametrize("who", ["scientist", pytest.param("instrument", marks=pytest.mark.long), pytest.param("admin", marks=pytest.mark.long)])
def test_odd_requests_are_answered_as_documented(api: Api, who: str):
    """Headers, bodies and queries that the document does not tell of, with each method on each address."""
    with httpx.Client(base_url=api.url, timeout=30 * PATIENCE) as client:
        document = client.get("openapi.json").json()
        for method, path in sorted(ROUTES):
            documented = set(document["paths"][path][method]["responses"])
            address = path.replace("{dataset_id}", "3").replace("{file_id}", "5").replace("{", "").replace("}", "")

            def ask(method: str, address: str, *, documented: set[str] = documented, **more: Any) -> None:
                headers = {"Authorization": f"Bearer {api.tokens[who]}", **more.pop("headers", {})}
                sent = {name: value.encode() if isinstance(value, str) else value for name, value in headers.items()}
                answer = client.request(method, address, headers=sent, **more)
                asked = method, address, headers, more
                assert str(answer.status_code) in documented, (asked, answer.text)
                assert answer.status_code < 500 or address == "/health", (asked, answer.text)
                if answer.status_code >= 400 and method != "HEAD" and address != "/health":
                    problem(answer, answer.status_code, answer.json()["code"])

            for odd in ODD_HEADERS:
                ask(method, address, headers=odd)
            for kind, body in ODD_BODIES:
                ask(method, address, content=body, headers={} if kind is None else {"Content-Type": kind})
            for query in ODD_QUERIES:
                ask(method, f"{address}?{query}")
            for other in ("HEAD", "OPTIONS", "TRACE", "PROPFIND"):
                ask(other, address, documented={"405"})


@pytest.mark.long
@pytest.mark.parametrize("who", IDENTITIES)
def test_each_answer_is_as_documented_to_very_many_requests(api: Api, tmp_path: Path, who: str):
    """Each time others, and chains of requests in which one is about what another has made."""
    conform(api, who, tmp_path, *THOROUGH)


def test_numbers_are_numbers_and_bytes_are_base64(api: Api):
    """What pydantic and base64 would take for them."""
    with httpx.Client(base_url=f"{api.url}/api/v1/", headers={"Authorization": f"Bearer {api.tokens['instrument']}"}) as client:

        def refused(path: str, body: object) -> str:
            return str(problem(client.post(path, json=body), 422, "wrong-use")["detail"])

        file = {"path": "a", "size_bytes": 1, "mark": "m"}
        assert refused("instrument/report", {"waiting": 0, "oldest_waiting_s": False}) == "oldest_waiting_s is wrong: it should be a valid integer."
        assert refused("instrument/report", {"waiting": "7"}) == "waiting is wrong: it should be a valid integer."
        assert "size_bytes" in refused("datasets/12/uploads", {"files": [{**file, "size_bytes": True}]})
        assert "it is a number" in refused("datasets/12/uploads", {"files": [{**file, "mtime": 1767225600}]})
        for nonsense in ("é", "\u008f", "a", "YQ==\n"):
            odd = {"path_base64": nonsense, "size_bytes": 1, "mark": "m"}
            assert refused("datasets/12/uploads", {"files": [odd]}) == "`path_base64` is no base64."
        assert client.post("instrument/report", json={"waiting": 3, "oldest_waiting_s": 60}).status_code == 204


def test_a_large_body_beside_a_download_harms_nothing(api: Api):
    """Whatever is sent with a GET is not read; where a body is asked for, one that is too large is refused."""
    headers = {"Authorization": f"Bearer {api.tokens['scientist']}"}
    answer = httpx.request("GET", f"{api.url}/api/v1/datasets/3/download", content=bytes(2**21), headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert packed.read("run-2/a.txt") == b"snow 2"
    problem(httpx.post(f"{api.url}/api/v1/restores", content=bytes(2**21), headers=headers), 413, "wrong-use")


def test_a_range_that_the_file_does_not_have(api: Api):
    headers = {"Authorization": f"Bearer {api.tokens['scientist']}"}
    files = httpx.get(f"{api.url}/api/v1/datasets/3/files", headers=headers).json()["items"]
    number = next(file["id"] for file in files if file["path"] == "a.txt")
    assert httpx.get(f"{api.url}/api/v1/files/{number}/content", headers={**headers, "Range": "bytes=5-9"}).content == b"2"
    said = problem(httpx.get(f"{api.url}/api/v1/files/{number}/content", headers={**headers, "Range": "bytes=6-"}), 416, "wrong-use")
    assert said["detail"] == "The file has 6 bytes: that range is none of it."
