"""Reading a dataset wherever it lies: the mount, a store's copy in place, or a sentence that says why not."""

import json
import multiprocessing
import os
import pickle
import re
import shutil
import subprocess
import sys
from datetime import timedelta

import neve
import numpy as np
import pytest
from neve import chunked, sources
from neve.errors import ColdDataError, NotFound, StillArriving, StoreUnavailable, UnreadableData

from tests.unit.neve.conftest import TOKEN


@pytest.fixture
def cat(lab):
    yield neve.catalog()
    chunked._kept.close_idle(0)


def test_hot_is_read_from_its_path_without_keys(cat, lab, capfd):
    reader = cat["run42"]
    data = reader.read()
    assert data["counts"].shape == (3, 20, 30)
    assert data["counts"].dims == ("frame", "y", "x")
    assert data["x"].attrs == {"units": "mm", "long_name": "horizontal position"}
    assert data.encoding["source"] == str(lab.data / "p1/saxs/2026/11/run42/scan.h5")
    assert reader.path == lab.data / "p1/saxs/2026/11/run42"
    assert reader.files == ["a.log", "scan.h5", "scan2.h5"]
    assert lab.asked("POST", "credentials") == []
    assert capfd.readouterr() == ("", "")


def test_a_file_by_name(cat):
    assert cat["run42"].read(file="scan2.h5")["counts"].shape == (1, 20, 30)
    with pytest.raises(NotFound, match=r"has no file 'scan3\.h5'.*a\.log, scan\.h5"):
        cat["run42"].read(file="scan3.h5")
    with pytest.raises(UnreadableData, match="no arrays that neve knows"):
        cat["run42"].read(file="a.log")


def test_archive_is_read_in_place_with_a_notice(cat, lab, capfd):
    stub = lab.data / "p1/saxs/2026/07/run10"
    stub.mkdir(parents=True)
    (stub / "scan.h5").write_bytes(b"something else stands here")
    (stub / "NEVE-ARCHIVED.txt").write_text("archived")
    data = cat["run10"].read()
    assert data["counts"].shape == (3, 20, 30)
    assert data.encoding["source"].startswith(f"s3://{lab.buckets['archive']}/p1/saxs/2026/07/run10/scan.h5?versionId=")
    out, err = capfd.readouterr()
    assert out == ""
    assert re.fullmatch(r"saxs/run10 was read in place from the archive \(\d+\.\d kB\)\.\n", err)


def test_the_version_is_read_not_the_newest(cat, lab):
    key = lab.files[4][0]["copies"][0]["key"]
    lab.s3.put_object(Bucket=lab.buckets["archive"], Key=key, Body=b"newer")
    assert cat["run10"].read()["counts"].shape == (3, 20, 30)
    lab.s3.delete_object(Bucket=lab.buckets["archive"], Key=key)
    assert cat["run10"].read()["counts"].shape == (3, 20, 30)


def test_netcdf_from_mount_and_from_a_store(cat):
    recent, old = cat["weather/october"].read(), cat["weather/old"].read()
    for data in (recent, old):
        assert data["time"].dtype.kind == "M"
        assert np.allclose(data["temperature"], 273 + np.arange(24) / 10, atol=0.06)
        assert data["temperature"].attrs["units"] == "K"
    assert recent.encoding["source"].endswith("day.nc")
    assert old.encoding["source"].startswith("s3://")


def test_deep_is_cold(cat):
    with pytest.raises(ColdDataError) as caught:
        cat["scan7"].read()
    error = caught.value
    assert (error.dataset, error.tier, error.back_within) == ("xas/scan7", "deep", "3 days")
    assert error.ask == 'neve.restore("xas/scan7").wait()'


def test_cold_and_on_its_way(cat, lab):
    lab.start_restore(5)
    with pytest.raises(ColdDataError, match="on its way"):
        cat["scan7"].read()


def test_restored_is_read_at_the_same_path(cat, lab):
    reader = cat["scan7"]
    before = reader.path
    assert reader.restore().wait(timeout=30).status == "ready"
    data = reader.read()
    assert data["mu"].dims == ("energy",)
    assert data.encoding["source"] == str(before / "scan.h5")
    assert reader.metadata["tier"] == "hot"


def test_arriving(cat):
    with pytest.raises(StillArriving, match="saxs/live is still arriving"):
        cat["saxs/live"].read()


def test_erased(cat, lab):
    lab.add("saxs/gone", {}, [], state="erased", readable="never")
    with pytest.raises(NotFound, match="saxs/gone was erased"):
        cat["saxs/gone"].read()


def test_mount_is_absent(cat, lab):
    shutil.rmtree(lab.data)
    data = cat["run42"].read()
    assert data.encoding["source"].startswith(f"s3://{lab.buckets['hot']}/")


def test_mount_is_behind(cat, lab):
    path = lab.data / "p1/saxs/2026/11/run42/scan.h5"
    path.write_bytes(path.read_bytes()[:-10])
    assert cat["run42"].read().encoding["source"].startswith("s3://")


def test_mount_refuses(cat, lab, tmp_path):
    folder = lab.data / "p1/saxs/2026/11/run42"
    (folder / "scan.h5").unlink()
    (folder / "scan.h5").symlink_to("scan.h5")  # ELOOP, the error that root cannot pass by
    assert cat["run42"].read().encoding["source"].startswith("s3://")


def test_mount_fails_while_reading(cat, lab, monkeypatch):
    # An I/O error in the middle of a file cannot be had from a plain folder; what HDF5 makes of one is known.
    from neve import nexus

    real = nexus.read

    def breaks(handle):
        if isinstance(handle, os.PathLike):
            raise OSError(
                "Can't synchronously read data (file read failed: time = 0, filename = 'x', errno = 5, error message = 'Input/output error')"
            )
        return real(handle)

    monkeypatch.setattr(nexus, "read", breaks)
    assert cat["run42"].read().encoding["source"].startswith("s3://")


def test_nothing_can_be_reached(cat, lab, free_port):
    shutil.rmtree(lab.data)
    lab.endpoint_url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(StoreUnavailable) as caught:
        cat["run42"].read()
    assert len(caught.value.reasons) == 3
    assert "No such file" in caught.value.reasons[0]
    assert caught.value.next_step


def test_keys_that_open_nothing(cat, lab):
    lab.keys = ("nobody", "wrong", "")
    with pytest.raises(StoreUnavailable) as caught:
        cat["run10"].read()
    assert "InvalidAccessKeyId" in caught.value.reasons[0]


def test_a_copy_that_is_gone(cat, lab):
    lab.files[4][0]["copies"][0]["version_id"] = "0" * 32
    with pytest.raises(StoreUnavailable):
        cat["run10"].read()


def test_a_copy_moves_between_question_and_read(cat, lab):
    """The archiver lets hot go after we asked: the second look finds the archive copy."""
    shutil.rmtree(lab.data)
    copies = lab.files[1][1]["copies"]
    reader = cat["run42"]
    hot = dict(copies[0], version_id="0" * 32)
    archive = copies[1]
    lab.files[1][1]["copies"] = [hot]
    client, files = reader.client(), reader.client().files

    def once(number):
        found = files(number)
        lab.files[1][1]["copies"] = [archive]
        return found

    client.files = once
    try:
        assert reader.read()["counts"].shape == (3, 20, 30)
    finally:
        del client.files


def test_a_fault_of_the_block_that_looks_like_the_mounts(cat, lab):
    """Who opens a file of their own in the block, and it is not there, hears just that."""
    with pytest.raises(FileNotFoundError, match="mine"), cat["run42"].h5():
        (lab.data / "mine").open()


def test_glacier_answers_that_it_sleeps(cat, lab):
    """A copy that looks readable and is not (InvalidObjectState) is cold data, no permission problem."""
    reasons = sources.UnreachableError("s3://b/k: InvalidObjectState")

    class Asleep:
        source = "s3://b/k"

        def open(self):
            raise reasons

    reader = cat["run10"]
    import neve.readers as module

    original = module.places
    module.places = lambda _client, _dataset, file: iter([(file.copies[0], Asleep())])
    try:
        with pytest.raises(ColdDataError):
            reader.read()
    finally:
        module.places = original


def test_damaged_file_is_unreadable_not_unreachable(cat, lab):
    number = lab.add("saxs/torn", {"scan.h5": (lab.bodies[1, "scan.h5"][:4000], "hdf5")}, ["hot", "archive"])
    lab.files[number][0]["metadata_error"] = "truncated"
    with pytest.raises(UnreadableData, match=r"scan\.h5 of saxs/torn cannot be understood.*on arrival: truncated") as caught:
        cat["torn"].read()
    assert "saxs/2026/11/torn/scan.h5" in caught.value.next_step


def test_no_files(cat, lab):
    lab.add("saxs/empty", {}, ["hot"])
    with pytest.raises(UnreadableData, match="has no files"):
        cat["saxs/empty"].read()


def test_large_files_are_read_through_a_window(cat, lab, monkeypatch):
    monkeypatch.setattr(sources, "WHOLE_BYTES", 1000)
    assert np.array_equal(cat["run10"].read()["counts"], np.arange(1800).reshape(3, 20, 30))
    assert cat["weather/old"].read()["temperature"].shape == (24,)
    lab.files[4][0]["copies"][0]["offset_bytes"] = 50  # the object ends before the file would
    with pytest.raises((StoreUnavailable, UnreadableData)):
        cat["run10"].read()


def test_keys_are_renewed(cat, lab):
    lab.credential_life = timedelta(minutes=5)  # botocore renews what ends within 10 to 15 minutes
    cat["run10"].read()
    cat["run10"].read()
    assert len(lab.asked("POST", "credentials")) >= 2


def test_file_system_is_shared(cat, lab):
    cat["run10"].read()
    cat["weather/old"].read()
    assert len(lab.asked("POST", "credentials")) == 1


def test_the_notebooks_own_address_of_the_store_wins(cat, lab, monkeypatch):
    monkeypatch.setenv("NEVE_S3_URL", lab.endpoint_url)
    lab.endpoint_url = "http://127.0.0.1:1"
    assert cat["run10"].read()["counts"].shape == (3, 20, 30)


@pytest.mark.parametrize(
    ("name", "variable"), [("run42", "counts"), ("run10", "counts"), ("weather/october", "temperature"), ("weather/old", "temperature")]
)
def test_to_dask(cat, name, variable):
    reader = cat[name]
    lazy = reader.to_dask()
    assert lazy[variable].chunks
    whole = reader.read()
    assert lazy[variable].dims == whole[variable].dims
    assert lazy[variable].attrs == whole[variable].attrs
    assert np.array_equal(lazy[variable].compute(scheduler="synchronous"), whole[variable])
    assert np.array_equal(lazy[variable][-1].compute(scheduler="synchronous"), whole[variable][-1])


def test_to_dask_follows_the_data(cat, lab):
    lazy = cat["run42"].to_dask()
    shutil.rmtree(lab.data)
    assert int(lazy["counts"][2, -1, -1].compute(scheduler="synchronous")) == 1799


def test_chunks_of_one_file_ask_once(cat, lab):
    lazy = cat["run42"].to_dask()["counts"]
    asked = len(lab.seen)
    for frame in (2, 0, 1):
        assert np.array_equal(lazy[frame].compute(scheduler="synchronous"), np.arange(frame * 600, frame * 600 + 600).reshape(20, 30))
    assert len(lab.seen) == asked


def test_what_is_open_and_fails_is_found_anew(cat, lab, monkeypatch):
    """A FUSE mount that ends, a window whose store is gone: whatever it says."""
    lazy = cat["run42"].to_dask()["counts"]
    (entry,) = [entry for entry in chunked._kept._files.values() if entry.opened]
    file = entry.opened[0]
    monkeypatch.setattr(entry, "opened", ({}, "nexus"))
    shutil.rmtree(lab.data)
    assert int(lazy[2, -1, -1].compute(scheduler="synchronous")) == 1799
    assert not file  # closed
    assert entry.opened[0].filename != file


def test_no_file_stays_open_for_long(cat):
    lazy = cat["run42"].to_dask()["counts"]
    (entry,) = [entry for entry in chunked._kept._files.values() if entry.opened]
    file = entry.opened[0]
    chunked._kept.close_idle(60)
    assert file
    chunked._kept.close_idle(0)
    assert not file
    assert int(lazy[2, -1, -1].compute(scheduler="synchronous")) == 1799


def test_only_so_many_files_are_open(cat, monkeypatch):
    monkeypatch.setattr(chunked, "KEPT", 1)
    first, second = cat["run42"].to_dask(), cat["weather/october"].to_dask()
    assert len(chunked._kept._files) == 1
    assert int(first["counts"][0, 0, 1].compute(scheduler="synchronous")) == 1
    assert float(second["temperature"][0].compute(scheduler="synchronous")) == pytest.approx(273)


@pytest.mark.parametrize(("name", "variable"), [("run10", "counts"), ("weather/october", "temperature")])
def test_chunks_in_another_process(cat, lab, name, variable):
    """By name and environment: the token stays here, and is found there."""
    whole = cat[name].read()[variable]
    task = pickle.dumps(cat[name].to_dask()[variable])
    assert TOKEN.encode() not in task
    assert lab.keys[1].encode() not in task
    assert np.array_equal(pickle.loads(task).compute(scheduler="synchronous"), whole)
    code = "import sys, pickle; print(pickle.load(sys.stdin.buffer).compute(scheduler='synchronous').values.tolist())"
    there = subprocess.run([sys.executable, "-c", code], input=task, capture_output=True, timeout=60, check=True)
    assert json.loads(there.stdout) == whole.values.tolist()


def of_a_frame(array) -> int:
    return int(array.compute(scheduler="synchronous").max())


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_chunks_in_a_fork(cat, monkeypatch):
    """What is open is the parent's: a pool of forked processes reads from the store as well."""
    monkeypatch.setattr(sources, "WHOLE_BYTES", 1000)
    lazy = cat["run10"].to_dask()["counts"]
    assert of_a_frame(lazy[1]) == 1199
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(of_a_frame, [lazy[2]]).get(60) == 1799


def test_a_file_that_others_replaced_while_it_was_read_is_closed(cat, monkeypatch):
    lazy = cat["run42"].to_dask()["counts"]
    (entry,) = [entry for entry in chunked._kept._files.values() if entry.opened]
    chunked._kept._files.clear()
    chunked._close([entry])
    monkeypatch.setattr(chunked._kept, "of", lambda *_key: entry)
    assert of_a_frame(lazy[2]) == 1799
    assert entry.opened is None


def test_a_reader_is_pickled_without_its_client(cat):
    reader = cat["run42"]
    body = pickle.dumps(reader)
    assert TOKEN.encode() not in body
    again = pickle.loads(body)
    assert (again.name, again.metadata, again.output_instance) == (reader.name, reader.metadata, reader.output_instance)
    assert again.read()["counts"].shape == (3, 20, 30)


def test_chunks_are_whole_and_bounded():
    from neve.chunked import CHUNK_BYTES, _chunks

    assert _chunks((100, 2000, 2000), 4, (1, 2000, 2000)) == (2, 2000, 2000)
    assert _chunks((10,), 8, None) == (10,)
    assert _chunks((0, 5), 8, None)[1] == 5
    huge = _chunks((10**6, 10**4), 8, None)
    assert huge[1] == 10**4
    assert np.prod(huge) * 8 <= CHUNK_BYTES


def test_intake_forms(cat):
    reader = cat["run42"]
    assert reader() is not reader
    assert reader().read()["counts"].shape == (3, 20, 30)
    assert reader.discover()["counts"].shape == (3, 20, 30)
    assert reader.to_entry().to_reader().read()["counts"].shape == (3, 20, 30)
