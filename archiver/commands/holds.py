"""`archiver hold`, `archiver holds`, `archiver holds end`: data that stays in hot until a day, for a reason."""

from __future__ import annotations

from typing import Annotated

import typer

from archiver import describe
from archiver import hold as holding
from archiver.commands.context import Json, archive_of, out, print_json

holds_cli = typer.Typer(invoke_without_command=True, help="List holds, or end one.")


def hold(
    context: typer.Context,
    dataset: str,
    until: Annotated[str, typer.Option(metavar="DATE", help="A day (until it is over, UTC) or a time.")],
    reason: Annotated[str, typer.Option(help="What it is needed for.")],
    files: Annotated[str | None, typer.Option(help="Only the files whose path matches this glob.")] = None,
    as_json: Json = False,
) -> None:
    """Keep a dataset in hot until a day; what is not there is brought back first."""
    archive = archive_of(context)
    made = holding.request(archive, "admin", dataset, holding.end_of(until), reason, files, None, admin=True)
    with archive.ledger.read() as tx:
        document = describe.holds(tx, [made])[0]
    if as_json:
        print_json(document)
    else:
        out.print(_line(document), markup=False)


@holds_cli.callback()
def holds(context: typer.Context, as_json: Json = False) -> None:
    """List the holds that have not ended."""
    if context.invoked_subcommand is not None:
        return
    with archive_of(context).ledger.read() as tx:
        documents = describe.holds(tx, tx.holds(None, None, None, None))
    if as_json:
        print_json(documents)
    for document in () if as_json else documents:
        out.print(_line(document), markup=False)


@holds_cli.command("end")
def end(context: typer.Context, number: Annotated[int, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """End a hold before its time."""
    archive = archive_of(context)
    ended = holding.end(archive, "admin", number, None, admin=True)
    if as_json:
        with archive.ledger.read() as tx:
            print_json(describe.holds(tx, [ended])[0])
    else:
        out.print(f"hold {number} has ended")


def _line(document: describe.Document) -> str:
    part = f" ({document['files_glob']})" if document["files_glob"] else ""
    waits = f", waits for restore {document['restore_id']}" if document["state"] == "waiting" else ""
    return f"hold {document['id']} of {document['dataset']}{part} by {document['user']} until {document['until']}{waits}: {document['reason']}"
