"""`archiver erase`, `archiver erasures`: ending data for ever, by the word of two admins."""

from __future__ import annotations

import getpass
import os
from typing import Annotated

import typer

from archiver import describe, erasure
from archiver.archive import Archive
from archiver.commands.context import Json, archive_of, out, print_json
from archiver.errors import WrongUse
from archiver.model import Erasure

erasures_cli = typer.Typer(invoke_without_command=True, help="List erasures; agree to one, or withdraw it.")

_Number = Annotated[int, typer.Argument(metavar="ID")]


def erase(
    context: typer.Context,
    reason: Annotated[str, typer.Option(help="Which law, contract or rule asks for it.")],
    dataset: Annotated[str | None, typer.Argument()] = None,
    files: Annotated[str | None, typer.Option(help="Only the files whose path matches this glob.")] = None,
    past_retention: Annotated[bool, typer.Option("--past-retention", help="Every dataset that is older than its rules' `retention`.")] = False,
    as_json: Json = False,
) -> None:
    """Ask for data to be ended for ever; nothing ends before another admin agrees (`archiver erasures approve`).

    On this machine an admin is who logged in (SUDO_USER); over the API the hub says who it is.
    """
    archive = archive_of(context)
    if (dataset is None) != past_retention or (past_retention and files is not None):
        raise WrongUse("Name a dataset, or give --past-retention.", "`archiver erase DATASET --reason TEXT`; see `archiver erase --help`.")
    references = [d.full_name for d in erasure.past_retention(archive)] if dataset is None else [dataset]
    _show(archive, [erasure.request(archive, who(), reference, files, reason) for reference in references], as_json=as_json)


@erasures_cli.callback()
def erasures(
    context: typer.Context,
    ended: Annotated[bool, typer.Option("--ended", help="Also those that have ended.")] = False,
    as_json: Json = False,
) -> None:
    """List erasures, newest first."""
    if context.invoked_subcommand is not None:
        return
    archive = archive_of(context)
    with archive.ledger.read() as tx:
        found = tx.erasures(ended=ended)
    _show(archive, found, as_json=as_json)


@erasures_cli.command("approve")
def approve(context: typer.Context, number: _Number, as_json: Json = False) -> None:
    """Agree to what another admin asked for: from here on it cannot be taken back."""
    archive = archive_of(context)
    _show(archive, [erasure.approve(archive, who(), number)], as_json=as_json)


@erasures_cli.command("withdraw")
def withdraw(context: typer.Context, number: _Number, as_json: Json = False) -> None:
    """Refuse an erasure, or take it back, before another admin has agreed."""
    archive = archive_of(context)
    _show(archive, [erasure.withdraw(archive, who(), number)], as_json=as_json)


def who() -> str:
    """Who is at the keyboard."""
    return os.environ.get("SUDO_USER") or getpass.getuser()


def _show(archive: Archive, found: list[Erasure], *, as_json: bool) -> None:
    with archive.ledger.read() as tx:
        documents = describe.erasures(tx, found)
    if as_json:
        print_json(documents)
        return
    if not documents:
        out.print("none")
    for document in documents:
        out.print(_line(document), markup=False)


def _line(document: describe.Document) -> str:
    part = f" ({document['files_glob']})" if document["files_glob"] else ""
    line = (
        f"erasure {document['id']} of {document['dataset']}{part} is {document['state']}; asked for by {document['asked_by']}: {document['reason']}"
    )
    ends, receipt = document["ends"], document["receipt"]
    if ends is not None:
        again = f", {ends['bundles']} bundle(s) are built again ({ends['again_bytes']:,} bytes)" if ends["bundles"] else ""
        line += f"\n  would end {ends['files']:,} file(s), {ends['size_bytes']:,} bytes, in {', '.join(ends['tiers']) or 'no tier'}{again}"
        line += f"\n  another admin agrees by `archiver erasures approve {document['id']}`"
    if receipt is not None:
        copies = ", ".join(f"{count} in {tier}" for tier, count in receipt["copies_ended"].items())
        line += f"\n  {receipt['files']:,} file(s), {receipt['size_bytes']:,} bytes ended on {document['ended_at']}; copies: {copies}"
    return line
