"""`archiver release`: an admin lets drops go on that were held.

Law: who says so has read why they were held; it is logged and kept who it was. What `refusal` finds cannot be said away.
"""

from __future__ import annotations

import getpass
import logging
from typing import Annotated

import typer

from archiver import guards, rebuild
from archiver.archive import Archive
from archiver.commands.context import Json, archive_of, out, print_json
from archiver.errors import Conflict, PublicError, WrongUse
from archiver.guards import Guard

log = logging.getLogger(__name__)

_LAST = "released"


def release(
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", help="Let them go on without asking.")] = False,
    as_json: Json = False,
) -> None:
    """Let drops go on that were held: after a rebuild, a settings change that ends much, or a clock that was not believed."""
    here = archive_of(context)
    reasons = held(here)
    if not reasons:
        with here.ledger.read() as tx:
            last = tx.note(_LAST)
        if as_json:
            print_json({"released": [], "last": last})
        else:
            out.print("Nothing is held." + (f" Last released: {last}" if last else ""), markup=False)
        return
    for reason in () if as_json else reasons:
        out.print(f"Held: {reason}", markup=False)
    refused = refusal(here)
    if refused is not None:
        raise refused
    if not yes and (as_json or not typer.confirm("Let drops go on?")):
        raise WrongUse("Nothing was released.", "Say --yes if that is what you want.")
    let_go(here, getpass.getuser())
    if as_json:
        print_json({"released": reasons})
    else:
        out.print("Drops go on.")


def held(archive: Archive) -> list[str]:
    """Why drops are held until an admin says so."""
    with archive.ledger.read() as tx:
        found = [tx.note(guards.HOLD), Guard(archive).clock(tx)]
    return [reason for reason in found if reason is not None]


def refusal(archive: Archive) -> PublicError | None:
    """What has to be put right before anybody may release; None: nothing."""
    wanting = rebuild.refusal(archive)
    if wanting is not None:
        return wanting
    wrong = [why for why in guards.store_clocks(archive).values() if why is not None]
    return Conflict(wrong[0], "Then run `archiver release` again.") if wrong else None


def let_go(archive: Archive, who: str) -> None:
    """Let drops go on, and keep who said so."""
    reasons = held(archive)
    with archive.ledger.begin(who) as tx:
        tx.forget_note(guards.HOLD)
        tx.look_at_all()
        guards.believe(tx, archive.wall())
        tx.set_note(_LAST, f"by {who} at {archive.wall():%Y-%m-%d %H:%M} UTC ({'; '.join(reasons)})")
    log.warning("%s released drops that were held: %s", who, "; ".join(reasons))
