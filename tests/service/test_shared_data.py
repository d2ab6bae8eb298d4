"""Files as facilities make them go in, down to deep, and come back byte for byte; what cannot be understood is kept all the same."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from fixtures.archive import Bench
from fixtures.door import Door
from fixtures.processes import BIN, REPO
from fixtures.requirements import require
from neve.send.reception import Reception
from neve.send.sender import send
from neve.send.source import scan

from archiver import app, restore
from archiver.check import check
from archiver.model import Dataset, MetadataState, RestoreState

DATA = REPO.parent / "shared" / "data"
INSIDE = {
    "csv/airports.csv": "csv ok",
    "csv/seattle-temps.csv": "csv ok",
    "csv/seattle-weather.csv": "csv ok",
    "netcdf/eraint_uvz.nc": "netcdf3 ok",
    "netcdf/tiny.nc": "netcdf3 ok",
    "nexus/APS/AgBehenate_228.hdf5": "nexus ok",
    "nexus/APS/mts_0347.mda": "None none",
    "nexus/APS/mts_0347.xml": "None none",
    "nexus/DLS/p45-1168.nxs": "nexus ok",
    "nexus/DLS/thaumatin_integrated.nxs": "nexus ok",
    "nexus/SLS/Sample_Image_2021-03-16_095.hdf5": "nexus ok",
    "nexus/SLS/Sample_Stack_2021-03-16_128.hdf5": "nexus ok",
    "nexus/code/NXtest.h5": "nexus ok",
    "nexus/code/dmc01.hdf": "hdf4 none",
    "nexus/nxpdb/4n8z.h5": "nexus ok",
    "seismic/IU.ANMO.00.BHZ.mseed": "miniseed ok",
    "seismic/corrupt_one_extra_byte_at_end.mseed": "miniseed failed",
    "seismic/int32_Steim2_littleEndian.mseed": "miniseed ok",
    "seismic/microsecond_wrap.mseed": "miniseed failed",
    "seismic/not.mseed": "None none",
    "seismic/two_channels.mseed": "miniseed ok",
    "spec/EXAFS_Ge.dat": "columns ok",
    "spec/Steel.spe": "mca ok",
}
"""What each says it is; what each says of itself in full: tests/unit/formats."""
ACQUIRED = {
    "IU.ANMO.00.BHZ.mseed": "2010-02-27T06:29:59.819538+00:00",
    "APS/AgBehenate_228.hdf5": "2011-10-23T20:28:20+00:00",
    "code/NXtest.h5": "2009-02-20T09:05:48+00:00",
}


@pytest.fixture
def folders() -> list[Path]:
    require("facilities' files", None if DATA.is_dir() else f"there is no folder {DATA}")
    return sorted(path for path in DATA.iterdir() if path.is_dir())


def received(way: str, door: Door, folder: Path, spare: Path) -> Dataset:
    """Have a folder received: from the server's disk, over the network, or out of an inbox that is watched."""
    if way == "ingest":
        return app.ingest(door.bench.archive, "snow", "saxs", folder.name, [folder])[0][0]
    if way == "watch":
        inbox = spare / f"inbox-{folder.name}"
        shutil.copytree(folder, inbox / folder.name)
        (inbox / f"{folder.name}.done").touch()
        command = [BIN / "neve", "watch", inbox, "--project", "snow", "--url", door.url, "--once", "--json"]
        with door.working():
            env = {**os.environ, "NEVE_KEY": door.key, "XDG_STATE_HOME": str(spare / "state")}
            ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        with door.bench.archive.ledger.read() as tx:
            found = tx.dataset_named("saxs", folder.name)
        assert found is not None, ended.stdout
        assert found.state == "closed", ended.stdout
        return found
    with closing(Reception(door.url, door.key)) as reception, door.working():
        outcome = send(reception, None, "snow", folder.name, scan([folder], lambda _skipped: None))
    assert (outcome.failed, outcome.state) == (0, "closed")
    with door.bench.archive.ledger.read() as tx:
        return tx.dataset(outcome.dataset.id)


@pytest.mark.parametrize("way", ["ingest", "send", "watch"])
def test_every_file_comes_back_from_deep_byte_for_byte(way: str, door: Door, folders: list[Path], tmp_path: Path):
    bench = door.bench
    contents: dict[str, dict[str, bytes]] = {}
    datasets = {}
    for folder in folders:
        contents[folder.name] = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        datasets[folder.name] = received(way, door, folder, tmp_path)
    assert sum(len(files) for files in contents.values()) >= 20
    bench.settle()
    assert check(bench.archive) == []
    bench.turn(days=800)
    bench.settle()
    bench.turn(hours=2)
    bench.settle()
    assert {name: bench.tiers(dataset) for name, dataset in datasets.items()} == {name: {"deep"} for name in datasets}
    asked = [restore.request(bench.archive, "alice", name, None, 3, None) for name in datasets]
    bench.settle()
    with bench.archive.ledger.read() as tx:
        assert {tx.restore(one.id).state for one in asked} == {RestoreState.READY}
        files = {name: [f for f in tx.files(dataset.id) if f.path != f"{name}.done"] for name, dataset in datasets.items()}
    for name, expected in contents.items():
        assert {f.path for f in files[name]} == set(expected)
        for path, content in expected.items():
            assert bench.read(datasets[name], path) == content, (name, path)
    for name in contents:
        for file in files[name]:
            assert (file.metadata_state is MetadataState.FAILED) == (file.metadata_error is not None), (name, file.path)
    assert {f"{name}/{f.path}": f"{f.format} {f.metadata_state}" for name in contents for f in files[name]} == INSIDE
    acquired = {f.path: f.metadata["acquired_at"] for f in (*files["seismic"], *files["nexus"]) if f.path in ACQUIRED}
    assert acquired == ACQUIRED
    assert check(bench.archive) == []


def test_a_damaged_file_is_kept_and_says_why_it_was_not_understood(bench: Bench, folders: list[Path]):
    whole = next(p for p in sorted((DATA / "nexus").rglob("*.h*5")) if p.stat().st_size > 4096).read_bytes()
    files = {
        "cut.h5": whole[: len(whole) // 2],
        "signature.h5": whole[:8],
        "noise.h5": whole[:2048] + bytes(range(256)) * 200,
        "cut.nc": (DATA / "netcdf" / "tiny.nc").read_bytes()[:200],
        "fine.h5": whole,
    }
    dataset = bench.ingest("damaged", files)
    bench.settle()
    with bench.archive.ledger.read() as tx:
        found = {f.path: f for f in tx.files(dataset.id)}
    assert found["fine.h5"].metadata_state is MetadataState.OK
    for path in ("cut.h5", "signature.h5", "noise.h5"):
        assert found[path].metadata_state is MetadataState.FAILED, path
        assert found[path].metadata_error
        assert "Traceback" not in found[path].metadata_error
    for path, content in files.items():
        for tier in ("hot", "archive", "deep"):
            assert bench.read(dataset, path, tier) == content, (tier, path)
    assert check(bench.archive) == []
