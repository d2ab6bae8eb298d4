"""The scientist's guide: each of its code blocks runs, in order, in one session."""

import re
import threading
from pathlib import Path

import pytest

GUIDE = Path(__file__).resolve().parents[3] / "extensions" / "README.md"


@pytest.mark.usefixtures("lab")
def test_every_block_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert len(blocks) >= 10
    session: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(GUIDE), "exec"), session)
    for thread in threading.enumerate():
        if thread.name.startswith("restore "):
            thread.join(30)
    out = capsys.readouterr().out
    assert "xas/scan7 is back" in out
    assert sorted(path.name for path in (tmp_path / "laptop" / "run42").iterdir()) == ["scan.h5", "scan2.h5"]
    assert "deep 3 days" in out  # cold, and said so
    assert "saxs/run42" in out


def test_every_name_is_one_of_ours():
    import neve

    named = set(re.findall(r"\bneve\.([a-zA-Z_]+)\(", GUIDE.read_text()))
    assert named
    assert [name for name in named if not hasattr(neve, name)] == []
