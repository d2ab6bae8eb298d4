"""What is saved in a home, and who reads it meanwhile: through the contents manager of the lab, as its pages do."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from neve.contents import Contents
from tornado.web import HTTPError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def notebook(number: int, cells: int = 400) -> dict:
    made = new_notebook(cells=[new_code_cell(f"x = {number}\n" * 20, id=f"c{n}") for n in range(cells)], metadata={"number": number})
    return {"type": "notebook", "format": "json", "content": made}


def text(content: str) -> dict:
    return {"type": "file", "format": "text", "content": content}


def save(home: Path, model: dict, path: str) -> dict:
    return asyncio.run(Contents(root_dir=str(home)).save(model, path))


def left(home: Path) -> list[str]:
    return sorted(path.name for path in home.iterdir() if path.name != ".ipynb_checkpoints")


def test_who_reads_while_it_is_saved_sees_one_or_the_other(home: Path):
    """Jupyter's own way ends here with the notebook at `run.ipynb.invalid` and the save refused."""
    save(home, notebook(0), "run.ipynb")
    done = threading.Event()
    seen: list[int] = []
    wrong: list[object] = []

    def read() -> None:
        manager = Contents(root_dir=str(home))

        async def again() -> None:
            while not done.is_set():
                try:
                    content = (await manager.get("run.ipynb"))["content"]
                    assert len(content["cells"]) == 400 and content["cells"][-1]["source"].startswith(f"x = {content['metadata']['number']}\n")
                    seen.append(content["metadata"]["number"])
                except Exception as error:  # noqa: BLE001 - each is told below
                    wrong.append(error)

        asyncio.run(again())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(1, 40):
            save(home, notebook(number), "run.ipynb")
    finally:
        done.set()
        reader.join()
    assert wrong == [] and seen and seen == sorted(seen)
    assert left(home) == ["run.ipynb"]
    assert nbformat.read(home / "run.ipynb", 4)["metadata"]["number"] == 39


@pytest.mark.parametrize("there", [True, False], ids=["over another", "new"])
def test_a_save_that_fails_leaves_all_as_it_was(home: Path, there: bool, monkeypatch: pytest.MonkeyPatch):
    if there:
        save(home, notebook(1), "run.ipynb")

    def no_room(_notebook: object, file, **_: object) -> None:
        file.write("half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nbformat, "write", no_room)
    with pytest.raises(HTTPError, match="No space left"):
        save(home, notebook(2), "run.ipynb")
    monkeypatch.undo()
    assert left(home) == (["run.ipynb"] if there else [])
    if there:
        assert nbformat.read(home / "run.ipynb", 4)["metadata"]["number"] == 1


def test_a_file_keeps_its_rights_its_link_and_its_other_names(home: Path):
    (home / "tool.sh").write_text("old", "utf-8")
    (home / "tool.sh").chmod(0o750)
    (home / "far").mkdir()
    (home / "far" / "real.txt").write_text("old", "utf-8")
    (home / "link.txt").symlink_to("far/real.txt")
    (home / "one.txt").write_text("old", "utf-8")
    os.link(home / "one.txt", home / "two.txt")
    for name in ("tool.sh", "link.txt", "one.txt"):
        save(home, text("new"), name)
        assert (home / name).read_text("utf-8") == "new"
    assert stat.S_IMODE((home / "tool.sh").stat().st_mode) == 0o750
    assert (home / "link.txt").is_symlink() and (home / "far" / "real.txt").read_text("utf-8") == "new"
    assert (home / "two.txt").read_text("utf-8") == "new" and (home / "one.txt").stat().st_nlink == 2
    assert left(home) == ["far", "link.txt", "one.txt", "tool.sh", "two.txt"]
    mask = os.umask(0)
    os.umask(mask)
    save(home, text("new"), "fresh.txt")
    assert stat.S_IMODE((home / "fresh.txt").stat().st_mode) == 0o666 & ~mask


def test_bytes_and_names_of_any_kind_are_saved_as_they_are(home: Path):
    for name in ("é+%&#?.bin", "x" * 250 + ".bin", "日本.bin"):
        save(home, {"type": "file", "format": "base64", "content": "AAH/"}, name)
        assert (home / name).read_bytes() == b"\0\1\xff"
        save(home, {"type": "file", "format": "base64", "content": ""}, name)
        assert (home / name).read_bytes() == b""
    assert len(left(home)) == 3


def test_a_file_that_may_not_be_written_is_refused_and_stays(home: Path, monkeypatch: pytest.MonkeyPatch):
    (home / "fixed.txt").write_text("old", "utf-8")
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, how, **more: not (str(path).endswith("fixed.txt") and how == os.W_OK) and real(path, how, **more))
    with pytest.raises(HTTPError) as refused:  # root may write all, so it is told that it may not
        save(home, text("new"), "fixed.txt")
    assert refused.value.status_code == 403
    assert (home / "fixed.txt").read_text("utf-8") == "old" and left(home) == ["fixed.txt"]
