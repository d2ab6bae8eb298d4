"""HDF5 opens from the file browser: the lab's extension is there, and its server half reads what stands behind the link `data`."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import h5py
import httpx
import numpy as np
import pytest
from neve.singleuser import link_folder

NAME = "run 42 é.h5"


@pytest.fixture
def lab(tmp_path: Path, free_port):
    """A notebook server whose home shows read-only data, as in a container."""
    home, data = tmp_path / "home", tmp_path / "data"
    home.mkdir()
    data.mkdir()
    with h5py.File(data / NAME, "w") as file:
        file["entry/counts"] = np.arange(12).reshape(3, 4)
        file["entry"].attrs["title"] = "silver"
    (data / NAME).chmod(0o444)
    assert link_folder(home / "data", data, "") is None
    port = free_port()
    command = [sys.executable, "-m", "jupyter", "server", "--no-browser", "--allow-root", f"--port={port}", "--ServerApp.port_retries=0"]
    said = (tmp_path / "log").open("wb")
    server = subprocess.Popen(
        [*command, "--IdentityProvider.token=secret", f"--ServerApp.root_dir={home}"],
        stdout=said,
        stderr=said,
        env={**os.environ, "HOME": str(home), "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime")},
    )
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"Authorization": "token secret"})
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                client.get("/api").raise_for_status()
                break
            except httpx.HTTPError:
                assert server.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.2)
        yield client
    finally:
        client.close()
        server.terminate()
        server.wait(20)
        said.close()


def test_hdf5_behind_the_link_is_read(lab: httpx.Client):
    about = {"file": f"data/{NAME}", "path": "/entry/counts"}
    assert lab.get("/h5web/meta", params=about).json()["shape"] == [3, 4]
    assert lab.get("/h5web/data", params={**about, "format": "json"}).json() == np.arange(12).reshape(3, 4).tolist()
    assert lab.get("/h5web/attr", params={"file": f"data/{NAME}", "path": "/entry"}).json() == {"title": "silver"}
    assert lab.get("/h5web/meta", params={"file": "data/absent.h5", "path": "/"}).status_code == 404


def test_the_lab_has_it():
    folder = Path(sys.prefix) / "share" / "jupyter" / "labextensions" / "jupyterlab-h5web"
    assert json.loads((folder / "package.json").read_text())["jupyterlab"]["extension"]
