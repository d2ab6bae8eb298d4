"""The scientist's guide: each of its code blocks runs, in order, in one session."""

import re
import threading
from pathlib import Path

import pytest
from ipywidgets import Widget

GUIDE = Path(__file__).resolve().parents[3] / "extensions" / "README.md"


@pytest.mark.usefixtures("lab")
def test_every_block_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert len(blocks) >= 10
    session: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(GUIDE), "exec"), session)
    Widget.close_all()
    for thread in threading.enumerate():
        if thread.name.startswith(("restore ", "neve restore of ")):
            thread.join(30)
    out = capsys.readouterr().out
    assert "xas/scan7 is back" in out
    assert "There is no dataset saxs/run24 among those you may read. Did you mean saxs/run42" in out
    assert sorted(path.name for path in (tmp_path / "laptop" / "run42").iterdir()) == ["scan.h5", "scan2.h5"]
    assert "deep 3 days" in out  # cold, and said so
    assert "saxs/run42" in out


def test_every_name_and_picture_is_there():
    import neve

    text = GUIDE.read_text()
    errors = re.findall(r"`([A-Z]\w+)`", text.partition("| error |")[2].partition("\n## ")[0])
    named = {*re.findall(r"\bneve\.([a-zA-Z_]+)\(", text), *errors}
    assert len(errors) >= 12
    assert [name for name in named if not hasattr(neve, name)] == []
    pictures = re.findall(r"!\[.+?\]\((.+?)\)", text)
    assert len(pictures) >= 4
    assert [name for name in pictures if not (GUIDE.parent / name).is_file()] == []
