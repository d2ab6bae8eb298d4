"""`archiver reaper`: the process that ends copies outside hot."""

from __future__ import annotations

from typing import Annotated

import typer

from archiver import app
from archiver.commands.context import Now, archive_of


def reaper(context: typer.Context, once: Annotated[bool, typer.Option("--once", help="Stop when nothing is due.")] = False, now: Now = None) -> None:
    """End what nobody claims outside hot, for ever; the only process that can, by an identity of its own (store.reaper_profile)."""
    app.reap(archive_of(context, now), once=once)
