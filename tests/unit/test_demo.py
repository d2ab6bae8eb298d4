"""The demo's laboratory: plausible, repeatable, and spread over all tiers."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import h5py
import netCDF4
import numpy as np
import pytest
from neve_hub import demo
from neve_hub.demo import load, simulate

from archiver.formats import extract
from archiver.model import MetadataState

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    into = tmp_path_factory.mktemp("demo")
    return into, load.write_all(into, NOW, small=True)


def tiers(plan, now):
    ages = [(now - dataset.acquired_at) / timedelta(days=1) for dataset in plan]
    return sum(age < 60 for age in ages), sum(60 <= age < 730 for age in ages), sum(age >= 730 for age in ages)


@pytest.mark.parametrize("now", [NOW, datetime(2028, 2, 29, 0, 0, 1, tzinfo=UTC), datetime(2027, 1, 1, 23, 59, tzinfo=UTC)])
def test_plan_fills_all_tiers(now):
    plan = simulate.datasets(now)
    assert tiers(plan, now) == (25, 22, 13)
    assert tiers(simulate.datasets(now, small=True), now) == (5, 4, 3)
    # no dataset stands at a border where it would change tier while somebody looks
    assert not [d for d in plan for border in (60, 730) if abs((now - d.acquired_at) / timedelta(days=1) - border) < 4]
    assert all(dataset.acquired_at < now for dataset in plan)
    assert now - plan[0].acquired_at > timedelta(days=1000)


def test_plan_covers_projects_and_instruments_with_names_of_their_own():
    plan = simulate.datasets(NOW)
    assert {dataset.project for dataset in plan} == set(demo.PROJECTS)
    assert {dataset.instrument for dataset in plan} == set(demo.INSTRUMENTS)
    assert len({(dataset.instrument, dataset.name) for dataset in plan}) == len(plan)
    assert all(project in demo.PROJECTS for projects in demo.USERS.values() for project in projects)
    assert set(demo.USERS) >= demo.ADMINS
    for project in demo.PROJECTS:  # everyone meets every tier
        assert min(tiers([dataset for dataset in plan if dataset.project == project], NOW)) > 0


def test_the_same_now_makes_the_same_bytes(small, tmp_path):
    into, listed = small
    again = load.write_all(tmp_path, NOW, small=True)
    assert again == listed
    for path in (path for path in into.rglob("*") if path.is_file()):
        assert path.read_bytes() == (tmp_path / path.relative_to(into)).read_bytes(), path


def test_small_demo_is_small_and_its_manifest_true(small):
    into, listed = small
    assert json.loads((into / "manifest.json").read_text())["datasets"] == listed
    assert len(listed) == 12
    files = [file for dataset in listed for file in dataset["files"]]
    assert sum(file["size_bytes"] for file in files) < 5e6
    assert {path.relative_to(into).as_posix() for path in into.rglob("*.n*")} == {file["path"] for file in files}


def test_every_file_says_when_it_was_acquired(small):
    into, listed = small
    for dataset in listed:
        times = []
        for file in dataset["files"]:
            found = extract(into / file["path"], file["path"])
            assert found.state is MetadataState.OK
            assert found.acquired_at == datetime.fromisoformat(file["acquired_at"])
            times.append(found.acquired_at)
            if dataset["instrument"] != "weather":
                assert found.format == "nexus"
                assert found.metadata["instrument"] == dataset["instrument"]
                assert found.metadata["experiment_identifier"] == dataset["project"]
                assert found.metadata["users"]
                assert all("units" in axis for axis in found.metadata["data"][0]["axes"])
            else:
                assert found.metadata["institution"] == "Demo laboratory, Grenoble"
        assert min(times) == datetime.fromisoformat(dataset["acquired_at"])


def test_full_size_of_each_kind(tmp_path):
    """One dataset of each instrument stands for its kind: together the kinds make about 100 MB."""
    plan, total = simulate.datasets(NOW), 0.0
    for instrument in demo.INSTRUMENTS:
        kind = [dataset for dataset in plan if dataset.instrument == instrument]
        paths = simulate.write(kind[0], tmp_path / instrument)
        total += len(kind) * sum(path.stat().st_size for path in paths)
    assert 70e6 < total < 130e6


def test_rings_of_ice_lie_where_ice_has_them(tmp_path):
    ice = next(dataset for dataset in simulate.datasets(NOW) if "-ice-" in dataset.name)
    [path] = simulate.write(ice, tmp_path)
    with h5py.File(path) as file:
        assert file["entry/data/data"].shape == (22, 619, 487)
        assert file["entry/data/data"].compression == "gzip"
        assert file["entry/data/data"].dtype == np.int32
        q, intensity = file["entry/profile/q"][()], file["entry/profile/I"][-1]
        energy = file["entry/instrument/monochromator/energy"][()]
        assert file["entry/profile/q"].attrs["units"] == "1/angstrom"
    assert energy == pytest.approx(15.498, abs=1e-3)  # 0.8 Å
    outer = q > 1.5
    peaks = [
        place
        for left, here, right, place in zip(intensity[outer][:-2], intensity[outer][1:-1], intensity[outer][2:], q[outer][1:-1], strict=True)
        if left < here > right and here > 15
    ]
    assert peaks == pytest.approx([2 * np.pi / 3.90, 2 * np.pi / 3.67, 2 * np.pi / 3.44], abs=0.01)


def test_edge_of_nickel_and_its_oscillations(tmp_path):
    nickel = next(dataset for dataset in simulate.datasets(NOW) if "-nickel-" in dataset.name)
    paths = simulate.write(nickel, tmp_path)
    assert [path.name for path in paths] == [f"scan-{scan:03d}.nxs" for scan in range(1, 6)]
    with h5py.File(paths[0]) as file:
        energy, mu = file["entry/data/energy"][()], file["entry/data/mu"][()]
    assert energy[np.argmax(np.gradient(mu, energy))] == pytest.approx(8333, abs=3)
    assert 0.8 < mu[energy > 8400].mean() - mu[energy < 8300].mean() < 1.2
    assert 0.02 < mu[(energy > 8380) & (energy < 8600)].std() < 0.2


def test_weather_is_weather(small):
    into, listed = small
    names = [file["path"] for dataset in listed if dataset["instrument"] == "weather" for file in dataset["files"]]
    models = set()
    for name in names:
        with netCDF4.Dataset(into / name) as file:
            models.add(file.data_model)
            assert file.Conventions == "CF-1.11"
            assert file["time"].units.endswith("UTC")
            assert -40 < file["air_temperature"][:].min() < file["air_temperature"][:].max() < 40
            assert file["snow_height"][:].min() >= 0
            assert file["snow_height"][:].max() < 5
    assert models == {"NETCDF4", "NETCDF3_CLASSIC"}


def test_take_in_hands_over_one_at_a_time_and_cleans_up(tmp_path):
    seen = []

    def receive(dataset, place):
        assert sorted(path.name for path in place.iterdir()) == sorted(file.name for file in dataset.files)
        seen.append(dataset.name)

    assert load.take_in(tmp_path, NOW, receive, small=True) == 12
    assert seen == [dataset.name for dataset in simulate.datasets(NOW, small=True)]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_command_line(tmp_path):
    def run(*options):
        return subprocess.run(
            [sys.executable, "-m", "neve_hub.demo", *options],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, "COLUMNS": "200"},
        )

    done = run("--into", str(tmp_path / "new"), "--now", "2026-11-20T12:00:00Z", "--small")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("12 datasets, ")
    assert (tmp_path / "new" / "manifest.json").is_file()
    wrong = run("--into", str(tmp_path / "other"), "--now", "yesterday")
    assert wrong.returncode == 2
    assert "yesterday is no ISO 8601 time" in wrong.stderr
    (tmp_path / "file").touch()
    blocked = run("--into", str(tmp_path / "file"))
    assert blocked.returncode == 1
    assert "Traceback" not in blocked.stderr
