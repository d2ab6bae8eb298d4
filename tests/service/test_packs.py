"""Small files sent together: received when their pack is proven, laid out at their own paths, copied on as the bundle they came in."""

from __future__ import annotations

import io
import secrets
import socket
import tarfile
import time
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from fixtures import packed
from fixtures.archive import lose_the_ledger
from fixtures.door import Door
from fixtures.packed import sha
from fixtures.soundness import wrong

from archiver import closing, erasure, names, packing, rebuild, strays, transfer, worker
from archiver.check import check
from archiver.model import Dataset, ObjectKind
from archiver.worker import Worker

ODD = {
    b"plain/a.bin": b"",
    "plain/\N{SNOWMAN} \U0001f600.bin".encode(): b"1",
    b"line\nbreak\t'\"&%+#.bin": b"22",
    b"not \xff\xfe utf-8": b"333",
    b"n" * 255: b"4444",
    b"/".join([b"d" * 100] * 9) + b"/deep": b"55555",
    b"NEVE-BUNDLE-00001.tar": b"a reserved name",
    b"NEVE-ARCHIVED.txt": b"another",
    "e\u0301".encode(): b"not composed",
    "\u00e9".encode(): b"composed",
    b"case": b"1",
    b"CASE": b"2",
}


@pytest.fixture
def door(doors: Callable[..., Door]) -> Door:
    """Archive and deep take bundles."""
    return doors(archive={"bundles": True}, deep={"bundles": True})


def opened(client, name: str = "run1") -> int:
    answer = client.post("datasets", json={"name": name})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def many(count: int = 40, size_bytes: int = 3000) -> dict[bytes, bytes]:
    return {f"scan/{number:05d}.dat".encode(): secrets.token_bytes(size_bytes) for number in range(count)}


def objects(door: Door, dataset: int) -> dict[str, list[str]]:
    """The tiers in which each object of a dataset has a copy, by key without the dataset's prefix."""
    with door.bench.archive.ledger.read() as tx:
        prefix, copies = tx.dataset(dataset).prefix, tx.copies(dataset)
        return {obj.key.removeprefix(f"{prefix}/"): sorted(c.tier for c in copies if c.object_id == obj.id) for obj in tx.objects(dataset)}


def see_laid_out(door: Door, dataset: int, files: dict[bytes, bytes]) -> Dataset:
    """Each lies at its own path in hot, byte for byte."""
    with door.bench.archive.ledger.read() as tx:
        found = tx.dataset(dataset)
    for path, content in files.items():
        assert door.bench.read(found, names.text(path)) == content
    return found


def test_files_that_come_together_are_received_and_lie_where_they_should(door: Door):
    client, files = door.client(), {**many(), **ODD}
    dataset = opened(client)
    (pack,) = packed.sent(client, dataset, files)
    standing = client.get(f"datasets/{dataset}/uploads").json()
    assert (standing["received"], standing["verifying"], standing["sending"]) == (0, len(files), 0)
    assert {item["state"] for item in standing["items"]} == {"verifying"}
    door.settle()
    assert packed.told(client, pack, files).json()["state"] == "received"
    standing = client.get(f"datasets/{dataset}/uploads").json()
    assert (standing["received"], standing["items"]) == (len(files), [])
    with door.bench.archive.ledger.read() as tx:
        there = tx.files(dataset)
    assert {f.path_raw: (f.sha256, f.size_bytes) for f in there} == {path: (sha(content), len(content)) for path, content in files.items()}
    assert all(f.crc64nvme is not None and f.mtime is not None for f in there)
    see_laid_out(door, dataset, files)
    assert client.post(f"datasets/{dataset}/close").json()["items"][0]["state"] == "closing"
    door.settle()
    lie = objects(door, dataset)
    assert lie.pop("NEVE-BUNDLE-00001.tar") == ["archive", "deep"]
    assert [tiers for key, tiers in lie.items() if "manifests" not in key] == [["hot"]] * len(files)
    assert check(door.bench.archive) == []


def test_the_bundle_in_archive_and_deep_is_the_pack_as_it_came(door: Door):
    client, files = door.client(), many()
    dataset = opened(client)
    (pack,) = packed.sent(client, dataset, files)
    body = packed.tar(pack, files)
    client.post(f"datasets/{dataset}/close")
    door.settle()
    with door.bench.archive.ledger.read() as tx:
        (bundle,) = [obj for obj in tx.objects(dataset) if obj.kind is ObjectKind.BUNDLE]
        copies = tx.copies_of(bundle.id)
    assert bundle.sha256 == sha(body)
    for copy in copies:
        read = b"".join(door.bench.archive.tiers[copy.tier].read(copy.key, copy.version_id))
        assert read == body
    with tarfile.open(fileobj=io.BytesIO(body)) as opened_:
        assert {info.name.encode(): opened_.extractfile(info).read() for info in opened_} == files  # type: ignore[union-attr]


def test_a_pack_is_copied_on_and_let_go_while_its_dataset_is_open_and_no_file_is_read_for_it(door: Door, monkeypatch: pytest.MonkeyPatch):
    seen: list[int] = []
    plain = worker.view
    monkeypatch.setattr(worker, "view", lambda tx, dataset_id: seen.append(dataset_id) or plain(tx, dataset_id))
    client, files = door.client(), many()
    dataset = opened(client)
    packed.sent(client, dataset, files)
    door.settle()
    lie = objects(door, dataset)
    assert lie.pop("NEVE-BUNDLE-00001.tar") == ["archive", "deep", "hot"]
    assert set(map(tuple, lie.values())) == {("hot",)}
    assert seen == []
    reader = door.client(door.hub.add("alice", "snow"))
    (item, *_) = reader.get(f"datasets/{dataset}/files").json()["items"]
    assert {copy["tier"] for copy in reader.get(f"files/{item['id']}/receipt").json()["copies"]} == {"hot", "archive", "deep"}
    door.bench.turn(minutes=9)
    more = {b"more/" + path: content for path, content in files.items()}
    packed.sent(client, dataset, more)
    door.settle()
    assert "hot" in objects(door, dataset)["NEVE-BUNDLE-00001.tar"]
    door.bench.turn(minutes=2)
    third = {b"third/" + path: content for path, content in files.items()}
    packed.sent(client, dataset, third)
    packed.asked(client, dataset, {b"never/" + path: content for path, content in files.items()})  # asked for, and not sent
    door.settle()
    lie = objects(door, dataset)
    tiers = [lie.pop(f"NEVE-BUNDLE-0000{number}.tar") for number in (1, 2, 3, 4)]
    assert tiers == [["archive", "deep"], ["archive", "deep"], ["archive", "deep", "hot"], []], "those of the ten minutes before have gone"
    assert set(map(tuple, lie.values())) == {("hot",), ()}
    with door.bench.archive.ledger.read() as tx:
        prefix = tx.dataset(dataset).prefix
    assert sorted(set(door.bench.keys("hot"))) == sorted(
        f"{prefix}/{name}" for name in ["NEVE-BUNDLE-00003.tar", *(path.decode() for path in {**files, **more, **third})]
    )
    assert check(door.bench.archive) == []
    assert seen == []


@pytest.mark.parametrize("how", ["told", "asked"])
def test_files_that_are_taken_in_by_hand_while_they_are_sent_are_what_was_taken_in(door: Door, how: str):
    client, files = door.client(), many(20)
    dataset = opened(client)
    if how == "told":
        packed.sent(client, dataset, files)
    else:
        packed.asked(client, dataset, files)
    here = {path.decode(): content for path, content in files.items()} | {"scan/00003.dat": secrets.token_bytes(3000), "scan/00004.dat": b"shorter"}
    door.bench.ingest("run1", here)
    for _ in range(3):
        door.settle()
        door.bench.turn(minutes=10)
    strays.run(door.bench.archive)
    assert wrong(door.bench, {"run1": here}, {"run1": {"hot", "archive", "deep"}}) == {"run1": []}


def test_few_files_and_large_ones_go_by_themselves(door: Door):
    client = door.client()
    dataset = opened(client)
    few = packed.asked(client, dataset, many(packing.LEAST - 1))
    assert (few["packs"], {item["state"] for item in few["items"]}) == ([], {"put"})
    mixed = packed.asked(client, dataset, {**{b"more/" + path: content for path, content in many().items()}, b"large": bytes(2**20)})
    assert [item["state"] for item in mixed["items"]] == ["pack"] * 40 + ["put"]
    assert packed.asked(client, dataset, {b"x/" + path: content for path, content in many().items()}, packs=False)["packs"] == []


def test_what_is_asked_again_is_answered_the_same_and_what_is_asked_otherwise_is_taken_apart(door: Door):
    client, files = door.client(), many()
    dataset = opened(client)
    (first,) = packed.asked(client, dataset, files)["packs"]
    (again,) = packed.asked(client, dataset, files)["packs"]
    assert {**again, "put": None} == {**first, "put": None}
    assert packed.put(first, packed.tar(first, files)).status_code == 200
    changed = {**files, b"scan/00007.dat": b"otherwise"}
    second = packed.asked(client, dataset, changed)
    assert [item["state"] for item in second["items"]].count("pack") == 39
    (pack,) = second["packs"]
    assert pack["pack_id"] != first["pack_id"]
    assert packed.told(client, first, files).status_code == 404
    assert packed.put(pack, packed.tar(pack, changed)).status_code == 200
    assert packed.told(client, pack, changed).json()["state"] == "verifying"
    (item,) = [item for item in second["items"] if item["state"] == "put"]
    assert packed.put(item, b"otherwise").status_code == 200
    done = {"file_id": item["file_id"], "sha256": sha(b"otherwise")}
    assert client.post(f"datasets/{dataset}/uploads/done", json={"files": [done]}).json()["items"][0]["state"] == "verifying"
    client.post(f"datasets/{dataset}/close")
    door.settle()
    found = see_laid_out(door, dataset, changed)
    assert objects(door, dataset)["NEVE-BUNDLE-00001.tar"] == []
    assert door.bench.archive.tiers["hot"].head(f"{found.prefix}/NEVE-BUNDLE-00001.tar") is None
    assert check(door.bench.archive) == []


def test_a_pack_with_one_wrong_byte_is_received_in_no_part(door: Door):
    client, files = door.client(), many()
    dataset = opened(client)
    (pack,) = packed.asked(client, dataset, files)["packs"]
    body = bytearray(packed.tar(pack, files))
    body[pack["members"][20]["offset_bytes"]] ^= 1
    assert packed.put(pack, bytes(body)).status_code == 200
    assert packed.told(client, pack, files).json()["state"] == "verifying"
    Worker(door.bench.archive).settle()
    standing = client.get(f"datasets/{dataset}/uploads").json()
    assert (standing["received"], standing["verifying"], standing["sending"]) == (0, 0, 40)
    assert {item["state"] for item in standing["items"]} == {"failed"}
    assert "scan/00020.dat arrived with SHA-256" in standing["items"][0]["error"]
    packed.sent(client, dataset, files)
    client.post(f"datasets/{dataset}/close")
    door.settle()
    see_laid_out(door, dataset, files)
    assert check(door.bench.archive) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: body[:-512],
        lambda body: body + bytes(512),
        lambda body: bytes([body[0] ^ 1]) + body[1:],
        lambda body: body[:-1] + b"x",
        lambda body: body[: 512 + 3000] + b"x" + body[512 + 3001 :],
        lambda body: body[512 + 3072 :] + body[: 512 + 3072],
    ],
    ids=["short", "long", "a header", "its end", "padding", "another order"],
)
def test_what_is_laid_out_otherwise_is_not_received(door: Door, spoil: Callable[[bytes], bytes]):
    """The store holds the PUT to its size, so bytes of another size are laid there by hand."""
    client, files = door.client(), many(20)
    dataset = opened(client)
    (pack,) = packed.asked(client, dataset, files)["packs"]
    body = spoil(packed.tar(pack, files))
    hot = door.bench.archive.tiers["hot"]
    with door.bench.archive.ledger.read() as tx:
        key = tx.object(pack["pack_id"]).key
    version = hot.begin_put(key, body, "STANDARD")()
    assert packed.told(client, pack, files, version_id=version).json()["state"] == "verifying"
    door.settle()
    standing = client.get(f"datasets/{dataset}/uploads").json()
    assert (standing["received"], {item["state"] for item in standing["items"]}) == (0, {"failed"})
    assert hot.head(key) is None
    assert check(door.bench.archive) == []


def test_who_tells_of_a_pack_wrongly_changes_nothing(door: Door):
    client, files = door.client(), many(20)
    dataset = opened(client)
    (pack,) = packed.asked(client, dataset, files)["packs"]
    assert packed.told(client, pack, files).json()["state"] == "missing"
    packed.put(pack, packed.tar(pack, files))
    where = f"datasets/{dataset}/packs/{pack['pack_id']}/done"
    said = [{"file_id": member["file_id"], "sha256": "0" * 64} for member in pack["members"]]
    for files_told, status in ((said[:-1], 409), ([*said, said[0]], 422), ([*said[:-1], {**said[0], "file_id": 999}], 409)):
        assert client.post(where, json={"files": files_told}).status_code == status
    other = door.client(door.key_of("weather", "snow"))
    assert other.post(where, json={"files": said}).status_code == 404
    assert client.post(f"datasets/{dataset}/packs/999/done", json={"files": said}).status_code == 404
    assert client.post(f"datasets/{opened(client, 'run2')}/packs/{pack['pack_id']}/done", json={"files": said}).status_code == 404
    assert client.get(f"datasets/{dataset}/uploads").json()["sending"] == 20
    assert packed.told(client, pack, files).json()["state"] == "verifying"


def test_a_file_that_is_given_up_leaves_its_pack_and_the_rest_is_sent_anew(door: Door):
    client, files = door.client(), many(20)
    dataset = opened(client)
    (pack,) = packed.asked(client, dataset, files)["packs"]
    packed.put(pack, packed.tar(pack, files))
    gone = pack["members"][3]
    assert client.delete(f"datasets/{dataset}/uploads/{gone['file_id']}").status_code == 204
    assert packed.told(client, pack, files).status_code == 404
    rest = {path: content for path, content in files.items() if path != packed.path_of(gone)}
    packed.sent(client, dataset, rest)
    door.settle()
    assert client.get(f"datasets/{dataset}/uploads").json()["received"] == 19
    assert client.delete(f"datasets/{dataset}/uploads/{pack['members'][4]['file_id']}").status_code == 409


def test_what_was_never_sent_is_forgotten_when_its_dataset_is_open_for_too_long_and_what_was_stays(door: Door):
    client, first, second = door.client(), many(20), {b"b/" + path: content for path, content in many(20).items()}
    dataset = opened(client)
    packed.sent(client, dataset, first)
    (lost,) = packed.asked(client, dataset, second)["packs"]
    packed.put(lost, packed.tar(lost, second))
    door.bench.turn(days=40)
    closing.run(door.bench.archive)
    door.settle()
    with door.bench.archive.ledger.read() as tx:
        assert {file.path_raw for file in tx.files(dataset)} == set(first)
        assert tx.dataset(dataset).state == "closed"
    assert packed.told(client, lost, second).status_code == 404
    assert check(door.bench.archive) == []


def test_a_ledger_made_again_finds_the_files_in_the_pack_before_anything_else_was_copied(door: Door):
    client, files = door.client(), many(20)
    dataset = opened(client)
    packed.sent(client, dataset, files)
    door.settle()
    bench = door.bench
    client.post(f"datasets/{dataset}/close")
    assert closing.close(bench.archive, dataset) is None
    with bench.archive.ledger.read() as tx:
        own = {file.object_id for file in tx.files(dataset)}
        laid_out = [copy for copy in tx.copies(dataset, "hot") if copy.object_id in own]
    assert len(laid_out) == 20
    for copy in laid_out:
        bench.archive.tiers["hot"].delete_version(copy.key, copy.version_id)
    again = lose_the_ledger(bench)
    report = rebuild.rebuild(again.archive)
    assert (report.datasets, report.files) == (1, 20)
    again.settle()
    with again.archive.ledger.read() as tx:
        found = tx.dataset_named("saxs", "run1")
    for path, content in files.items():
        assert again.read(found, names.text(path)) == content
    again.archive.ledger.dispose()


def test_an_erased_file_leaves_the_pack_that_it_came_in(door: Door):
    client, files = door.client(), many(20)
    dataset = opened(client)
    packed.sent(client, dataset, files)
    client.post(f"datasets/{dataset}/close")
    door.settle()
    bench = door.bench
    asked = erasure.request(bench.archive, "ana", "run1", "scan/00003.dat", "The person asked for it, by law")
    erasure.approve(bench.archive, "ben", asked.id)
    bench.settle()
    lie = objects(door, dataset)
    assert lie["NEVE-BUNDLE-00001.tar"] == []
    assert lie["NEVE-BUNDLE-00002.tar"] == ["archive", "deep"]
    assert lie["scan/00003.dat"] == []
    secret = files[b"scan/00003.dat"]
    for tier in ("archive", "deep"):
        with bench.archive.ledger.read() as tx:
            (copy,) = [c for c in tx.copies(dataset, tier) if c.key.endswith("NEVE-BUNDLE-00002.tar")]
        assert secret not in b"".join(bench.archive.tiers[tier].read(copy.key, copy.version_id))
    assert check(bench.archive) == []


def test_what_is_left_of_a_lay_out_whose_process_died_gives_way(door: Door):
    """SeaweedFS keeps an empty object of a PUT of which only the headers came."""
    client, files, hot = door.client(), {**many(20), b"scan/empty": b""}, door.bench.archive.tiers["hot"]
    dataset = opened(client)
    with door.bench.archive.ledger.read() as tx:
        prefix = tx.dataset(dataset).prefix
    for name in ("scan/00005.dat", "scan/empty"):
        request = hot.signed_put(f"{prefix}/{name}", 3000, "STANDARD", timedelta(hours=1))
        where = urlsplit(request.url)
        with socket.create_connection((where.hostname, where.port)) as connection:  # type: ignore[arg-type]
            headers = "".join(f"{key}: {value}\r\n" for key, value in {**request.headers, "Host": where.netloc, "Content-Length": "3000"}.items())
            connection.sendall(f"PUT {where.path}?{where.query} HTTP/1.1\r\n{headers}\r\n".encode())
    deadline = time.monotonic() + 20
    while door.bench.keys("hot") != [f"{prefix}/scan/00005.dat", f"{prefix}/scan/empty"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    packed.sent(client, dataset, files)
    client.post(f"datasets/{dataset}/close")
    door.settle()
    door.bench.turn(minutes=1)
    door.settle()
    see_laid_out(door, dataset, files)
    assert check(door.bench.archive) == []


def test_what_stands_at_a_packs_own_key_and_is_not_ours_is_left_alone(door: Door):
    """Another pack, of another number, takes its place."""
    client, files, hot = door.client(), many(20), door.bench.archive.tiers["hot"]
    dataset = opened(client)
    with door.bench.archive.ledger.read() as tx:
        key = f"{tx.dataset(dataset).prefix}/NEVE-BUNDLE-00001.tar"
    version = hot.begin_put(key, b"somebody else's", "STANDARD")()
    with pytest.raises(AssertionError, match="foreign-object"):
        packed.asked(client, dataset, files)
    (pack,) = packed.sent(client, dataset, files)
    assert len(pack["members"]) == 20
    door.settle()
    strays.run(door.bench.archive)
    assert b"".join(hot.read(key, version)) == b"somebody else's"
    assert client.get(f"datasets/{dataset}/uploads").json()["received"] == 20


def test_a_pack_that_was_taken_apart_is_cleared_whoever_ended_meanwhile(door: Door, monkeypatch: pytest.MonkeyPatch):
    """And a pack of forgotten files too, whenever it comes."""
    client, files, hot = door.client(), many(20), door.bench.archive.tiers["hot"]
    dataset = opened(client)
    (pack,) = packed.asked(client, dataset, files)["packs"]
    packed.put(pack, packed.tar(pack, files))
    changed = {**files, b"scan/00003.dat": b"otherwise"}
    with monkeypatch.context() as patched:
        patched.setattr(transfer, "end_given_up", lambda *_: None)  # as if the process had ended there
        (second,) = packed.asked(client, dataset, changed)["packs"]
    with door.bench.archive.ledger.read() as tx:
        prefix = tx.dataset(dataset).prefix
    assert door.bench.keys("hot") == [f"{prefix}/NEVE-BUNDLE-00001.tar"]
    strays.run(door.bench.archive)
    assert door.bench.keys("hot") == []
    assert client.delete(f"datasets/{dataset}/uploads/{second['members'][0]['file_id']}").status_code == 204
    packed.put(second, packed.tar(second, changed))
    strays.run(door.bench.archive)
    assert hot.head(f"{prefix}/NEVE-BUNDLE-00002.tar") is None
    assert check(door.bench.archive) == []


def test_what_stands_at_a_files_own_path_and_is_not_ours_is_left_alone(door: Door):
    client, files = door.client(), many(20)
    dataset = opened(client)
    (pack,) = packed.asked(client, dataset, files)["packs"]
    hot = door.bench.archive.tiers["hot"]
    with door.bench.archive.ledger.read() as tx:
        key = f"{tx.dataset(dataset).prefix}/scan/00005.dat"
    version = hot.begin_put(key, b"somebody else's", "STANDARD")()
    packed.put(pack, packed.tar(pack, files))
    packed.told(client, pack, files)
    for _ in range(3):
        door.settle()
        door.bench.turn(minutes=11)
    assert objects(door, dataset)["NEVE-BUNDLE-00001.tar"] == ["archive", "deep", "hot"]
    client.post(f"datasets/{dataset}/close")
    door.settle()
    assert b"".join(hot.read(key, version)) == b"somebody else's"
    with door.bench.archive.ledger.read() as tx:
        (given_up,) = tx.transfers(dataset)
    assert (given_up.key, given_up.state) == (key, "quarantined")
    assert "holds an object that the ledger does not know" in (given_up.error or "")
    assert "hot" in objects(door, dataset)["NEVE-BUNDLE-00001.tar"]
