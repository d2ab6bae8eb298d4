"""`archiver projects …`: the unit of access, its facts, and the user office's list of them.

Law: a list is taken as a whole or not at all; what it does not name stays. Nothing becomes public at once that was not, unless it was said.
"""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from archiver import describe, facts, names
from archiver.archive import Archive
from archiver.commands.context import Json, archive_of, out, print_json
from archiver.errors import Conflict, UnreadableSource, WrongUse
from archiver.facts import Comparison, Row
from archiver.ledger.projects import FACTS

projects_cli = typer.Typer(no_args_is_help=True, help="Projects: the unit of access.")

Publish = Annotated[bool, typer.Option("--publish", help="It is meant that data become public at once.")]
_NAMED = 10


@projects_cli.command("add")
def add(context: typer.Context, name: str, title: Annotated[str, typer.Option()] = "") -> None:
    """Add a project, or change its title."""
    names.unit("a project", name)
    with archive_of(context).ledger.begin(getpass.getuser()) as tx:
        tx.add_project(name, title or name)


@projects_cli.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the projects, what is said of each, and what each holds."""
    with archive_of(context).ledger.read() as tx:
        held = tx.holdings()
        found = [(project, held.get(project.name, (0, 0))[1]) for project in tx.projects()]
    if as_json:
        print_json([{"name": p.name, **{fact: _json(getattr(p, fact)) for fact in FACTS}, "size_bytes": size} for p, size in found])
        return
    for project, size in found:
        said = [f"{facts.CALLED[fact]} {facts.written(fact, value)}" for fact in FACTS[1:] if (value := getattr(project, fact)) is not None]
        out.print(f"{project.name}  {project.title}  {', '.join([f'{size:,} bytes', *said])}", markup=False)


@projects_cli.command("set")
def set_(
    context: typer.Context,
    name: str,
    title: Annotated[str | None, typer.Option()] = None,
    investigator: Annotated[str | None, typer.Option(help="Principal investigator.")] = None,
    start: Annotated[str | None, typer.Option(help="A day, or a time.")] = None,
    end: Annotated[str | None, typer.Option(help="Its last day. When it has passed nothing is lost.")] = None,
    embargo: Annotated[str | None, typer.Option(help="Until that day is over its data are its members' alone.")] = None,
    public_after: Annotated[str | None, typer.Option(help="From then on all who are signed in may read its data, once an embargo is over.")] = None,
    quota: Annotated[str | None, typer.Option(help="What it may hold: 500 GB, 2 TiB.")] = None,
    publish: Publish = False,
) -> None:
    """Say something else of a project; what is not given stays, and an empty text ('') clears."""
    said = {"title": title, "investigator": investigator, "start": start, "end": end}
    said |= {"embargo": embargo, "public_after": public_after, "quota": quota}
    values = {column: text for column, text in said.items() if text is not None}
    if not values:
        raise WrongUse("Nothing is said of the project.", "Give at least one fact, such as --end 2028-12-31.")
    archive = archive_of(context)
    with archive.ledger.read() as tx:
        tx.project(name)
    given = {facts.COLUMNS[column]: facts.parse(column, text, f"--{column.replace('_', '-')}") for column, text in values.items()}
    if "title" in given:
        given["title"] = given["title"] or name
    _say(_carry_out(archive, [Row(name, name, given, None)], publish=publish), alone=True)


@projects_cli.command("public")
def public(
    context: typer.Context,
    name: str,
    after: Annotated[datetime | None, typer.Option(help="A day (from its beginning, UTC) or a time.")] = None,
    never: Annotated[bool, typer.Option("--never", help="Its data are its members' alone, from now on.")] = False,
) -> None:
    """Say from when on all who are signed in may read a project's data; only its members change what is said of it."""
    if (after is None) != never:
        raise WrongUse("Either `--after DATE` or `--never` has to be said.", "Give one of the two.")
    with archive_of(context).ledger.begin(getpass.getuser()) as tx:
        tx.make_public(name, None if after is None else after.replace(tzinfo=UTC))
    out.print(f"{name}: " + ("its members' alone" if after is None else f"public after {after:%Y-%m-%d %H:%M} UTC"), markup=False)


@projects_cli.command("import")
def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV or JSON, one project a row.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    publish: Publish = False,
    as_json: Json = False,
) -> None:
    """Take over the user office's list of projects, as a whole or not at all. Can be repeated; no project is removed."""
    archive = archive_of(context)
    rows = facts.read(_content(file), names.shown(file))
    found = _carry_out(archive, rows, publish=publish, dry_run=dry_run)
    membership = _membership(archive, rows)
    if as_json:
        print_json(_document(found) | {"dry_run": dry_run, "membership": membership})
    else:
        _say(found, dry_run=dry_run)
        if membership is not None:
            out.print(membership, markup=False)


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as source:
            return source.read(facts.MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableSource(f"{names.shown(file)} cannot be read: {error.strerror}.", "Name a readable file.") from None


def _membership(archive: Archive, rows: Sequence[Row]) -> str | None:
    """What becomes of the column `members`; None when the list has none."""
    naming = sum(bool(row.members) for row in rows)
    if not naming:
        return None
    if archive.settings.login.issuer:
        return f"The members of {naming} project(s) are left aside: {archive.settings.login.name} alone says who is in which."
    return f"The members of {naming} project(s) are not carried out: membership is set on the hub's admin page."


def _carry_out(archive: Archive, rows: Sequence[Row], *, publish: bool, dry_run: bool = False) -> Comparison:
    """Raises `Conflict` where data would become public and that was not said."""
    found = facts.carry_out(archive, getpass.getuser(), rows, publish=publish, dry_run=dry_run)
    if found.published and not (publish or dry_run):
        raise Conflict(
            f"Data would become public now: {_holdings(found.published)}.",
            "Say --publish if that is meant, or mend embargo and public_after. Nothing was changed.",
        )
    return found


def _holdings(published: Mapping[str, tuple[int, int]]) -> str:
    named = [f"{name} ({datasets:,} dataset(s), {size:,} bytes)" for name, (datasets, size) in published.items()]
    return _some(named) if len(named) == 1 else f"{_some(named)}; {sum(n for n, _ in published.values()):,} dataset(s) in all"


def _some(named: Sequence[str]) -> str:
    more = len(named) - _NAMED
    return ", ".join(named[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _document(found: Comparison) -> dict[str, Any]:
    return {
        "new": [{"name": row.name, **{facts.CALLED[fact]: _json(value) for fact, value in row.facts.items()}} for row in found.new],
        "changed": [
            {"name": name, **{facts.CALLED[fact]: [_json(before), _json(after)] for fact, (before, after) in changes.items()}}
            for name, changes in found.changed.items()
        ],
        "unchanged": found.unchanged,
        "missing": found.missing,
        "published": [{"name": name, "datasets": datasets, "size_bytes": size} for name, (datasets, size) in found.published.items()],
    }


def _json(value: Any) -> Any:
    return describe.time(value) if isinstance(value, datetime) else value


def _say(found: Comparison, *, dry_run: bool = False, alone: bool = False) -> None:
    """`alone`: of one project, not of a list."""
    for row in found.new:
        said = [f"{facts.CALLED[fact]} {facts.written(fact, value)}" for fact, value in row.facts.items() if value is not None]
        out.print(f"new      {row.name}: {', '.join(said) or 'no facts'}", markup=False)
    for name, changes in found.changed.items():
        out.print(f"changes  {name}: {_changes(changes)}", markup=False)
    would = "would be " if dry_run else ""
    if not (found.new or found.changed):
        out.print("Nothing to change." if alone else f"Nothing to change: {found.unchanged:,} project(s) are as the list says.")
    elif not alone:
        out.print(f"{len(found.new):,} {would}new, {len(found.changed):,} {would}changed, {found.unchanged:,} as they were.")
    if found.missing and not alone:
        out.print(f"Not in the list, and left as they are ({len(found.missing):,}): {_some(found.missing)}", markup=False)
    if found.published:
        out.print(f"Public {'at once, so --publish has to be said' if dry_run else 'now'}: {_holdings(found.published)}", markup=False)


def _changes(changes: Mapping[str, tuple[Any, Any]]) -> str:
    return "; ".join(
        f"{facts.CALLED[fact]} {facts.written(fact, before) or 'none'} → {facts.written(fact, after) or 'none'}"
        for fact, (before, after) in changes.items()
    )
