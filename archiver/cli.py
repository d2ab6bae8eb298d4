"""`archiver …`: the archive by command line.

Law: exit 0 done, 1 something failed (said which), 2 wrong use. One sentence on stderr, never a traceback; `--json` prints one JSON
document on stdout and no progress bar.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from archiver import app, config, describe, names, policy, reception, restore
from archiver.archive import Archive, utc_now, view
from archiver.check import check as check_ledger
from archiver.doctor import examine
from archiver.errors import PublicError, WrongUse
from archiver.ledger import Ledger
from archiver.ledger.browse import Query

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Keeps copies true to claims, and proves it.")
ledger_cli = typer.Typer(no_args_is_help=True, help="The ledger itself.")
projects_cli = typer.Typer(no_args_is_help=True, help="Projects: the unit of access.")
instruments_cli = typer.Typer(no_args_is_help=True, help="Instruments: where data comes from.")
cli.add_typer(ledger_cli, name="ledger")
cli.add_typer(projects_cli, name="projects")
cli.add_typer(instruments_cli, name="instruments")

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead of text.")]
Now = Annotated[str | None, typer.Option("--now", metavar="TIME", help="Act as if it were TIME (ISO 8601, UTC unless it says otherwise).")]
out = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Common:
    """What stands before the command."""

    config: Path | None


@cli.callback()
def common(
    context: typer.Context,
    config_file: Annotated[Path | None, typer.Option("--config", help="The settings file.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what is done to stderr.")] = False,
) -> None:
    """Read by every command."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    context.obj = Common(config_file)


def _settings(context: typer.Context) -> config.Settings:
    return config.load(context.find_object(Common).config)  # type: ignore[union-attr]


def _archive(context: typer.Context, now: str | None = None) -> Archive:
    return app.open_archive(_settings(context), _clock(now))


def _clock(now: str | None) -> Callable[[], datetime]:
    if now is None:
        return utc_now
    try:
        at = datetime.fromisoformat(now)
    except ValueError:
        raise WrongUse(f"{now!r} is not a time.", "Write it as 2026-11-25T08:00:00Z.") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return lambda: at


def _print(document: Any) -> None:
    typer.echo(json.dumps(document, indent=1, ensure_ascii=False, default=str))


@cli.command()
def setup(context: typer.Context, as_json: Json = False) -> None:
    """Make or upgrade the ledger, and the buckets with their markers. Can be repeated."""
    made = app.setup(app.open_archive(_settings(context), check=False))
    if as_json:
        _print({"made": made})
    else:
        out.print("Made: " + ", ".join(made) if made else "Everything was there already.")


@cli.command()
def ingest(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Files or folders.")],
    project: Annotated[str, typer.Option(help="The project that the data belongs to.")],
    instrument: Annotated[str, typer.Option(help="The instrument that made it.")],
    dataset: Annotated[str | None, typer.Option(help="One dataset of all paths; else each path is a dataset of its own name.")] = None,
    as_json: Json = False,
) -> None:
    """Receive files: sent, proven, described, closed. Repeating it sends nothing twice."""
    archive = _archive(context)
    groups = [(dataset, paths)] if dataset else [(path.resolve().stem if path.is_file() else path.resolve().name, [path]) for path in paths]
    results = []
    with _bar(quiet=as_json) as bar:
        for name, group in groups:
            total = sum(s.size_bytes for s in reception.scan(group))
            task = bar.add_task(name, total=total)
            datasets, arrivals = app.ingest(archive, project, instrument, name, group, lambda _a, n, task=task: bar.advance(task, n))  # type: ignore[misc]
            results += [
                {
                    "dataset": d.full_name,
                    "id": d.id,
                    "state": d.state,
                    "path": f"/data/{d.prefix}",
                    "received": sum(a.dataset_id == d.id and a.transfer_id is not None for a in arrivals),
                    "already_there": sum(a.dataset_id == d.id and a.transfer_id is None for a in arrivals),
                }
                for d in datasets
            ]
    if as_json:
        _print(results)
    for result in () if as_json else results:
        again = f", {result['already_there']} were there already" if result["already_there"] else ""
        out.print(f"{result['dataset']}: {result['received']} file(s) received and proven{again}; {result['path']}", markup=False)


def _bar(*, quiet: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=quiet or not sys.stderr.isatty(), transient=True)


@cli.command()
def status(context: typer.Context, dataset: Annotated[str | None, typer.Argument()] = None, as_json: Json = False) -> None:
    """The archive in a few lines, or one dataset with its files, copies and claims."""
    archive = _archive(context)
    with archive.ledger.read() as tx:
        if dataset is not None:
            document = describe.dataset_in_full(tx, archive.settings, tx.find_dataset(dataset))
        else:
            document = {
                "datasets": tx.count(Query()),
                "tiers": {tier: {"copies": copies, "size_bytes": size} for tier, copies, size in tx.totals()},
                "states": tx.states(),
            }
    if as_json:
        _print(document)
    elif dataset is None:
        _print_status(document)
    else:
        _print_dataset(document)


def _print_status(document: dict[str, Any]) -> None:
    out.print(f"{document['datasets']} datasets")
    table = Table("tier", "copies", "bytes", box=None, header_style="bold")
    for tier, total in document["tiers"].items():
        table.add_row(tier, f"{total['copies']:,}", f"{total['size_bytes']:,}")
    out.print(table)
    for noun in ("transfer", "drop", "recall", "restore"):
        counts = ", ".join(f"{n} {state}" for state, n in document["states"][noun].items())
        out.print(f"{noun}s: {counts or 'none'}")


def _print_dataset(document: dict[str, Any]) -> None:
    size = f"{document['file_count']} files, {document['size_bytes']:,} bytes"
    out.print(f"[bold]{escape(document['full_name'])}[/] of {document['project']}: {document['state']}, {size}")
    out.print(f"nearest tier: {document['tier'] or 'none'}; hot until {document['hot_until'] or '-'}; path {document['path']}", markup=False)
    for claim in document["claims"]:
        by = f"{claim['kind']}: {claim['user']}" if claim["user"] else claim["kind"]
        end = claim["until"] or ("for ever" if claim["kind"] == "age" else "its restore ends")
        out.print(f"claimed in {claim['tier']} until {end} ({by})", markup=False)
    table = Table("file", "bytes", "metadata", "copies", box=None, header_style="bold")
    for file in document["files"]:
        copies = ", ".join(f"{c['tier']} ({c['proof']})" for c in file["copies"]) or file["state"]
        state = f"failed: {file['metadata_error']}" if file["metadata_error"] else (file["format"] or "-")
        table.add_row(escape(file["path"]), f"{file['size_bytes']:,}", state, copies)
    out.print(table)


@cli.command()
def tier(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    now: Now = None,
    as_json: Json = False,
) -> None:
    """Compare every dataset's copies with its claims, and make them true."""
    archive = _archive(context, now)
    if not dry_run:
        with archive.ledger.begin() as tx:
            tx.look_at_all()
        app.work(archive, once=True)
        with archive.ledger.read() as tx:
            document: dict[str, Any] = {"states": tx.states()}
    else:
        document = {"planned": _planned(archive)}
    if as_json:
        _print(document)
    elif dry_run:
        for step in document["planned"]:
            out.print(f"{step['step']} {step['dataset']} {step['tier']}: {step['objects']} object(s), {step['size_bytes']:,} bytes")
        out.print(f"{len(document['planned'])} step(s) would be taken now." if document["planned"] else "Nothing to do: copies are true to claims.")
    else:
        _print_states(document["states"])


def _print_states(states: dict[str, dict[str, int]]) -> None:
    for noun in ("transfer", "drop"):
        out.print(f"{noun}s: " + (", ".join(f"{n} {state}" for state, n in states[noun].items()) or "none"))


def _planned(archive: Archive) -> list[dict[str, Any]]:
    steps: dict[tuple[str, str, str], list[int]] = {}
    with archive.ledger.read() as tx:
        cursor = None
        while page := tx.search(Query(), 200, cursor):
            for dataset in page:
                seen = view(tx, dataset.id)
                sizes = {o.id: o.size_bytes for o in seen.objects}
                decision = policy.decide(seen, archive.settings, tx.at)
                for obj, to, _origin in decision.transfers:
                    steps.setdefault(("copy", dataset.full_name, to), []).append(obj.size_bytes)
                for copy in decision.drops:
                    steps.setdefault(("drop", dataset.full_name, copy.tier), []).append(sizes[copy.object_id])
            last = page[-1]
            cursor = (last.acquired_at or last.received_at, last.id)
    return [{"step": s, "dataset": d, "tier": t, "objects": len(n), "size_bytes": sum(n)} for (s, d, t), n in steps.items()]


@cli.command(name="restore")
def restore_command(
    context: typer.Context,
    dataset: str,
    files: Annotated[str | None, typer.Option(help="Only the files whose path matches this glob.")] = None,
    days: Annotated[int | None, typer.Option(help="Days in hot, from ready.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it is ready.")] = False,
    as_json: Json = False,
) -> None:
    """Bring a dataset back to hot, at the path where it was."""
    archive = _archive(context)
    asked = restore.request(archive, "admin", dataset, files, days, None)
    if wait:
        asked = app.wait_for_restore(archive, asked.id, quiet=as_json)
    with archive.ledger.read() as tx:
        document = describe.restores(tx, [asked])[0]
    if as_json:
        _print(document)
    else:
        until = (
            f", in hot until {asked.expires_at:%Y-%m-%d %H:%M} UTC" if asked.expires_at else f", promised by {asked.promised_by:%Y-%m-%d %H:%M} UTC"
        )
        out.print(f"restore {asked.id} of {document['dataset']} is {asked.state}{until}")
    if wait and document["errors"]:
        raise PublicError("; ".join(f"{e['path']}: {e['reason']}" for e in document["errors"]), "`archiver status` shows the transfers that gave up.")


@cli.command()
def worker(context: typer.Context, once: Annotated[bool, typer.Option("--once", help="Stop when nothing is due.")] = False, now: Now = None) -> None:
    """Make the copies true to the claims, for ever."""
    app.work(_archive(context, now), once=once)


@cli.command()
def serve(context: typer.Context) -> None:
    """Answer the API and the pages, behind the hub's proxy."""
    app.serve(_archive(context))


@cli.command()
def doctor(context: typer.Context, as_json: Json = False) -> None:
    """Examine settings, ledger and stores, and say how to mend what is wrong."""
    findings = examine(app.open_archive(_settings(context), check=False))
    if as_json:
        _print([f.__dict__ for f in findings])
    for finding in () if as_json else findings:
        out.print(f"{'ok  ' if finding.ok else 'BAD '} {finding.what}: {finding.detail}", markup=False)
    if not all(f.ok for f in findings):
        raise typer.Exit(1)


@ledger_cli.command("upgrade")
def ledger_upgrade(context: typer.Context) -> None:
    """Bring the ledger to this program's revision."""
    settings = _settings(context)
    Ledger(settings.ledger_url).upgrade()
    out.print("The ledger is of this program's revision.")


@ledger_cli.command("check")
def ledger_check(context: typer.Context, now: Now = None, as_json: Json = False) -> None:
    """Verify every invariant of the ledger: each file where its claims want it, or the transfer that says why not."""
    archive = _archive(context, now)
    broken = check_ledger(archive)
    if as_json:
        _print({"broken": broken})
    for line in () if as_json else broken:
        out.print(line)
    if broken:
        raise PublicError(f"{len(broken)} invariant(s) do not hold.", "Run the worker, then check again; what stays needs a person.")
    if not as_json:
        out.print("Every invariant holds.")


@projects_cli.command("add")
def projects_add(context: typer.Context, name: str, title: Annotated[str, typer.Option()] = "") -> None:
    """Add a project, or change its title."""
    names.unit("a project", name)
    with _archive(context).ledger.begin() as tx:
        tx.add_project(name, title or name)


@instruments_cli.command("add")
def instruments_add(context: typer.Context, name: str, title: Annotated[str, typer.Option()] = "") -> None:
    """Add an instrument, or change its title."""
    names.unit("an instrument", name)
    with _archive(context).ledger.begin() as tx:
        tx.add_instrument(name, title or name)


@projects_cli.command("list")
def projects_list(context: typer.Context, as_json: Json = False) -> None:
    """List the projects."""
    with _archive(context).ledger.read() as tx:
        _list([(p.name, p.title) for p in tx.projects()], as_json=as_json)


@instruments_cli.command("list")
def instruments_list(context: typer.Context, as_json: Json = False) -> None:
    """List the instruments."""
    with _archive(context).ledger.read() as tx:
        _list([(i.name, i.title) for i in tx.instruments()], as_json=as_json)


def _list(rows: list[tuple[str, str]], *, as_json: bool) -> None:
    if as_json:
        _print([{"name": name, "title": title} for name, title in rows])
        return
    for name, title in rows:
        out.print(f"{name}  {title}")


def main() -> NoReturn:
    """The console script."""
    try:
        cli(standalone_mode=True)
    except PublicError as error:
        typer.echo(str(error), err=True)
        sys.exit(error.exit_code)
    sys.exit(0)
