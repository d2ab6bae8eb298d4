"""What happens in a home before the lab starts: once, again, and when things are missing."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from neve import singleuser


@pytest.fixture
def home(as_notebook):
    return Path(os.environ["HOME"])


def test_all_is_there(home, as_notebook):
    assert singleuser.prepare(home) == []
    assert nbformat.read(home / "Start here.ipynb", as_version=4).cells
    assert (home / "data").readlink() == as_notebook.data
    assert singleuser.write_profiles() is None
    assert "[profile p1]" in (home / ".aws" / "config").read_text()


def test_again_changes_nothing_of_the_persons_own(home):
    singleuser.prepare(home)
    (home / "Start here.ipynb").write_text("mine")
    assert singleuser.prepare(home) == []
    assert (home / "Start here.ipynb").read_text() == "mine"


def test_old_link_is_renewed(home, as_notebook):
    (home / "data").symlink_to("/somewhere/else")
    assert singleuser.prepare(home) == []
    assert (home / "data").readlink() == as_notebook.data


def test_a_folder_of_ones_own_stays(home):
    (home / "data").mkdir()
    (home / "data" / "notes.txt").write_text("mine")
    (problem,) = singleuser.prepare(home)
    assert "of your own" in problem
    assert (home / "data" / "notes.txt").read_text() == "mine"


def test_a_link_of_ones_own_stays(home, tmp_path):
    (tmp_path / "mine").mkdir()
    (home / "data").symlink_to(tmp_path / "mine")
    (problem,) = singleuser.prepare(home)
    assert "of your own" in problem
    assert (home / "data").readlink() == tmp_path / "mine"


def test_what_projects_share_is_linked_where_there_is_some(home, tmp_path, monkeypatch):
    assert singleuser.prepare(home) == []
    assert not (home / "shared").is_symlink()
    monkeypatch.setenv("NEVE_SHARED", str(tmp_path / "shared"))
    (problem,) = singleuser.prepare(home)
    assert problem == f"There is no {tmp_path / 'shared'}: nothing is shared there."
    (tmp_path / "shared").mkdir()
    for _ in range(2):
        assert singleuser.prepare(home) == []
        assert (home / "shared").readlink() == tmp_path / "shared"


def test_data_folder_is_the_homes_own(home, monkeypatch):
    (home / "data").mkdir()
    monkeypatch.setenv("NEVE_DATA", str(home / "data"))
    assert singleuser.prepare(home) == []
    assert not (home / "data").is_symlink()


def test_no_mount(home, monkeypatch):
    monkeypatch.setenv("NEVE_DATA", "/no/such/folder")
    (problem,) = singleuser.prepare(home)
    assert "There is no /no/such/folder" in problem


@pytest.mark.parametrize("trouble", ["away", "no token", "broken config"])
def test_what_is_missing_is_said(home, as_notebook, monkeypatch, trouble):
    if trouble == "away":
        monkeypatch.setenv("NEVE_API_URL", "http://127.0.0.1:1/services/archiver")
    elif trouble == "no token":
        monkeypatch.delenv("JUPYTERHUB_API_TOKEN")
    else:
        (home / ".aws").mkdir()
        (home / ".aws" / "config").write_bytes(b"\xff")
    assert singleuser.prepare(home) == []
    problem = singleuser.write_profiles()
    assert problem.startswith("S3 profiles were not written:")
    assert "secret-token" not in problem


def test_home_cannot_be_written(home):
    (home / "Start here.ipynb").parent.rmdir()
    problems = singleuser.prepare(home)
    assert len(problems) == 2
    assert "was not laid" in problems[0]


def test_becomes_the_server_even_when_nothing_works(home):
    """The real command, with the archiver away: it says so and goes on to jupyterhub-singleuser with the same arguments."""
    env = {**os.environ, "NEVE_API_URL": "http://127.0.0.1:1/x", "NEVE_DATA": "/no/such/folder"}
    program = Path(sys.executable).with_name("neve-singleuser")
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=120, env=env, check=False)
    assert done.returncode == 0, done.stderr
    import jupyterhub

    assert jupyterhub.__version__ in done.stdout or done.stdout.strip()[0].isdigit()
    said = [line for line in done.stderr.splitlines() if line.startswith("neve: ")]
    assert len(said) == 2 and "S3 profiles were not written" in "".join(said)
    assert "cannot be reached" in said[1]
    assert (home / "Start here.ipynb").exists()
