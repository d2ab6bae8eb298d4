"""`neve-singleuser`: what a notebook server does before it starts, in a container or as a local process.

Law: the lab starts whatever is missing; each thing that could not be done is said in one line of the server's log, with what it costs. Homes are old:
everything here can be done again, and nothing of the person's own is changed.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from neve.errors import NeveError
from neve.sources import data_folder

NOTEBOOK = "Start here.ipynb"
OPTIONS = (
    "--ServerApp.contents_manager_class=neve.contents.Contents",  # the file browser shows team notebooks
    "--ServerApp.jpserver_extensions=neve.presence=True",  # what is needed is not stopped for idleness
    "--ServerApp.jpserver_extensions=neve.room=True",  # a home that is nearly full is told
    "--ResourceUseDisplay.track_cpu_percent=True",
    "--ResourceUseDisplay.enable_prometheus_metrics=False",  # it would count all processes every second, whoever looks
)

LAB = (f"--LabServerApp.extra_labextensions_path={Path(__file__).parent / 'lab'}",)
RESCUE_OPTIONS = (
    "--ServerApp.contents_manager_class=jupyter_server.services.contents.largefilemanager.AsyncLargeFileManager",
    "--FileContentsManager.delete_to_trash=False",  # the trash is in the full home
    "--FileContentsManager.always_delete_dir=True",
    "--ContentsManager.allow_hidden=True",  # what is large is often hidden
    "--KernelSpecManager.ensure_native_kernel=False",
    "--KernelSpecManager.allowed_kernelspecs=none",
    "--ServerApp.jpserver_extensions=neve.room=True",
    "--LabApp.news_url=",
)


def news() -> list[str]:
    """What the lab shows as news is what admins announce, and nothing where there is no archiver."""
    url = os.environ.get("NEVE_API_URL")
    return [f"--LabApp.news_url={url.rstrip('/')}/announcements.atom"] if url else ["--LabApp.news_url="]


def lay_notebook(home: Path) -> str | None:
    """Put "Start here" into `home` unless something of that name is there; returns what went wrong."""
    target = home / NOTEBOOK
    try:
        # "x": never over somebody's own; half a notebook is not left behind.
        with target.open("xb") as file:
            try:
                file.write((files("neve") / "notebooks" / NOTEBOOK).read_bytes())
            except BaseException:
                target.unlink()
                raise
    except FileExistsError:
        return None
    except OSError as error:
        return f"“{NOTEBOOK}” was not laid into {home} ({error.strerror or error})."
    return None


def link_folder(link: Path, folder: Path, without: str) -> str | None:
    """Make `link` lead to a folder of the machine, so that the file browser shows it; returns what went wrong, and how it is `without` it."""
    missing = f"There is no {folder}: {without}."
    try:
        if link.exists() and not (folder.exists() and link.samefile(folder)):
            return f"{link} is a folder, file or link of your own, so it does not show {folder}."
        if not folder.is_dir():
            return missing
        if not link.exists():
            link.unlink(missing_ok=True)  # an old one, that leads nowhere any more
            link.symlink_to(folder)
    except OSError as error:
        return f"{link} was not linked to {folder} ({error.strerror or error})."
    return None


def write_profiles() -> str | None:
    """Write the S3 profiles; returns what went wrong. Gives up soon: what is said shall stand at the log's beginning."""
    from neve.aws_config import configure  # noqa: PLC0415 - HTTP only when it is used
    from neve.client import Client  # noqa: PLC0415

    try:
        client = Client(timeout_s=4, retries=1)
        with contextlib.closing(client):
            written = configure(client)
    except NeveError as error:
        return f"S3 profiles were not written: {error} `neve credentials --configure` does it later."
    kept = ", ".join(written.kept)
    return f"Profiles of your own were kept in {written.path}: {kept}." if kept else None


def prepare(home: Path) -> list[str]:
    """What must be there when the lab shows the home; returns what is missing, one sentence each."""
    data = link_folder(home / "data", data_folder(), "data are read from the store instead of from a path")
    shared = os.environ.get("NEVE_SHARED")  # where there is none, nobody expects one
    done = (lay_notebook(home), data, shared and link_folder(home / "shared", Path(shared), "nothing is shared there"))
    return [problem for problem in done if problem]


def _say(*problems: str | None) -> None:
    sys.stderr.write("".join(f"neve: {problem}\n" for problem in problems if problem))
    sys.stderr.flush()


def _beside(work: Callable[[], None]) -> None:
    """In a process whose parent has ended: nobody waits for it, and it is nobody's zombie."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        if os.fork() == 0:
            work()
    finally:
        os._exit(0)


def spare_home() -> None:
    """For the rescue server, which can write nothing: what Jupyter keeps lies beside the home, and nothing in the home can hinder its start."""
    beside = tempfile.mkdtemp(prefix="neve-rescue-", dir="/tmp")  # else Python tries out where it can write
    (Path(beside) / "config").mkdir()
    (Path(beside) / "config" / "migrated").touch()  # else Jupyter would write that it has migrated nothing
    os.environ.update({f"JUPYTER_{kind}_DIR": f"{beside}/{kind.lower()}" for kind in ("CONFIG", "DATA", "RUNTIME")})
    os.environ.update({"JUPYTERLAB_WORKSPACES_DIR": f"{beside}/workspaces", "JUPYTERLAB_SETTINGS_DIR": f"{beside}/settings"})
    os.environ["PYTHONNOUSERSITE"] = "1"


def main() -> None:
    """Prepare the home, then become `neve.serving` with the same arguments and our own; the profiles are written meanwhile."""
    if os.environ.get("NEVE_RESCUE"):
        options = [*RESCUE_OPTIONS]
        spare_home()
    else:
        options = [*OPTIONS, *news()]
        _say(*prepare(Path.home()))
        _beside(lambda: _say(write_profiles()))
    serve = [sys.executable, "-m", "neve.serving", *options, *LAB, *sys.argv[1:]]
    os.execv(sys.executable, serve)  # noqa: S606 - becomes the server: no shell, same process
