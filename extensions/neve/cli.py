"""`neve …`: sending, credentials and status, on an instrument's machine or in a notebook's terminal.

Law: 0 done, 1 something failed, 2 wrong use; an error is one sentence on stderr, never a traceback. `--json` prints one JSON document only.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from neve import records
from neve.client import connect
from neve.errors import NeveError, WrongUse
from neve.progress import bytes_bar
from neve.send.commands import send_command
from neve.send.watch_command import watch_command
from neve.wording import duration_text, size_text, tier_text, time_text, utc_json

app = typer.Typer(
    help="Névé: your laboratory's data, from fast storage to the deep archive.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("send")(send_command)
app.command("watch")(watch_command)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def credentials(
    project: Annotated[str | None, typer.Argument(help="Project whose data the keys shall read.")] = None,
    configure: Annotated[bool, typer.Option("--configure", help="Write a profile per project into ~/.aws/config.")] = False,
    team: Annotated[bool, typer.Option("--team", help="Keys that read and write the project's team notebooks instead.")] = False,
    as_json: Json = False,
) -> None:
    """Print short-lived keys as AWS's clients expect them of a credential_process, or write the profiles that call this."""
    from neve import aws_config  # noqa: PLC0415 - status needs none of it

    if configure == (project is not None) or (configure and team):
        raise WrongUse("Say a project, or --configure.", "`neve credentials PROJECT [--team]` or `neve credentials --configure`.")
    if project is not None:
        typer.echo(json.dumps(aws_config.process_json(connect(), project, team=team)))
        return
    written = aws_config.configure(connect())
    if as_json:
        typer.echo(_dump(written))
        return
    typer.echo(f"{written.path}: {_listed(written.profiles)}.")
    for name in written.kept:
        typer.echo(f"A profile {name} of your own is there already; it stays, and Névé's is not written.")


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="A dataset, bare or instrument/name.")] = None,
    as_json: Json = False,
) -> None:
    """Who you are here and what is under way for you; or where a dataset is and how long until it can be read."""
    client = connect()
    if name is None:
        me, total = client.me(), client.page({}, limit=1).total
        projects = client.projects()
        restores = [restore for restore in client.my_restores() if restore.state in records.OPEN]
        if as_json:
            typer.echo(
                _dump({"url": client.url, "name": me.name, "projects": projects, "datasets": total, "restores": [asdict(item) for item in restores]})
            )
            return
        typer.echo(f"{me.name} at {client.url}: {total} dataset{'' if total == 1 else 's'} in {_listed(projects)}.")
        for item in restores:
            typer.echo(f"  {item.dataset}: {_restore_line(item)}")
        return
    dataset = client.find(name)
    if as_json:
        typer.echo(_dump(dataset))
        return
    typer.echo(f"{dataset.full_name}: {size_text(dataset.size_bytes)} in {dataset.file_count} file(s), measured {time_text(dataset.when)}")
    until = f" until {time_text(dataset.hot_until)}" if dataset.tier == "hot" and dataset.hot_until else ""
    typer.echo(f"  where     {tier_text(dataset.tier)}{until}; copies: {', '.join(dataset.tiers) or 'none in full'}")
    promise = f" (within {duration_text(dataset.back_within_s)})" if dataset.readable == "after_restore" else ""
    typer.echo(f"  readable  {records.READABLE.get(dataset.readable, dataset.readable)}{promise}")
    typer.echo(f"  path      {dataset.path}")
    if dataset.restore is not None:
        typer.echo(f"  restore   {_restore_line(dataset.restore)}")
    if dataset.problem:
        typer.echo(f"  problem   {dataset.problem}")


@app.command()
def download(
    names: Annotated[list[str], typer.Argument(help="Datasets, bare or instrument/name.")],
    to: Annotated[Path, typer.Option("--to", help="Folder in which each gets a folder of its name.")] = Path(),
    files: Annotated[str | None, typer.Option("--files", help="Only files that match this glob.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Ask for what is cold, and wait until it is back.")] = False,
    as_json: Json = False,
) -> None:
    """Fetch datasets, checked; started again, it goes on where it was."""
    from neve.downloading import Downloaded  # noqa: PLC0415 - only here
    from neve.downloading import download as fetch  # noqa: PLC0415
    from neve.errors import ColdDataError  # noqa: PLC0415
    from neve.restores import restore_dataset  # noqa: PLC0415

    client, done = connect(), list[tuple[str, Downloaded]]()
    with bytes_bar(shown=not as_json) as bar:
        for name in names:
            dataset = client.find(name)
            total = dataset.size_bytes if files is None else None
            came = bar(dataset.full_name, total)
            try:
                found = fetch(dataset.full_name, to, files, progress=came)
            except ColdDataError:
                if not wait:
                    raise
                restore_dataset(client, dataset, files).wait()
                found = fetch(dataset.full_name, to, files, progress=came)
            done.append((dataset.full_name, found))
    if as_json:
        typer.echo(json.dumps([{"dataset": name, **asdict(found), "folder": str(found.folder)} for name, found in done], ensure_ascii=False))
    else:
        for name, found in done:
            typer.echo(f"{name}: {found.fetched} file(s), {size_text(found.size_bytes)} into {found.folder}; {found.already} there already.")
    failed = [(name, path, why) for name, found in done for path, why in found.failed.items()]
    for name, path, why in failed:
        sys.stderr.write(f"neve: {path} of {name} is missing: {why}\n")
    if failed:
        raise typer.Exit(1)


def _restore_line(restore: records.Restore) -> str:
    from neve.progress import progress_text  # noqa: PLC0415 - only with a restore

    return progress_text(restore)


def _listed(names: list[str] | tuple[str, ...]) -> str:
    return f"{len(names)} project{'' if len(names) == 1 else 's'} ({', '.join(names)})" if names else "no projects"


def _dump(value: Any) -> str:
    def plain(item: Any) -> Any:
        return utc_json(item) if isinstance(item, datetime) else str(item) if isinstance(item, Path) else list(item)

    return json.dumps(value if isinstance(value, dict) else asdict(value), default=plain, ensure_ascii=False)


def main() -> None:
    """The `neve` command."""
    try:
        app()
    except NeveError as error:
        sys.stderr.write(f"neve: {error}\n")
        sys.exit(error.exit_code)
