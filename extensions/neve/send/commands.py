"""`neve send`: files and folders into a dataset, from the command line.

Law: exit 0 when all is received (and the dataset closed, unless --no-close), 1 when something is not (said which), 2 for wrong use. On a terminal a
bar on stderr; with --json one line per event on stdout (`neve.send.events`) and nothing else there. The key comes from a file or the environment,
never from the command line, which other users of a machine can read.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neve.errors import NeveError, NotSignedIn, WrongUse
from neve.send.events import Event, sentence
from neve.send.source import shown
from neve.wording import size_text

if TYPE_CHECKING:
    from neve.send.journal import Journal
    from neve.send.patience import Stop

_SAID = 20  # failures that the summary names


def send_command(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Files, or folders with all that is below them.", show_default=False)],
    name: Annotated[
        str | None, typer.Option("--name", help="The dataset's name. Default: that of the folder, or of the file without its ending.")
    ] = None,
    project: Annotated[str | None, typer.Option("--project", help="Default: the project that the key's rule names.")] = None,
    instrument: Annotated[str | None, typer.Option("--instrument", help="For people's tokens; a key knows its instrument.")] = None,
    url: Annotated[str | None, typer.Option("--url", help="The archiver's address. Default: $NEVE_URL.")] = None,
    key_file: Annotated[
        Path | None, typer.Option("--key-file", help="File that holds the instrument's key. Default: $NEVE_KEY_FILE, or the key in $NEVE_KEY.")
    ] = None,
    no_close: Annotated[bool, typer.Option("--no-close", help="Leave the dataset open: more will come.")] = False,
    sums: Annotated[Path | None, typer.Option("--sums", help="Checksum manifest (sha256sum, BagIt); those among the files count anyway.")] = None,
    journal: Annotated[Path | None, typer.Option("--journal", help="Where is noted what was sent. Default: in your state folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON per event.")] = False,
) -> None:
    """Send files into a dataset, each once, proven; run again after any stop and it goes on."""
    from neve.send.offer import Offer  # noqa: PLC0415 - `neve status` needs none of it
    from neve.send.patience import Patience, Stop  # noqa: PLC0415
    from neve.send.reception import Reception  # noqa: PLC0415
    from neve.send.sender import send  # noqa: PLC0415

    for stream in (sys.stdout, sys.stderr):  # a console that lacks a letter must not end a sending
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    stop = Stop()
    with _shown(as_json=as_json, paths=paths) as show, _told(show, stop):
        offer = Offer(paths, sums)
        dataset = name or default_name(paths)
        with (
            contextlib.closing(Reception(*settings(url, key_file), Patience(show, stop))) as reception,
            contextlib.closing(_journal(journal, reception.url, show)) as noted,
        ):
            outcome = send(
                reception, noted, project, dataset, offer.sources(), instrument=instrument, sums=offer.sums, close=not no_close, report=show
            )
            if noted.trouble is not None:
                show(Event("journal", {"reason": f"cannot be used any more ({noted.trouble}); run again, files are read again but not sent"}))
        about = {"sent": outcome.sent, "already": outcome.already, "failed": outcome.failed, "bytes_sent": outcome.bytes_sent}
        show(Event("end", {"dataset": outcome.dataset.full_name, "state": outcome.state, **about, "ok": not outcome.failed}))
    if not as_json:
        typer.echo(f"{outcome.dataset.full_name}: {_summary(about)}; {'closed' if outcome.state == 'closed' else 'left open'}.")
        for failure in outcome.failures[:_SAID]:
            typer.echo(f"  {failure.sentence}", err=True)
        if outcome.failed > _SAID:
            typer.echo(f"  and {outcome.failed - _SAID} more (--json names all)", err=True)
    if outcome.failed:
        raise typer.Exit(1)


class Interrupted(NeveError):
    """Ctrl-C."""

    code = "stopped"


@contextlib.contextmanager
def _told(show: Callable[[Event], None], stop: Stop) -> Iterator[None]:
    """Whatever ends a sending early is an event too, and Ctrl-C a sentence."""
    try:
        try:
            yield
        except KeyboardInterrupt:
            stop.set()
            raise Interrupted("Stopped; nothing is lost.", "Run the same command again and it goes on.") from None
    except NeveError as error:
        show(Event("error", {"code": error.code, "detail": error.detail, "next_step": error.next_step}))
        raise


def _journal(path: Path | None, archiver: str, show: Callable[[Event], None]) -> Journal:
    """The journal, or one that ends with the process where the usual place cannot be written: a sending is worth more."""
    from neve.send.journal import Journal  # noqa: PLC0415

    try:
        journal = Journal(path or state_folder() / "sent.sqlite3", archiver)
    except (OSError, sqlite3.Error) as error:
        if path is not None:
            raise WrongUse(f"The journal {shown(path)} cannot be opened ({error}).", "Name a file that can be written with --journal.") from None
        show(Event("journal", {"reason": f"cannot be opened ({error}); the sending goes on without"}))
        return Journal(None, archiver)
    if journal.laid_aside is not None:
        show(Event("journal", {"reason": f"could not be read; a new one begins, the old one is {shown(journal.laid_aside)}"}))
    return journal


def settings(url: str | None, key_file: Path | None) -> tuple[str, str]:
    """The archiver's address and the key. In a notebook both are there; its token goes to its own archiver only.

    Raises NotSignedIn where a key file cannot be read.
    """
    where = url or os.environ.get("NEVE_URL", "")
    file = key_file or (Path(os.environ["NEVE_KEY_FILE"]) if os.environ.get("NEVE_KEY_FILE") else None)
    if file is not None:
        try:
            return where, file.read_text("utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise NotSignedIn(
                f"The key file {shown(file)} cannot be read ({why}).", "It holds the key that `archiver instruments add` printed."
            ) from None
    key = os.environ.get("NEVE_KEY", "")
    if not where and not key and os.environ.get("NEVE_API_URL"):
        return os.environ["NEVE_API_URL"], os.environ.get("JUPYTERHUB_API_TOKEN", "")
    return where, key


def default_name(paths: list[Path]) -> str:
    """A dataset's name where none is given."""
    if len(paths) != 1:
        raise WrongUse("Several paths are given, so the dataset's name must be said.", "Add --name NAME.")
    whole = paths[0].resolve()
    name = whole.name if whole.is_dir() else whole.stem
    if not name or not name.isprintable():
        raise WrongUse(f"{shown(whole)} gives the dataset no name.", "Add --name NAME.")
    return name


def state_folder() -> Path:
    """Where programs keep what they remember, per user."""
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "neve"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "neve"


def _summary(about: dict[str, int]) -> str:
    parts = [f"{about['sent']} file{'' if about['sent'] == 1 else 's'} sent ({size_text(about['bytes_sent'])})"]
    if about["already"]:
        parts.append(f"{about['already']} there already")
    if about["failed"]:
        parts.append(f"{about['failed']} not received")
    return ", ".join(parts)


@contextlib.contextmanager
def _shown(*, as_json: bool, paths: list[Path]) -> Iterator[Callable[[Event], None]]:
    """Gives what shows events: lines of JSON, a bar, or lines on stderr."""
    if as_json:
        yield JsonLines()
    elif sys.stderr.isatty():
        from neve.send.bar import bar  # noqa: PLC0415 - rich is for terminals only

        with bar(paths) as show:
            yield show
    else:
        yield _lines


def _lines(event: Event) -> None:
    if text := sentence(event):
        typer.echo(text, err=True)


class JsonLines:
    """One line per event. Who reads them may end; the sending goes on."""

    def __init__(self) -> None:
        self._read = True

    def __call__(self, event: Event) -> None:
        if not self._read:
            return
        try:
            sys.stdout.write(f"{json.dumps(event.as_json())}\n")
            sys.stdout.flush()
        except OSError:
            self._read = False
