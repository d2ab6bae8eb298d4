"""A million small files in an inbox: what the agent needs for itself, measured on 200,000 and drawn on."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from fixtures.processes import REPO

FILES = 200_000


def measured(tmp_path, files):
    inbox = tmp_path / f"inbox-{files}"
    folder = inbox / "run42"  # all in one folder: the worst case for who lists it
    folder.mkdir(parents=True)
    (tmp_path / f"state-{files}").mkdir()
    for number in range(files):
        os.close(os.open(folder / f"image_{number:07d}.tif", os.O_CREAT | os.O_WRONLY))
    done = subprocess.run(
        [sys.executable, str(REPO / "tests" / "fixtures" / "watch_driver.py"), str(inbox), str(tmp_path / f"state-{files}")],
        env={**os.environ, "PYTHONPATH": str(REPO / "tests")}, capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    print(files, done.stdout.strip())
    return json.loads(done.stdout)


@pytest.mark.long
def test_a_million_files_fit_into_500_mb(tmp_path):
    few, many = measured(tmp_path, 2_000), measured(tmp_path, FILES)
    assert (many["received"], many["known"]) == (FILES, FILES)
    for_a_million = few["peak_bytes"] + (many["peak_bytes"] - few["peak_bytes"]) * 1_000_000 / FILES
    print(f"a million: {for_a_million / 1e6:.0f} MB")
    assert for_a_million < 500e6
