"""`archiver verify`, `inventory` and `drills`: proving by hand what the worker proves every day."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TransferSpeedColumn

from archiver import describe, drill, fixity
from archiver import inventory as listings
from archiver.archive import Archive
from archiver.commands.context import Json, archive_of, out, print_json
from archiver.errors import Conflict, PublicError, WrongUse

TierOption = Annotated[str | None, typer.Option("--tier", help="One tier; else all.")]


def verify(
    context: typer.Context,
    sample: Annotated[int | None, typer.Option("--sample", min=1, help="The N copies of each tier whose proofs are oldest.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every copy.")] = False,
    tier: TierOption = None,
    as_json: Json = False,
) -> None:
    """Read copies anew and compare them with what was received: what is owed of the daily sample, N, or all. Exit 1 when one was bad."""
    if sample is not None and everything:
        raise WrongUse("--sample and --all exclude each other.", "Give one of them.")
    archive = archive_of(context)
    reports = []
    for name in _tiers(archive, tier):
        with archive.ledger.read() as tx:
            copies, size = tx.share(name)
        total = size if everything else size * min(sample, copies) // max(copies, 1) if sample is not None else None
        with _bar(name, total, quiet=as_json) as progress:
            reports.append(fixity.pay(archive, name) if sample is None and not everything else fixity.verify(archive, name, sample, progress))
    bad = sum(len(r.bad) for r in reports)
    if as_json:
        print_json([r.document() for r in reports])
    for report in () if as_json else reports:
        by_store = f", {report.by_the_store} by the store's own checksum (they are cold)" if report.by_the_store else ""
        out.print(f"{report.tier}: {report.read_back} read back{by_store}; {report.size_bytes:,} bytes, {len(report.bad)} bad")
        for key, became, why in report.bad:
            out.print(f"  {key}: {became} ({why})", markup=False)
    if bad:
        raise PublicError(
            f"{bad} copies were not what they should be.", "Each was written down and is being mended; `archiver status` shows the rest."
        )


def inventory(
    context: typer.Context,
    tier: TierOption = None,
    full: Annotated[bool, typer.Option("--full", help="Compare everything now; else say what is known.")] = False,
    as_json: Json = False,
) -> None:
    """Compare the tiers' buckets with the ledger, both ways."""
    archive = archive_of(context)
    document: dict[str, Any] = {}
    for name in _tiers(archive, tier):
        if full:
            with _bar(name, None, quiet=as_json, what="keys") as progress:
                listings.full(archive, name, progress)
        with archive.ledger.read() as tx:
            found = [{"kind": f.kind, "key": f.key, "detail": f.detail, "found_at": describe.time(f.found_at)} for f in tx.findings(tier=name)]
            document[name] = {"listing": listings.last(tx, name), "open": tx.finding_counts().get(name, {}), "findings": found}
    if as_json:
        print_json(document)
        return
    for name, said in document.items():
        listing = said["listing"]
        counts = ", ".join(f"{n} {kind}" for kind, n in listing["counts"].items()) if listing else ""
        out.print(f"{name}: compared from {listing['began_at']} to {listing['ended_at']}: {counts}" if listing else f"{name}: not compared yet")
        for finding in said["findings"]:
            out.print(f"  {finding['kind']}: {finding['key']} ({finding['detail']})", markup=False)


def drills(
    context: typer.Context,
    now_run: Annotated[bool, typer.Option("--now-run", help="Begin one now, or take the one under way further.")] = False,
    as_json: Json = False,
) -> None:
    """Rehearsals of restores: a random dataset brought back to a scratch prefix and compared, with the time it took."""
    archive = archive_of(context)
    if now_run:
        with archive.ledger.read() as tx:
            under_way = tx.drill_under_way()
        under_way = under_way or drill.begin(archive)
        if under_way is None:
            raise Conflict(
                "There is no dataset to drill.", "It must be closed, no larger than proof.drill_max_bytes, and stay in its tier for 30 days."
            )
        drill.advance(archive, under_way)
    with archive.ledger.read() as tx:
        found = describe.drills(tx, tx.drills(50), None)
    if as_json:
        print_json(found)
    for one in () if as_json else found:
        took = f" in {one['seconds']:,.0f} s" if one["seconds"] is not None else ""
        why = f": {one['error']}" if one["error"] else ""
        out.print(f"{one['created_at']} {one['dataset']} from {one['tier']}, {one['size_bytes']:,} bytes: {one['state']}{took}{why}", markup=False)
    if not found and not as_json:
        out.print("No drill was held yet.")


def _tiers(archive: Archive, tier: str | None) -> list[str]:
    if tier is not None and tier not in archive.tiers:
        raise WrongUse(f"There is no tier {tier!r}.", f"The tiers are {', '.join(archive.tiers)}.")
    return list(archive.tiers) if tier is None else [tier]


@contextmanager
def _bar(name: str, total: int | None, *, quiet: bool, what: str = "bytes") -> Iterator[Callable[[int], None]]:
    amount = (DownloadColumn(), TransferSpeedColumn()) if what == "bytes" else (TextColumn("{task.completed} " + what),)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), *amount)
    with Progress(*columns, console=Console(stderr=True), disable=quiet or not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task(name, total=total)
        yield lambda n: bar.advance(task, n)
