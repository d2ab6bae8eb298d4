"""`archiver reread`: reading files again by hand, as the worker does by itself after an update."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn

from archiver import rereading
from archiver.commands.context import Json, archive_of, out, print_json


def reread(
    context: typer.Context,
    dataset: Annotated[str | None, typer.Argument(help="One dataset; else all.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what this version has read already.")] = False,
    as_json: Json = False,
) -> None:
    """Look into files again that an older version of the readers has read. What is only cold stays as it is until it is restored."""
    archive = archive_of(context)
    columns = (TextColumn("reading again"), TextColumn("{task.completed} files"))
    with Progress(*columns, console=Console(stderr=True), disable=as_json or not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("", total=None)
        report = rereading.by_hand(archive, dataset, everything=everything, progress=lambda files: bar.update(task, advance=files))
    if as_json:
        print_json(report.document())
        return
    out.print(f"{report.read} file(s) read again with version {report.document()['reader_version']} of the readers, {report.size_bytes:,} bytes")
    if report.failed:
        out.print(f"{report.failed} could not be understood: what was known of them stays, `archiver status DATASET` tells why")
    if report.left:
        out.print(f"{report.left} were not read: what is cold is, once it is restored")
