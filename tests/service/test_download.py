"""A ZIP past 4 GiB from the real API in a process of its own: whole, and in bounded memory."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest
from fixtures.archive import Bench

MOST_RSS_BYTES = 300e6
LARGE_BYTES = 2**32 + 12_345
SERVE = """
import sys
sys.path.insert(0, "tests")
import uvicorn
from fixtures.site import TokenTable
from archiver import app
from pathlib import Path
from archiver.config import load
from archiver.pages import create_site
hub = TokenTable()
hub.add("alice", "snow")
uvicorn.run(create_site(app.open_archive(load(Path(sys.argv[1]))), hub), port=int(sys.argv[2]), log_level="warning")
"""


@pytest.mark.long
def test_a_zip_above_4_gib_in_bounded_memory(bench: Bench, free_port, run_process, tmp_path: Path):
    source = bench.write("big", {"first.txt": b"first"})
    with (source / "large.bin").open("wb") as file:
        file.truncate(LARGE_BYTES)
        file.seek(LARGE_BYTES - 4)
        file.write(b"tail")
    (source / "z.txt").write_bytes(b"after 4 GiB")
    dataset = bench.ingest("big", {})
    port = free_port()
    process = run_process([sys.executable, "-c", SERVE, str(bench.settings_file), str(port)])
    url = f"http://127.0.0.1:{port}/services/archiver"
    process.wait_ready(lambda: _answers(f"{url}/openapi.json"), 60)
    target = tmp_path / "big.zip"
    with (
        target.open("wb") as file,
        httpx.stream(
            "GET", f"{url}/api/v1/datasets/{dataset.id}/download", headers={"Authorization": "Bearer token-of-alice"}, timeout=120
        ) as answer,
    ):
        assert answer.status_code == 200
        for chunk in answer.iter_raw():
            file.write(chunk)
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())[1]) * 1024
    print(f"a ZIP of {target.stat().st_size / 1e9:.2f} GB, peak of the API {peak / 1e6:.0f} MB")
    assert peak < MOST_RSS_BYTES
    with zipfile.ZipFile(target) as packed:
        assert packed.testzip() is None
        assert {info.filename: info.file_size for info in packed.infolist()} == {"big/first.txt": 5, "big/large.bin": LARGE_BYTES, "big/z.txt": 11}
        assert packed.read("big/z.txt") == b"after 4 GiB"
        with packed.open("big/large.bin") as large:
            large.seek(LARGE_BYTES - 4)
            assert large.read() == b"tail"
    if unzip := shutil.which("unzip"):
        assert subprocess.run([unzip, "-tq", target], check=False).returncode == 0


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False
