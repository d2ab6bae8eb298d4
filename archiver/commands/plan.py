"""`archiver tier --dry-run` and `archiver simulate`: what would be done, and what it costs. Nothing is changed."""

from __future__ import annotations

import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from archiver import plan, simulation
from archiver.archive import Archive
from archiver.commands.context import Json, Now, archive_of, out, print_json
from archiver.errors import WrongUse

Days = Annotated[int, typer.Option("--days", min=0, max=3650, help="Look ahead this many days; 0: what is due now.")]


def dry_run(archive: Archive, days: int, *, as_json: bool) -> None:
    """Print what the worker and the reaper would do."""
    with archive.ledger.read() as tx:
        now = tx.at
    found = plan.plan(archive, now, now + timedelta(days=days)).as_json()
    if as_json:
        print_json(found)
        return
    if not (found["copies"] or found["drops"] or found["waits"]):
        out.print("Nothing to do: copies are true to claims.")
    _print_plan(found)


def simulate(
    context: typer.Context,
    policy: Annotated[Path, typer.Argument(metavar="POLICY.toml", help="What would change of [policy], [tiers.*] and [[rules]].")],
    days: Days = 0,
    now: Now = None,
    as_json: Json = False,
) -> None:
    """What another policy would do and cost, compared with the present one. [[rules]] are replaced as a whole."""
    archive = archive_of(context, now)
    try:
        change = tomllib.loads(policy.read_text("utf-8"))
    except OSError as error:
        raise WrongUse(f"{policy} cannot be read: {error.strerror}.", "Name a readable TOML file.") from None
    except ValueError as error:  # of TOML or of UTF-8
        raise WrongUse(f"{policy} is not valid TOML: {error}.", "Mend that line; neve.example.toml shows every setting.") from None
    found = simulation.simulate(archive, change, str(policy), days)
    if as_json:
        print_json(found)
        return
    sooner, difference = found["leave_hot_sooner"], found["difference"]
    out.print(f"{sooner['datasets']} dataset(s), {sooner['size_bytes']:,} bytes, would leave hot sooner:")
    for item in sooner["items"][:20]:
        before = item["instead_of"] or "nobody knows when"
        out.print(f"  {item['dataset']} on {item['leaves_hot_at'][:10]} instead of {before[:17]}", markup=False)
    out.print(f"{found['leave_hot_later']['datasets']} dataset(s) would stay longer.")
    out.print("Under this policy:", style="bold")
    _print_plan(found["simulated"])
    out.print("Compared with the present one:", style="bold")
    for held in difference["tiers"]:
        out.print(f"  {held['tier']}: {held['objects']:+,} object(s), {held['size_bytes']:+,} bytes")
    out.print(f"  storage {_money(difference['month'])} a month, {_money(difference['year'])} a year; once {_money(difference['cost_now'])}")
    if found["waits_for_release"]:
        out.print(f"Claims on {found['ends_sooner_percent']:g} % of the data would end sooner: that waits for `archiver release`.", markup=False)


def _print_plan(found: dict[str, Any]) -> None:
    table = Table("step", "project", "tier", "objects", "bytes", "cost now", box=None, header_style="bold")
    for made in found["copies"]:
        table.add_row("copy", made["project"], made["tier"], f"{made['objects']:,}", f"{made['size_bytes']:,}", _money(made["cost"]))
    for dropped in found["drops"]:
        table.add_row("drop", "", dropped["tier"], f"{dropped['objects']:,}", f"{dropped['size_bytes']:,}", "")
    if table.row_count:
        out.print(table)
    for waiting in found["waits"]:
        what = "" if waiting["objects"] is None else f"{waiting['objects']:,} object(s), "
        where = "" if waiting["tier"] is None else f" in {waiting['tier']}"
        out.print(f"waits ({waiting['why']}){where}: {what}{waiting['size_bytes']:,} bytes; {waiting['detail']}", markup=False)
    if found["projects"]:
        out.print(f"projects touched: {', '.join(found['projects'])}; once {_money(found['cost_now'])}", markup=False)
    for when in ("before", "after"):
        stored = found["storage"][when]
        tiers = ", ".join(f"{h['tier']} {h['size_bytes']:,}" for h in stored["tiers"])
        out.print(f"storage {when}: {_money(stored['month'])} a month, {_money(stored['year'])} a year ({tiers or 'nothing'})", markup=False)


def _money(found: dict[str, Any]) -> str:
    if not found["unknown"]:
        return f"{found['amount']:,.2f} {found['currency']}"
    bound = f"at least {found['at_least']:,.2f} {found['currency']}, " if found["at_least"] else ""
    return f"{bound}unknown without {', '.join(found['unknown'])}"
