"""One argon2-hashed password per user, in a file that only the hub's account can read.

Law: a password that was made is returned once, and kept nowhere; a wrong name costs as much work as a wrong password.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from neve.private import write_private

from archiver.errors import NotFound, WrongUse
from neve_hub.names import is_name

SHORTEST, LONGEST = 12, 200


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class Passwords:
    """The password file: {user: {"hash": argon2id, "admin": bool}}."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hasher = PasswordHasher()
        self._nobody = self._hasher.hash(secrets.token_urlsafe())

    def users(self) -> dict[str, dict[str, Any]]:
        try:
            return dict(json.loads(self._path.read_text("utf-8")))
        except FileNotFoundError:
            return {}

    def admins(self) -> set[str]:
        return {name for name, entry in self.users().items() if entry["admin"]}

    def add(self, user: str, *, admin: bool) -> str:
        """Give a new user a password, which is returned and kept nowhere else."""
        if not is_name(user):
            raise WrongUse(f"{user!r} cannot be a user name.", "Use printable characters without a slash or blanks at the ends.")
        return self._set(user, admin=admin)

    def reset(self, user: str) -> str:
        """Give a known user a new password, which is returned and kept nowhere else."""
        known = self.users()
        if user not in known:
            raise NotFound(f"There is no user {user!r}.", "Known users: " + ", ".join(sorted(known)) + ". --add makes a new one.")
        return self._set(user)

    def change(self, user: str, password: str) -> None:
        """Take the password that a known user has chosen. Raises `WrongUse` with what is wrong with it."""
        if not SHORTEST <= len(password) <= LONGEST:
            raise WrongUse(f"A password has {SHORTEST} to {LONGEST} characters.", "A few words that nobody would put together are easy to keep.")
        if user.casefold() in password.casefold():
            raise WrongUse("The password holds the user's name.", "Choose one without it.")
        if self.verify(user, password):
            raise WrongUse("That is the password of now.", "Choose another.")
        self._write(user, password)

    def _set(self, user: str, *, admin: bool = False) -> str:
        password = secrets.token_urlsafe(9)
        self._write(user, password, admin=admin)
        return password

    def _write(self, user: str, password: str, *, admin: bool = False) -> None:
        """Of two that change the file at once (the hub, `neve-run passwd`), one waits. `admin`: of a new user."""
        hashed = self._hasher.hash(password)
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self._path.with_suffix(".lock"), "a", opener=_private) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            users = self.users()
            users[user] = {"admin": admin, **users.get(user, {}), "hash": hashed}
            write_private(self._path, json.dumps(users, indent=1, ensure_ascii=False))

    def verify(self, user: str, password: str) -> bool:
        entry = self.users().get(user)
        try:
            self._hasher.verify(entry["hash"] if entry else self._nobody, password)
        except (VerificationError, InvalidHashError):
            return False
        return entry is not None
