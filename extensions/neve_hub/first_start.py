"""What has to be there before the first login: buckets and ledger at each start, people and demo data at the first.

Law: each step can be repeated, and the last one writes down that all were done: a first start that was cut off begins again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from neve.private import write_private

from archiver.errors import PublicError
from neve_hub.instance import MARK, Instance
from neve_hub.passwords import Passwords

Say = Callable[[str], None]


class SetUpError(PublicError):
    """A step of the start failed; its own sentence is in the detail."""

    code = "set-up-failed"
    title = "The start failed"


def environment(here: Instance, settings_file: Path) -> None:
    """What every process of ours is started with."""
    os.environ.update({MARK: here.id, "NEVE_CONFIG": str(settings_file), "NEVE_HOME": str(here.home)})
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


def done(here: Instance) -> bool:
    return (here.home / "first-start-done").exists()


def finish(here: Instance) -> None:
    write_private(here.home / "first-start-done", "")


def people(here: Instance, *, demo: bool) -> dict[str, str]:
    """Make the users, unless a provider has them, and say for the hub who is in which project; the passwords, which are kept nowhere else."""
    here.passwords.unlink(missing_ok=True)  # of a first start that was cut off before anyone saw them
    if here.settings.login.issuer:
        return {}  # it says who is who, and in which project
    passwords = Passwords(here.passwords)
    if not demo:
        return {"admin": passwords.add("admin", admin=True)}
    from neve_hub.demo import ADMINS, PROJECTS, USERS  # noqa: PLC0415 - for the very first start only

    members = {project: [user for user, projects in USERS.items() if project in projects] for project in PROJECTS}
    write_private(here.home / "hub" / "groups.json", json.dumps(members))
    return {user: passwords.add(user, admin=user in ADMINS) for user in USERS}


def archiver(*arguments: str) -> None:
    """Run the archiver's own command line. Raises `SetUpError` with its sentence."""
    _run("archiver", *arguments)


def load_demo(here: Instance, say: Say, *, small: bool) -> None:
    """Let the simulator measure for three years, and take what it made in, as an instrument's files would be."""
    now = here.home / "hub" / "demo-now"
    if not now.exists():
        write_private(now, datetime.now(UTC).isoformat(timespec="seconds"))
    with tempfile.TemporaryDirectory(dir=here.run, prefix="demo-") as folder:
        _run(sys.executable, "-m", "neve_hub.load_demo", now.read_text("utf-8"), folder, *(["--small"] if small else []), say=say)


def _run(*command: str, say: Say = lambda _: None) -> None:
    # A session of its own: Ctrl-C reaches us alone, and we end it (the mark in its environment finds it).
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                say(line.rstrip())
            process.wait()
        except BaseException:
            process.terminate()
            raise
        if process.returncode:
            errors.seek(0)
            lines = errors.read().strip().splitlines()
            raise SetUpError(f"`{' '.join(command)}` failed: {lines[-1] if lines else process.returncode}", "Start again to repeat it.")
