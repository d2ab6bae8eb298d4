"""One argon2-hashed password per user, in a file that only the hub's account can read.

Law: a password is returned once, when it is made, and kept nowhere; a wrong name costs as much work as a wrong password.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from neve.private import write_private

from archiver.errors import NotFound, WrongUse

_LONGEST_NAME = 200


def is_name(user: str) -> bool:
    """Whether this may be a user name: printable, without slash, and without blanks at its ends."""
    return 0 < len(user) <= _LONGEST_NAME and user.isprintable() and user == user.strip() and "/" not in user


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
        return self._set(user, admin=known[user]["admin"])

    def _set(self, user: str, *, admin: bool) -> str:
        password = secrets.token_urlsafe(9)
        users = {**self.users(), user: {"hash": self._hasher.hash(password), "admin": admin}}
        write_private(self._path, json.dumps(users, indent=1, ensure_ascii=False))
        return password

    def verify(self, user: str, password: str) -> bool:
        entry = self.users().get(user)
        try:
            self._hasher.verify(entry["hash"] if entry else self._nobody, password)
        except (VerificationError, InvalidHashError):
            return False
        return entry is not None
