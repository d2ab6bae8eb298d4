"""Instruments: adding them, saying what they are called and where they may send, ending their keys.

Law: each change is written down with who made it. Ending keys ends nothing that was sent.
"""

from __future__ import annotations

from collections.abc import Sequence

from archiver import keys, names
from archiver.archive import Archive
from archiver.errors import Conflict


def put(archive: Archive, actor: str, name: str, title: str, projects: Sequence[str] | None, *, new: bool = False) -> str | None:
    """Add an instrument, or change its title (empty: it keeps what it has) or the projects it may send to (globs; None: the same).

    One that may send somewhere and has no key is given one, which is returned and is nowhere else. `new`: it is not there yet.
    Raises `WrongUse`, `Conflict`; then nothing has changed.
    """
    names.unit("an instrument", name)
    rule = keys.rule(list(projects or ()))
    with archive.ledger.begin(actor) as tx:
        known = {one.name: one for one in tx.instruments()}
        if new and name in known:
            raise Conflict(f"There is an instrument {name} already.", "Change that one, or choose another name.")
        tx.add_instrument(name, title or (known[name].title if name in known else name))
        if projects is not None:
            tx.allow_projects(name, rule)
        return keys.give(tx, name) if rule and name not in tx.key_counts() else None


def revoke(archive: Archive, actor: str, name: str) -> int:
    """End all keys of an instrument, now; returns how many there were. Raises `NotFound`."""
    with archive.ledger.begin(actor) as tx:
        tx.instrument(name)
        return tx.revoke_keys(name)
