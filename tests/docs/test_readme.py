"""README.md is true: its commands run, its folders, links and pictures are there.

Every ```sh block is run, in order, in one shell folder that starts empty: `git clone` fetches this work tree, `make run` stays up for the
blocks after it and is ended by Ctrl-C. What is only to be looked at stands in blocks of another kind (```console, ```text).
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from fixtures.instance import READY, READY_WITHIN_S, leftovers_of, login_page_answers
from fixtures.processes import REPO, Process, start

START_WITHIN_S = 600  # `make run` makes its environment first
BLOCK_WITHIN_S = 120


@pytest.fixture(scope="module")
def readme() -> str:
    return (REPO / "README.md").read_text("utf-8")


def blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def work_tree_files() -> list[str]:
    """What a clone would have if all were committed: tracked files, and new ones that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=REPO, capture_output=True, text=True, check=True
    )
    return [name for name in listed.stdout.split("\0") if name and (REPO / name).exists()]


def copy_work_tree(target: Path) -> None:
    for name in work_tree_files():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPO / name, target / name)


def as_run_here(block: str, folder: Path) -> str:
    """The block with `git clone ADDRESS [FOLDER]` fetching this work tree instead of the published one."""

    def clone(match: re.Match[str]) -> str:
        target = match["folder"] or Path(match["address"]).name.removesuffix(".git")
        copy_work_tree(folder / target)
        return f"test -d {target}"

    return re.sub(r"^git clone (?:-\S+ )*(?P<address>\S+)(?: (?P<folder>[^\s&;]+))?", clone, block, flags=re.MULTILINE)


def test_its_commands_run(readme, tmp_path, port_base):
    found = blocks(readme, "sh")
    assert any("make run" in block for block in found), "README.md has no ```sh block with `make run`"
    folder, home, port = tmp_path / "stranger", tmp_path / "home", port_base()
    folder.mkdir()
    # Without an engine: notebooks in containers are what tests/browser is about, and building an image is not among these commands.
    env = {"NEVE_HOME": str(home), "NEVE_PORT": str(port), "DOCKER_HOST": f"unix://{tmp_path}/no-engine.sock", "CI": ""}
    running: Process | None = None
    try:
        for number, block in enumerate(found):
            # Each block goes on in the folder where the last one stopped, as a person's shell does.
            where = tmp_path / "where"
            before = f"cd {where.read_text().strip()}\n" if where.exists() else ""
            script = f"set -e\n{before}{as_run_here(block, folder)}\npwd > {where}\n"
            log = tmp_path / f"block-{number}.log"
            if "make run" in block:
                assert running is None, "`make run` stands in two blocks"
                # The folder must be known to later blocks although this one does not end.
                script = script.replace("make run", f"pwd > {where}\nmake run", 1)
                running = start(["bash", "-c", script], log, name="make run", env=env, cwd=folder, stop_signal=signal.SIGINT, stop_within_s=60)
                running.wait_ready(lambda: login_page_answers(f"http://127.0.0.1:{port}"), START_WITHIN_S)
                if number + 1 < len(found):
                    said = running.output
                    running.wait_ready(lambda said=said: READY in said(), READY_WITHIN_S)
                continue
            done = start(["bash", "-c", script], log, name=f"block {number + 1}", env=env, cwd=folder)
            try:
                assert done.popen.wait(BLOCK_WITHIN_S) == 0, f"{block}\n{done.tail()}"
            finally:
                done.stop()
        assert running is not None
        # Ctrl-C reaches every process of a terminal's foreground, make and the shell too.
        running.interrupt()
        assert running.popen.wait(60) is not None
        assert not leftovers_of(home)
        assert "Traceback" not in running.output()
    finally:
        if running is not None:
            running.stop()


def test_its_folders_links_and_pictures_exist(readme):
    top = {name.split("/")[0] for name in work_tree_files() if "/" in name and not name.startswith(".")}
    unnamed = {name for name in top if f"{name}/" not in readme}
    assert not unnamed, f"the map of README.md lacks {sorted(unnamed)}"
    for block in blocks(readme, r"(?:text)?"):
        for name in re.findall(r"^([\w.-]+)/(?=\s|$)", block, re.MULTILINE):
            assert (REPO / name).is_dir(), f"README.md names a folder {name}/ that does not exist"
    for target in re.findall(r"\]\(([^)#\s]+)", readme):
        if "://" not in target:
            assert (REPO / target).exists(), f"README.md links to {target}, which does not exist"
    for picture in re.findall(r'!\[[^\]]*\]\(([^)\s]+)|<img[^>]*src="([^"]+)"', readme):
        name = next(filter(None, picture))
        assert (REPO / name).stat().st_size <= 200_000, f"{name} is larger than 200 kB"
