"""`python -m neve_hub.demo --into FOLDER [--now ISO] [--small]`: the demo's files on disk, to look at or to take in by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from neve_hub.demo.load import write_all


def main(
    into: Annotated[Path, typer.Option(help="Folder the files go to; made if need be.")],
    now: Annotated[str, typer.Option(help="The demo's present, ISO 8601; UTC where it names no zone. Default: the present.")] = "",
    small: Annotated[bool, typer.Option("--small", help="12 datasets instead of 60, at most 5 MB.")] = False,
) -> None:
    """Write the demo laboratory's data of the last three years."""
    try:
        present = datetime.fromisoformat(now) if now else datetime.now(UTC)
    except ValueError:
        raise typer.BadParameter(f"{now} is no ISO 8601 time, such as 2026-11-20T12:00:00Z", param_hint="--now") from None
    try:
        into.mkdir(parents=True, exist_ok=True)
        listed = write_all(into, present if present.tzinfo else present.replace(tzinfo=UTC), small=small)
    except OSError as error:
        typer.echo(f"The demo's files cannot be written below {into}: {error.strerror}. Name another folder with --into.", err=True)
        raise typer.Exit(1) from None
    size_bytes = sum(file["size_bytes"] for dataset in listed for file in dataset["files"])
    typer.echo(f"{len(listed)} datasets, {size_bytes / 1e6:.1f} MB below {into}; manifest.json lists them.")


if __name__ == "__main__":
    typer.run(main)
