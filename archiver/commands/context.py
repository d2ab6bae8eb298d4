"""What every command begins with: the settings that were named, the archive, the time it acts at; and how it prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from archiver import app, config
from archiver.archive import Archive, utc_now
from archiver.errors import WrongUse

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead of text.")]
Now = Annotated[str | None, typer.Option("--now", metavar="TIME", help="Act as if it were TIME (ISO 8601, UTC unless it says otherwise).")]
out = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Common:
    """What stands before the command."""

    config: Path | None


def settings_of(context: typer.Context) -> config.Settings:
    """The settings, from --config or the usual places."""
    return config.load(context.find_object(Common).config)  # type: ignore[union-attr]


def archive_of(context: typer.Context, now: str | None = None) -> Archive:
    """The archive, acting at `now` if that is given."""
    archive = app.open_archive(settings_of(context), clock(now))
    context.call_on_close(archive.ledger.dispose)
    return archive


def clock(now: str | None) -> Callable[[], datetime]:
    """This machine's clock, or one that stands still. Raises `WrongUse`."""
    if now is None:
        return utc_now
    try:
        at = datetime.fromisoformat(now)
    except ValueError:
        raise WrongUse(f"{now!r} is not a time.", "Write it as 2026-11-25T08:00:00Z.") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return lambda: at


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(document, indent=1, ensure_ascii=False, default=str))
