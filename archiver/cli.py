"""`archiver …`: the archive by command line.

Law: exit 0 done, 1 something failed (said which), 2 wrong use. One sentence on stderr, never a traceback; `--json` prints one JSON
document on stdout and no progress bar.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from archiver import app, describe, guards, policy, reception, restore
from archiver.check import broken as check_ledger
from archiver.commands import erasures as erasure_commands
from archiver.commands import holds as hold_commands
from archiver.commands import instruments as instrument_commands
from archiver.commands import plan as plan_commands
from archiver.commands import projects as project_commands
from archiver.commands import proofs
from archiver.commands import reaper as reaper_command
from archiver.commands import receipt as receipt_command
from archiver.commands import release as release_command
from archiver.commands import rereading as rereading_command
from archiver.commands import restores as restore_commands
from archiver.commands.context import Common, Json, Now, archive_of, out, print_json, settings_of
from archiver.doctor import examine
from archiver.errors import PublicError
from archiver.ledger import Ledger
from archiver.ledger.narrowing import Query
from archiver.ledger.store import Moved
from archiver.rebuild import rebuild

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Keeps copies true to claims, and proves it.")
ledger_cli = typer.Typer(no_args_is_help=True, help="The ledger itself.")
cli.add_typer(ledger_cli, name="ledger")
cli.add_typer(project_commands.projects_cli, name="projects")
cli.add_typer(instrument_commands.instruments_cli, name="instruments")
cli.command("hold")(hold_commands.hold)
cli.add_typer(hold_commands.holds_cli, name="holds")
cli.command("erase")(erasure_commands.erase)
cli.add_typer(erasure_commands.erasures_cli, name="erasures")
cli.add_typer(restore_commands.restores_cli, name="restores")
cli.add_typer(restore_commands.quota_cli, name="quota")
cli.command("reaper")(reaper_command.reaper)
cli.command("receipt")(receipt_command.receipt)
cli.command("release")(release_command.release)
cli.command("verify")(proofs.verify)
cli.command("inventory")(proofs.inventory)
cli.command("drills")(proofs.drills)
cli.command("reread")(rereading_command.reread)
cli.command("simulate")(plan_commands.simulate)


@cli.callback()
def common(
    context: typer.Context,
    config_file: Annotated[Path | None, typer.Option("--config", help="The settings file.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what is done to stderr.")] = False,
) -> None:
    """Read by every command."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    context.obj = Common(config_file)


@cli.command()
def setup(context: typer.Context, as_json: Json = False) -> None:
    """Make or upgrade the ledger, and the buckets with their markers. Can be repeated."""
    made = app.setup(app.open_archive(settings_of(context), check=False))
    if as_json:
        print_json({"made": made})
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
    archive = archive_of(context)
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
        print_json(results)
    for result in () if as_json else results:
        again = f", {result['already_there']} were there already" if result["already_there"] else ""
        out.print(f"{result['dataset']}: {result['received']} file(s) received and proven{again}; {result['path']}", markup=False)


def _bar(*, quiet: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=quiet or not sys.stderr.isatty(), transient=True)


@cli.command()
def status(context: typer.Context, dataset: Annotated[str | None, typer.Argument()] = None, as_json: Json = False) -> None:
    """The archive in a few lines, or one dataset with its files, copies and claims."""
    archive = archive_of(context)
    with archive.ledger.read() as tx:
        if dataset is not None:
            document = describe.dataset_in_full(tx, archive.settings, tx.find_dataset(dataset))
        else:
            document = {
                "datasets": tx.count(Query()),
                "tiers": {tier: {"copies": copies, "size_bytes": size} for tier, copies, size in tx.totals()},
                "states": tx.states(),
                "drops_wait": guards.waits(tx, archive.settings),
                "leftovers": tx.leftovers_waiting(),
                "findings": tx.finding_counts(),
                "chores_failed": [{"name": name, "at": describe.time(ended), "error": error} for name, ended, _due, error in tx.chores() if error],
            }
    if as_json:
        print_json(document)
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
    for tier, why in document["drops_wait"].items():
        out.print(f"drops wait{'' if tier == '*' else f' in {tier}'}: {why}", markup=False)
    for tier, kinds in document["findings"].items():
        out.print(f"findings in {tier}: " + ", ".join(f"{n} {kind}" for kind, n in kinds.items()))
    for chore in document["chores_failed"]:
        out.print(f"the chore {chore['name']} failed at {chore['at']} and comes back: {chore['error']}", markup=False)
    if document["leftovers"]:
        out.print(f"{document['leftovers']} unproven version(s) wait for the reaper")


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
        state = f"{file['metadata_state']}: {file['metadata_error']}" if file["metadata_error"] else (file["format"] or "-")
        table.add_row(escape(file["path"]), f"{file['size_bytes']:,}", state, copies)
    out.print(table)


@cli.command()
def tier(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done and what it costs, and do nothing.")] = False,
    days: plan_commands.Days = 0,
    now: Now = None,
    as_json: Json = False,
) -> None:
    """Compare every dataset's copies with its claims, and make them true; what shall go outside hot is planned, and left to the reaper."""
    archive = archive_of(context, now)
    if dry_run:
        plan_commands.dry_run(archive, days, as_json=as_json)
        return
    with archive.ledger.begin() as tx:
        tx.look_at_all()
    app.work(archive, once=True)
    with archive.ledger.read() as tx:
        document: dict[str, Any] = {"states": tx.states(), "for_the_reaper": {n: k for n, k in tx.drops_waiting().items() if n != policy.HOT}}
    if as_json:
        print_json(document)
        return
    for noun in ("transfer", "drop"):
        out.print(f"{noun}s: " + (", ".join(f"{n} {state}" for state, n in document["states"][noun].items()) or "none"))
    for name, number in document["for_the_reaper"].items():
        out.print(f"{number} copies in {name} are left to `archiver reaper`.")


@cli.command(name="restore")
def restore_command(
    context: typer.Context,
    dataset: str,
    files: Annotated[str | None, typer.Option(help="Only the files whose path matches this glob.")] = None,
    days: Annotated[int | None, typer.Option(help="Days in hot, from ready.")] = None,
    priority: Annotated[int, typer.Option(help="0 to 9; higher goes first.")] = 0,
    quote: Annotated[bool, typer.Option("--quote", help="Say what it would mean, and bring nothing back.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it is ready.")] = False,
    as_json: Json = False,
) -> None:
    """Bring a dataset back to hot, at the path where it was."""
    archive = archive_of(context)
    if quote:
        restore_commands.quoted(archive, dataset, files, days, as_json=as_json)
        return
    asked = restore.request(archive, "admin", dataset, files, days, None, priority=priority, admin=True)
    if wait:
        asked = app.wait_for_restore(archive, asked.id, quiet=as_json)
    with archive.ledger.read() as tx:
        document = describe.restores(tx, [asked])[0]
    if as_json:
        print_json(document)
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
    app.work(archive_of(context, now), once=once)


@cli.command()
def serve(context: typer.Context) -> None:
    """Answer the API and the pages, behind the hub's proxy."""
    app.serve(archive_of(context))


@cli.command()
def doctor(context: typer.Context, as_json: Json = False) -> None:
    """Examine settings, ledger and stores, and say how to mend what is wrong."""
    findings = examine(app.open_archive(settings_of(context), check=False))
    if as_json:
        print_json([f.__dict__ for f in findings])
    for finding in () if as_json else findings:
        out.print(f"{'ok  ' if finding.ok else 'BAD '} {finding.what}: {finding.detail}", markup=False)
    if not all(f.ok for f in findings):
        raise typer.Exit(1)


@ledger_cli.command("upgrade")
def ledger_upgrade(context: typer.Context) -> None:
    """Bring the ledger to this program's revision."""
    settings = settings_of(context)
    Ledger(settings.ledger_url).upgrade()
    out.print("The ledger is of this program's revision.")


@ledger_cli.command("rebuild")
def ledger_rebuild(context: typer.Context, as_json: Json = False) -> None:
    """Make an empty ledger again from manifests and location records; nothing is dropped until `archiver release`."""
    report = rebuild(archive_of(context), lambda name: None if as_json else out.print(f"found {name}", markup=False))
    if as_json:
        print_json(asdict(report))
        return
    out.print(f"{report.datasets} dataset(s), {report.files} file(s), {report.copies} copies, of which {report.proven_anew} were proven anew.")
    if report.erasures:
        out.print(f"{report.erasures} erasure(s) are carried out again when drops are released.")
    for problem in report.problems:
        out.print(f"Not as it should be: {problem}", markup=False)
    for unknown in report.cannot_know:
        out.print(f"Not in the stores: {unknown}", markup=False)
    out.print("Run `archiver inventory --full`, then `archiver release`.")


@ledger_cli.command("check")
def ledger_check(context: typer.Context, now: Now = None, as_json: Json = False) -> None:
    """Verify every invariant: histories and anchors as they were written, each file where its claims want it, or what says why not."""
    archive = archive_of(context, now)
    found, count = [], 0
    for line in check_ledger(archive):
        count += 1
        if as_json:
            found.append(line)
        else:
            out.print(line, markup=False)
    if as_json:
        print_json({"broken": found})
    if count:
        raise PublicError(f"{count} invariant(s) do not hold.", "Run the worker, then check again; what stays needs a person.")
    if not as_json:
        out.print("Every invariant holds.")


def main() -> NoReturn:
    """The console script."""
    app.look_for_cycles_rarely()
    try:
        cli(standalone_mode=True)
    except (PublicError, Moved) as raised:
        error = raised.shown() if isinstance(raised, Moved) else raised
        typer.echo(str(error), err=True)
        sys.exit(error.exit_code)
    sys.exit(0)
