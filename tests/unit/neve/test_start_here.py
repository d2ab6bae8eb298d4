""" "Start here" is run by a real kernel, against datasets in all tiers; nothing in it fails, and its plots are drawn."""

import re
from pathlib import Path

import nbclient
import nbformat
import neve
import pytest

PATH = Path(neve.__file__).parent / "notebooks" / "Start here.ipynb"


@pytest.fixture
def notebook():
    return nbformat.read(PATH, as_version=4)


def run(notebook, tmp_path):
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    texts, pictures, widgets = [], 0, 0
    for output in (output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs):
        data = output.get("data", {})
        pictures += "image/png" in data
        widgets += "application/vnd.jupyter.widget-view+json" in data
        texts.append(output.get("text", "") + data.get("text/plain", ""))
        assert output.get("name") != "stderr", output.text
    return "\n".join(texts), pictures, widgets


def test_is_stored_without_outputs(notebook):
    nbformat.validate(notebook)
    assert not [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]


def test_runs(notebook, lab, tmp_path):
    text, pictures, widgets = run(notebook, tmp_path)
    assert pictures == 3
    assert widgets == 1  # the card; the progress bar leaves its last words
    assert re.search(r"^xas/scan7 · .* · seen \d\d:", text, re.MULTILINE), text
    assert f"Read from: {lab.data}/p1/saxs/2026/11/run42/scan.h5" in text
    assert "was read in place from the archive" in text
    assert 'This line asks for it back: neve.restore("xas/scan7").wait()' in text
    assert "Restoration 1 of xas/scan7: ready until" in text
    assert f"Read from: {lab.data}/p1/xas/2024/05/scan7/scan.h5" in text


def test_runs_after_others_were_restored(notebook, lab, tmp_path):
    lab.add("weather/ancient", {"day.nc": (lab.bodies[3, "day.nc"], "netcdf3")}, ["deep"], age_days=1000)
    neve.restore("xas/scan7").wait(timeout=30)
    text, pictures, _ = run(notebook, tmp_path)
    assert pictures == 3
    assert "weather/ancient: ready until" in text
