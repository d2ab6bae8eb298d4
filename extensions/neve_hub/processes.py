"""The processes of `make run` under supervisord, side by side, so that none takes another down.

Law: every process carries NEVE_INSTANCE in its environment. That mark, not a name or a pid in a file, tells what is ours:
leftovers of a killed run are ended by it, and nothing else ever is.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from neve.private import write_private
from supervisor.xmlrpc import SupervisorTransport

from archiver.errors import PublicError
from neve_hub.instance import MARK, Instance

_LONGEST_SOCKET = 90  # of 107: supervisord binds a longer name first


class ProcessError(PublicError):
    """One of our processes does not stay up."""

    code = "process-failed"
    title = "A process does not start"


@dataclass(frozen=True)
class Program:
    """One line of the table of processes. Lower priority starts earlier and stops later."""

    name: str
    command: list[str]
    priority: int
    autostart: bool = True  # False: started by name, once what it needs is there
    stop_wait_s: int = 15
    group: bool = True  # whether its children get the stop signal too


def socket(here: Instance) -> Path:
    path = here.run / "supervisor.sock"
    if len(str(path)) <= _LONGEST_SOCKET:
        return path
    folder = Path(tempfile.gettempdir()) / f"neve-{here.id}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.geteuid():
        raise ProcessError(f"{folder} belongs to somebody else.", "Remove it, or set NEVE_HOME to a folder with a shorter path.")
    return folder / "supervisor.sock"


def configure(here: Instance, programs: list[Program]) -> Path:
    """Write supervisord.conf."""
    sections: list[tuple[str, dict[str, object]]] = [
        ("unix_http_server", {"file": socket(here), "chmod": "0600"}),
        (
            "supervisord",
            {
                "nodaemon": "true",
                "silent": "true",
                "pidfile": here.run / "supervisord.pid",
                "logfile": here.log / "supervisord.log",
                "logfile_maxbytes": "5MB",
                "logfile_backups": 2,
                "childlogdir": here.log,
                **({"user": "root"} if os.geteuid() == 0 else {}),  # without it supervisord warns that it is root
            },
        ),
        ("rpcinterface:supervisor", {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"}),
    ]
    for program in programs:
        values = {
            "command": shlex.join(program.command),
            "priority": program.priority,
            "autostart": str(program.autostart).lower(),
            "autorestart": "true",
            "startsecs": 1,
            "startretries": 10,
            "stopsignal": "TERM",
            "stopwaitsecs": program.stop_wait_s,
            "stopasgroup": str(program.group).lower(),
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": here.log / f"{program.name}.log",
            "stdout_logfile_maxbytes": "10MB",
            "stdout_logfile_backups": 3,
        }
        sections.append((f"program:{program.name}", values))
    text = "\n".join(
        f"[{name}]\n" + "".join(f"{key}={str(value).replace('%', '%%')}\n" for key, value in values.items()) for name, values in sections
    )
    write_private(here.run / "supervisord.conf", text)
    return here.run / "supervisord.conf"


class Supervisor:
    """supervisord, our child, and its socket."""

    def __init__(self, here: Instance, programs: list[Program]) -> None:
        self._here = here
        socket(here).unlink(missing_ok=True)
        config = configure(here, programs)
        # A session of its own: Ctrl-C reaches us only, and we stop it in order.
        self.process = subprocess.Popen(
            [str(Path(sys.executable).parent / "supervisord"), "-n", "-c", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=here.run,
        )
        self._rpc = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=SupervisorTransport(None, None, f"unix://{socket(here)}"))

    def start(self, name: str) -> None:
        """Start a program that waits to be started; a start that fails is repeated by the supervisor, and seen by `check`."""
        self._rpc.supervisor.startProcess(name, False)

    def given_up(self) -> list[str]:
        """Programs that ended too often to be started again. Raises `ProcessError` when the supervisor itself has ended."""
        if self.process.poll() is not None:
            raise ProcessError("The supervisor ended.", f"Its log: {self._here.log / 'supervisord.log'}")
        try:
            states: Any = self._rpc.supervisor.getAllProcessInfo()
        except (OSError, xmlrpc.client.Error):
            return []  # not up yet, or busy: the next look tells
        return [state["name"] for state in states if state["statename"] == "FATAL"]

    def stop(self) -> None:
        """End all programs in order, then the supervisor."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(90)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def ours(here: Instance) -> list[psutil.Process]:
    """Processes with our mark, except this one and those that started it."""
    me = psutil.Process()
    spared = {me.pid, *(parent.pid for parent in me.parents())}
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid not in spared and process.environ().get(MARK) == here.id and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue  # ended meanwhile, or another account's, which cannot be ours
    return found


def sweep(here: Instance, *, patience_s: float = 10.0) -> int:
    """End what is left of this instance: asked first, then killed. How many there were."""
    left = ours(here)
    for process in left:
        _signal(process.terminate)
    _, stubborn = psutil.wait_procs(left, timeout=patience_s)
    for process in stubborn:
        _signal(process.kill)
    deadline = time.monotonic() + patience_s
    while ours(here) and time.monotonic() < deadline:  # a supervisor that was killed late may have restarted one
        for process in ours(here):
            _signal(process.kill)
        time.sleep(0.1)
    return len(left)


def _signal(send: object) -> None:
    try:
        send()  # type: ignore[operator]
    except psutil.NoSuchProcess:
        return
