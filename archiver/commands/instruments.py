"""`archiver instruments …`: where data comes from, and the keys it is sent with."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from archiver import instruments, keys
from archiver.commands.context import Json, archive_of, out, print_json
from archiver.model import Instrument

instruments_cli = typer.Typer(no_args_is_help=True, help="Instruments: where data comes from.")


@instruments_cli.command("add")
def add(
    context: typer.Context,
    name: str,
    title: Annotated[str, typer.Option(help="What people read.")] = "",
    project_rule: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Projects it may send to; prints a key, once. Can be given several times.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Add an instrument, or change its title or the projects it may send to. With a rule, one that has no key is given one."""
    made = instruments.put(archive_of(context), getpass.getuser(), name, title, project_rule)
    if as_json:
        print_json({"name": name, "key": made})
    elif made is not None:
        _show(made, name)


@instruments_cli.command("key")
def key(context: typer.Context, name: str, as_json: Json = False) -> None:
    """Print a new key for an instrument, once; those it has go on until they are revoked."""
    made = keys.make(archive_of(context), name, getpass.getuser())
    if as_json:
        print_json({"name": name, "key": made})
    else:
        _show(made, name)


@instruments_cli.command("revoke")
def revoke(context: typer.Context, name: str, as_json: Json = False) -> None:
    """End all keys of an instrument, now. What it has sent stays."""
    ended = instruments.revoke(archive_of(context), getpass.getuser(), name)
    if as_json:
        print_json({"name": name, "revoked": ended})
    else:
        out.print(f"{ended} key(s) of {name} revoked." if ended else f"{name} has no key.")


@instruments_cli.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the instruments: what they may send to, when they were last heard of, what they have waiting."""
    with archive_of(context).ledger.read() as tx:
        found, held, now = tx.instruments(), tx.key_counts(), tx.at
    if as_json:
        print_json([{**asdict(one), "keys": held.get(one.name, 0)} for one in found])
        return
    for one in found:
        silent = "" if one.seen_at is None else f"heard of {_ago(now - one.seen_at)} ago"
        facts = [f"to {', '.join(one.projects)}" if one.projects else "", f"{held.get(one.name, 0)} key(s)", silent, _waiting(one)]
        out.print(f"{one.name}  {one.title}  ({'; '.join(filter(None, facts))})", markup=False)


def _show(made: str, name: str) -> None:
    out.print(made, markup=False)
    typer.echo(f"This key of {name} is shown once and is nowhere else: put it into a file that only the acquisition account reads.", err=True)


def _waiting(one: Instrument) -> str:
    if not one.report or not one.report.get("waiting"):
        return ""
    oldest = one.report.get("oldest_waiting_s")
    return f"{one.report['waiting']} file(s) waiting" + (f", the oldest for {_ago(timedelta(seconds=oldest))}" if oldest is not None else "")


def _ago(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{max(seconds, 0)} s"
