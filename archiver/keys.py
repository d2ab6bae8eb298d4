"""Instruments' keys: what an acquisition computer proves itself with.

Law: a key is 256 random bits, shown once; the ledger keeps its SHA-256 (of that much randomness a plain hash is enough). It opens
datasets of its own instrument in the projects its rule names and adds files to them; it reads, lists and deletes nothing.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase

from archiver import names
from archiver.archive import Archive
from archiver.errors import NotAllowed, NotSignedIn, WrongUse
from archiver.ledger import Transaction

_SEEN_EVERY = timedelta(minutes=1)
"""That an instrument was heard of is written down this often, at most."""
_FORM = re.compile(r"neve_[A-Za-z0-9_-]{43}")
_LITERAL = re.compile(r"[^*?\[\]]+")


@dataclass(frozen=True)
class Sender:
    """Who sends. `projects`: globs of where to. `instrument`: the only one it sends for; None: any (a person, by their own right)."""

    name: str  # what stands in the ledger: `instrument/NAME`, or a user of the hub
    instrument: str | None
    projects: tuple[str, ...]

    def may_send_to(self, project: str) -> bool:
        return any(fnmatchcase(project, glob) for glob in self.projects)

    def the_project(self, said: str | None) -> str:
        """The project that is meant. Raises `WrongUse` when none is named and there are several, `NotAllowed` when it is none of them."""
        if said is None:
            if len(self.projects) != 1 or not _LITERAL.fullmatch(self.projects[0]):
                allowed = ", ".join(self.projects) or "none"
                raise WrongUse(f"No project is named, and {self.name} may send to more than one ({allowed}).", "Name the project.")
            return self.projects[0]
        if not self.may_send_to(said):
            allowed = ", ".join(self.projects) or "no project yet"
            raise NotAllowed(
                f"{self.name} may not send to the project {said!r} (allowed: {allowed}).",
                "Name another, or ask an admin: `archiver instruments add NAME --project-rule GLOB`.",
            )
        return said


def is_key(token: str) -> bool:
    """Whether a token has the form of an instrument's key (the hub's have not)."""
    return _FORM.fullmatch(token) is not None


def literal(projects: Iterable[str]) -> tuple[str, ...]:
    """Those names that are no globs."""
    return tuple(name for name in projects if _LITERAL.fullmatch(name))


def make(archive: Archive, instrument: str, actor: str = "archiver") -> str:
    """A new key for an instrument; it is nowhere else. Those it had go on. Raises `NotFound`."""
    with archive.ledger.begin(actor) as tx:
        tx.instrument(instrument)
        return give(tx, instrument)


def give(tx: Transaction, instrument: str) -> str:
    """The same within a transaction, for an instrument that is there."""
    key = f"neve_{secrets.token_urlsafe(32)}"
    tx.add_key(instrument, _hashed(key))
    return key


def sender(archive: Archive, key: str) -> Sender:
    """Whose key this is. Raises `NotSignedIn`: nobody's, or a revoked one."""
    with archive.ledger.read() as tx:
        found = tx.key(_hashed(key))
        if found is None or found.revoked_at is not None:
            raise NotSignedIn(
                "This instrument's key is revoked." if found else "Nobody has this instrument's key.",
                "Ask an admin for a new one: `archiver instruments key NAME`.",
            )
        instrument = tx.instrument(found.instrument)
        seen = instrument.seen_at is not None and tx.at - instrument.seen_at < _SEEN_EVERY
    if not seen:
        with archive.ledger.begin(f"instrument/{instrument.name}") as tx:
            tx.see_instrument(instrument.name)
    return Sender(f"instrument/{instrument.name}", instrument.name, tuple(instrument.projects))


def rule(globs: list[str]) -> list[str]:
    """Globs of projects, checked. Raises `WrongUse`."""
    for glob in globs:
        if not re.fullmatch(r"[a-z0-9_.*?\[\]-]{1,63}", glob):
            raise WrongUse(f"{glob!r} can be no project, nor a pattern of projects.", "Write a project's name, or a glob such as 'snow-*'.")
        if _LITERAL.fullmatch(glob):
            names.unit("a project", glob)
    return globs


def _hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
