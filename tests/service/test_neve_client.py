"""`neve` against the archiver itself: the real API over HTTP, the real store with its short-lived keys; the hub is a table of tokens."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import h5py
import neve
import numpy as np
import pytest
import uvicorn
from fixtures.archive import START
from fixtures.processes import wait_until
from fixtures.site import Site
from neve import aws_config, client
from neve.errors import Ambiguous, ColdDataError, NotAllowed, NotFound, NotSignedIn, RestoreFailed, StoreUnavailable, WrongUse
from neve.widget import RestoreButton


@dataclass
class Served:
    site: Site
    url: str

    def settle(self) -> None:
        self.site.bench.settle()


def scan(points: int) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        data = entry.create_group("data")
        data.attrs.update(NX_class="NXdata", signal="mu", axes=["energy"])
        data["mu"] = np.linspace(0, 1, points)
        data["energy"] = np.linspace(7000, 7200, points)
        data["energy"].attrs["units"] = "eV"
    return buffer.getvalue()


@pytest.fixture(scope="module")
def served(site, free_port):
    """The site over HTTP, with a scan in each tier: `hot-1`, `archive-1`, `deep-1`, `deep-2`, `deep-3`."""
    bench, now = site.bench, site.bench.now
    for name, age_days in (("hot-1", 3), ("archive-1", 300), ("deep-1", 901), ("deep-2", 902), ("deep-3", 903)):
        bench.now = START - timedelta(days=age_days)
        bench.ingest(name, {"scan.h5": scan(50 + age_days), "log.txt": b"done\n"}, "snow", "saxs")
    bench.now = now
    bench.settle()
    bench.turn(hours=2)
    bench.settle()
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(site.app, host="127.0.0.1", port=port, log_level="warning", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started, 20, "the API over HTTP", still=lambda: None if thread.is_alive() else "it ended")
    yield Served(site, f"http://127.0.0.1:{port}/services/archiver")
    server.should_exit = True
    thread.join(timeout=20)


@pytest.fixture
def alice(served, tmp_path, monkeypatch):
    """Signed in as alice, in an empty home, without a mount."""
    home = tmp_path / "home"
    home.mkdir()
    values = {"NEVE_API_URL": served.url, "JUPYTERHUB_API_TOKEN": "token-of-alice", "HOME": str(home), "NEVE_DATA": str(tmp_path / "data")}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_CONFIG_FILE", "AWS_PROFILE", "NEVE_S3_URL"):
        monkeypatch.delenv(name, raising=False)
    yield served
    client.disconnect()


def test_the_catalog_is_what_one_may_see(alice):
    cat = neve.catalog()
    assert len(cat) == len(list(cat)) > 10
    assert "saxs/hot-1" in cat
    assert "weather/core-1" not in cat
    assert list(cat.search(tier="hot")) == [name for name in cat if cat[name].metadata["tier"] == "hot"]
    assert {"saxs/deep-1", "saxs/run-0"} <= set(cat.search(tier="deep"))
    assert set(cat.search("DEEP", instrument="saxs")) == {"saxs/deep-1", "saxs/deep-2", "saxs/deep-3"}
    day = START - timedelta(days=300)
    assert "saxs/archive-1" in set(cat.search(since=day.date(), until=day.date()))
    assert "archive-1" in repr(cat.search("archive-1"))
    assert "<img" not in cat._repr_html_()


def test_names(alice):
    cat = neve.catalog()
    with pytest.raises(Ambiguous) as caught:
        cat["twin"]
    assert sorted(caught.value.candidates) == ["saxs/twin", "weather/twin"]
    with pytest.raises(NotFound) as caught:
        cat["saxs/deep-9"]
    assert "saxs/deep-1" in caught.value.nearest
    with pytest.raises(NotFound) as caught:
        cat["weather/core-1"]
    assert "weather/core-1" not in caught.value.nearest
    with pytest.raises(WrongUse):
        len(cat.search(tier="attic"))


def test_hot_without_a_mount(alice):
    data = neve.catalog()["hot-1"].read()
    assert data["mu"].dims == ("energy",)
    assert data["energy"].attrs["units"] == "eV"
    assert data.encoding["source"].startswith("s3://hot-")


def test_archive_in_place_with_the_projects_own_keys(alice, capfd):
    data = neve.catalog()["archive-1"].read()
    assert data["mu"].size == 350
    assert data.encoding["source"].startswith("s3://archive-")
    assert "in place" in capfd.readouterr().err


def test_deep_is_cold_until_restored(alice):
    reader = neve.catalog()["deep-1"]
    with pytest.raises(ColdDataError, match="within 3 days") as caught:
        reader.read()
    assert caught.value.ask == 'neve.restore("saxs/deep-1").wait()'
    said = neve.quote("deep-1", days=3)
    assert str(said).startswith("saxs/deep-1: ")
    assert "within 3 days, as promised; 3 days; cost unknown (" in str(said)
    handle = neve.restore(said)
    assert neve.restore("deep-1", days=3).id == handle.id
    with pytest.raises(ColdDataError, match="on its way"):
        reader.read()
    worker = threading.Thread(target=alice.settle)
    worker.start()
    assert handle.wait(timeout=60).status == "ready"
    worker.join()
    assert handle.expires_at - handle.ready_at == timedelta(days=3)
    assert handle.extend(2).expires_at - handle.ready_at == timedelta(days=5)
    data = reader.read()
    assert data["mu"].size == 951
    assert reader.metadata["tier"] == "hot"


def test_read_from_the_mounts_path(alice, tmp_path):
    reader = neve.catalog()["hot-1"]
    reader.path.mkdir(parents=True)
    (reader.path / "scan.h5").write_bytes(scan(53))
    assert reader.read().encoding["source"] == str(
        tmp_path / "data" / "snow" / "saxs" / reader.path.parts[-3] / reader.path.parts[-2] / "hot-1" / "scan.h5"
    )


def test_cancel(alice):
    handle = neve.restore("deep-3", files="*.h5").cancel()
    assert handle.status == "cancelled"
    with pytest.raises(RestoreFailed, match="cancelled"):
        handle.wait(timeout=10)


def test_wrong_wishes(alice):
    with pytest.raises(WrongUse, match="days"):
        neve.restore("deep-3", days=100_000)
    with pytest.raises(WrongUse, match="matches"):
        neve.restore("deep-3", files="*.zip")
    with pytest.raises(NotFound):
        neve.restore("weather/core-1")
    with pytest.raises(NotFound):
        neve.credentials("ice-cores")


def test_who_may_not(alice):
    with pytest.raises(NotAllowed):
        neve.restore("deep-3", token="token-of-reader")
    with pytest.raises(NotSignedIn):
        len(neve.catalog(token="token-of-nobody"))


def test_keys_read_their_project_only(alice, monkeypatch):
    """The keys that alice gets for snow open nothing of ice-cores: the store says so, and the reader says it as a sentence."""
    root = neve.Client(alice.url, "token-of-root")
    cat = neve.catalog(url=alice.url, token="token-of-root")
    reader = cat["weather/core-1"]
    keys = neve.credentials("snow")
    monkeypatch.setattr(type(reader.client()), "credentials", lambda _self, _project: keys)
    from neve.sources import readable_copies

    assert readable_copies(reader.info, root.files(reader.info.id)[0])
    # A text file: it is fetched before its format is looked at.
    with pytest.raises(StoreUnavailable, match="AccessDenied"):
        reader.read()
    root.close()


def test_profiles_work_for_any_s3_program(alice):
    written = aws_config.configure(client.connect())
    assert written.profiles == ("snow",)
    import botocore.session
    from botocore.exceptions import ClientError

    session = botocore.session.Session(profile="snow")
    s3 = session.create_client("s3")
    bucket = neve.credentials("snow").buckets["archive"]
    answer = s3.list_objects_v2(Bucket=bucket, Prefix="snow/")
    assert answer["KeyCount"] > 0
    with pytest.raises(ClientError):
        s3.list_objects_v2(Bucket=bucket, Prefix="ice-cores/")
    with pytest.raises(ClientError):
        s3.put_object(Bucket=bucket, Key="snow/new", Body=b"x")
    s3.close()


def test_the_button(alice):
    card = RestoreButton("deep-2")
    try:
        assert (card.state, card.tier) == ("idle", "deep")
        card.press()
        wait_until(lambda: card.state == "running", 20, "the card shows that it runs")
        again = RestoreButton("deep-2")
        assert again.state == "running"
        again.close()
        alice.settle()
        wait_until(lambda: card.state == "ready", 30, "the card shows that it is ready")
        assert card.tier == "hot"
    finally:
        card.close()
        card._worker.join(timeout=20)


def test_command_line(alice):
    import subprocess
    import sys

    done = subprocess.run(
        [Path(sys.executable).with_name("neve"), "status", "saxs/hot-1", "--json"], capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(done.stdout)["tier"] == "hot"


# For intake, in a process where nobody imports neve

INTAKE = """
import sys
import intake

cat = intake.open_catalog("neve://catalog.yaml")
print(list(cat), "neve.readers" in sys.modules)
print(repr(cat), cat.user_parameters, cat.to_dict())
cat.to_yaml_file("saved.yaml")
everything = cat["neve"].read()
print(type(everything).__module__, "saxs/run-1" in everything)
print(everything["saxs/hot-1"].info.size_bytes > 0, repr(everything["saxs/hot-1"]))
print(intake.open_catalog("saved.yaml")["neve"].read()["saxs/hot-1"].name)
"""


def in_another_process(code: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env={**os.environ, **env}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
    )


def test_intake_alone_opens_what_is_served(served: Served, tmp_path: Path):
    token = "token-of-alice"
    done = in_another_process(INTAKE, tmp_path, NEVE_API_URL=served.url, JUPYTERHUB_API_TOKEN=token)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "['neve'] False"  # one entry, and opening it reads no dataset
    assert "neve.intake_catalog True" in lines
    assert lines[-1] == "saxs/hot-1"
    assert token not in done.stdout + done.stderr + (tmp_path / "saved.yaml").read_text()


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"JUPYTERHUB_API_TOKEN": "unknown"}, "NotSignedIn"),
        ({"JUPYTERHUB_API_TOKEN": ""}, "NotSignedIn: There is no token"),
        ({"NEVE_API_URL": ""}, "NotConfigured"),
    ],
)
def test_intake_is_told_why_not(served: Served, tmp_path: Path, env, said):
    code = "import intake; intake.open_catalog('neve://catalog.yaml')"
    done = in_another_process(code, tmp_path, **{"NEVE_API_URL": served.url, "JUPYTERHUB_API_TOKEN": "token-of-alice", **env})
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1], done.stderr


def test_there_is_no_other_file_and_no_way_to_write(alice):
    import fsspec

    files = fsspec.filesystem("neve")
    assert files.ls("") == [{"name": "catalog.yaml", "size": None, "type": "file"}]
    with pytest.raises(FileNotFoundError, match=r"only neve://catalog\.yaml"):
        files.open("neve://secrets.yaml")
    with pytest.raises(WrongUse, match="not written to"):
        files.open("neve://catalog.yaml", "wb")
