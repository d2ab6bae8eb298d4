"""`neve watch`: the command line of the agent.

Law: exit 0 when it was asked to end, or with --once when nothing was refused; 1 where the key is, or with --once a file; 2 for wrong use.
What is sent stays; started again it goes on. SIGTERM, Ctrl-C and Ctrl-Break end it alike.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from neve.errors import NeveError
from neve.send.commands import JsonLines, settings, state_folder
from neve.send.events import Event
from neve.send.source import shown


def watch_command(
    inbox: Annotated[Path | None, typer.Argument(help="The folder to watch. Default: `inbox` of the settings.", show_default=False)] = None,
    config: Annotated[Path | None, typer.Option("--config", help="Settings (TOML).", exists=True, dir_okay=False)] = None,
    project: Annotated[str | None, typer.Option("--project", help="Default: that of the settings, or the one that the key's rule names.")] = None,
    url: Annotated[str | None, typer.Option("--url", help="The archiver's address. Default: that of the settings, or $NEVE_URL.")] = None,
    key_file: Annotated[Path | None, typer.Option("--key-file", help="File that holds the instrument's key. Default: as for `neve send`.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Send what is complete, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON per event.")] = False,
) -> None:
    """Watch a folder and send each file once it is complete, for ever; nothing is lost when it stops."""
    from rich.console import Console  # noqa: PLC0415 - `neve status` needs none of it

    from neve.send.agent import load  # noqa: PLC0415
    from neve.send.alone import Alone  # noqa: PLC0415
    from neve.send.journal import Journal  # noqa: PLC0415
    from neve.send.patience import Patience, Stop  # noqa: PLC0415
    from neve.send.reception import Reception  # noqa: PLC0415
    from neve.send.rows import Rows  # noqa: PLC0415
    from neve.send.sightings import Sightings  # noqa: PLC0415
    from neve.send.watch import Watch  # noqa: PLC0415
    from neve.send.watch_display import Lines, Screen  # noqa: PLC0415

    for stream in (sys.stdout, sys.stderr):  # a console that lacks a letter must not end the agent
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    agent = load(config, inbox=inbox, project=project, url=url, key_file=None if key_file is None else str(key_file.absolute()))
    where, key = settings(agent.url or None, Path(agent.key_file) if agent.key_file else None)
    journal_path = Path(agent.journal) if agent.journal else state_folder() / "sent.sqlite3"
    own = journal_path.with_name(f"watch-{hashlib.sha256(os.fsencode(agent.inbox)).hexdigest()[:12]}")
    show: Callable[[Event], None] = JsonLines() if as_json else Lines(lambda text: typer.echo(text, err=True))
    terminal = not as_json and sys.stderr.isatty()
    tell = _Told(show)
    with contextlib.ExitStack() as held:
        held.callback(Alone(own.with_suffix(".lock"), shown(agent.inbox)).close)
        reception = held.enter_context(contextlib.closing(Reception(where, key, Patience(tell, Stop()))))
        journal = held.enter_context(contextlib.closing(Journal(journal_path, reception.url)))
        sightings = Sightings(held.enter_context(contextlib.closing(Rows(own.with_suffix(".sqlite3")))))
        if journal.laid_aside is not None:
            why = "could not be read as a journal; a new one begins"
            tell(Event("skipped", {"source": shown(journal.laid_aside), "reason": why, "failed": False}))
        jobs, reports, snapshots = (ThreadPoolExecutor(1, f"neve-{what}") for what in ("job", "report", "snapshot"))
        spool = (Path(agent.snapshot_spool) if agent.snapshot_spool else own.parent) / f"{own.name}.snapshots"  # nobody else's: it is cleared
        watch = Watch(agent, reception, journal, sightings, jobs=jobs, reports=reports, snapshots=snapshots, spool=spool, tell=tell)
        _end_on_signals()
        try:
            with contextlib.ExitStack() as seen:
                if terminal:
                    tell.show = screen = Screen(Console(stderr=True), watch.status)
                    seen.enter_context(screen.live())
                watch.run(once=once)
        except KeyboardInterrupt:
            raise typer.Exit(0) from None
        except NeveError as error:
            show(Event("error", {"code": error.code, "detail": error.detail, "next_step": error.next_step}))
            raise
        if once and watch.status().count.refused:
            raise typer.Exit(1)


class _Told:
    """Passes events, which come from several threads, one at a time to what shows them by then."""

    def __init__(self, show: Callable[[Event], None]) -> None:
        self.show = show
        self._one = threading.RLock()

    def __call__(self, event: Event) -> None:
        with self._one:
            self.show(event)


def _end_on_signals() -> None:
    def end(_number: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGBREAK"):  # the first of a service's end, the second of Windows' Ctrl-Break
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), end)
