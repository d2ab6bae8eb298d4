"""Who gets in: the hub's side of the password file.

Law: whoever is in the file and knows its password gets in, nobody else. A name is taken exactly as written, so two names never
fold into one.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from jupyterhub.auth import Authenticator
from traitlets import Unicode

from neve_hub.passwords import Passwords, is_name


class PasswordAuthenticator(Authenticator):
    """The file is read at each login: a new password needs no restart."""

    passwords_file = Unicode(config=True, help="The password file.")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.any_allow_config = True  # check_allowed below is the rule; without this the hub warns that there is none
        self._passwords = Passwords(Path(self.passwords_file))
        # One argon2 takes 64 MiB and all of a core for a moment: two at once, so that a flood of logins only waits.
        self._workers = ThreadPoolExecutor(2, thread_name_prefix="argon2")

    async def authenticate(self, handler: Any, data: dict[str, str]) -> dict[str, Any] | None:  # noqa: ARG002 - the hub's signature
        user, password = data["username"], data["password"]
        known = await asyncio.get_running_loop().run_in_executor(self._workers, self._passwords.verify, user, password)
        if not known:
            return None
        # None leaves what an admin set on the hub's page.
        return {"name": user, "admin": True if user in self._passwords.admins() else None}

    def check_allowed(self, username: str, authentication: Any = None) -> bool:  # noqa: ARG002 - the hub's signature
        return username in self._passwords.users()

    def normalize_username(self, username: str) -> str:
        return username

    def validate_username(self, username: str) -> bool:
        return is_name(username) and super().validate_username(username)
