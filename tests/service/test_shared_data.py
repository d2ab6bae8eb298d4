"""Files as facilities make them go in, down to deep, and come back byte for byte; what cannot be understood is kept all the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures.archive import Bench
from fixtures.processes import REPO
from fixtures.requirements import require

from archiver import app, restore
from archiver.check import check
from archiver.model import MetadataState, RestoreState

DATA = REPO.parent / "shared" / "data"
SUFFIXES = {".h5", ".hdf5", ".nxs", ".nc"}


@pytest.fixture
def folders() -> list[Path]:
    require("facilities' files", None if DATA.is_dir() else f"there is no folder {DATA}")
    return sorted(path for path in DATA.iterdir() if path.is_dir())


def test_every_file_comes_back_from_deep_byte_for_byte(bench: Bench, folders: list[Path]):
    contents: dict[str, dict[str, bytes]] = {}
    datasets = {}
    for folder in folders:
        contents[folder.name] = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        datasets[folder.name] = app.ingest(bench.archive, "snow", "saxs", folder.name, [folder])[0][0]
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
        files = {name: tx.files(dataset.id) for name, dataset in datasets.items()}
    for name, expected in contents.items():
        assert {f.path for f in files[name]} == set(expected)
        for path, content in expected.items():
            assert bench.read(datasets[name], path) == content, (name, path)
    known = {(name, f.path): f for name in files for f in files[name] if Path(f.path).suffix in SUFFIXES}
    assert known
    for (name, path), file in known.items():
        assert file.format in {"nexus", "hdf5", "netcdf3", "netcdf4"}, (name, path, file)
        assert (file.metadata_state is MetadataState.FAILED) == (file.metadata_error is not None), (name, path)
    assert [path for (_, path), file in known.items() if file.metadata_state is MetadataState.OK]
    assert all(f.metadata_state is MetadataState.NONE for f in files["csv"])
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
