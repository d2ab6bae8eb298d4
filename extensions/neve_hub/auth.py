"""Who gets in: the hub's side of the password file.

Law: whoever is in the file and knows its password gets in, nobody else; who guesses waits. A name is taken exactly as written, so two
names never fold into one.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from jupyterhub.auth import Authenticator
from tornado.web import HTTPError
from traitlets import Unicode

from neve_hub import password_page, stopped
from neve_hub.attempts import Attempts
from neve_hub.names import AsWritten
from neve_hub.passwords import Passwords

T = TypeVar("T")


class PasswordAuthenticator(AsWritten, Authenticator):
    """The file is read at each login: a new password needs no restart."""

    passwords_file = Unicode(config=True, help="The password file.")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.any_allow_config = True  # check_allowed below is the rule; without this the hub warns that there is none
        self.passwords = Passwords(Path(self.passwords_file))
        self._attempts = Attempts()
        # One argon2 takes 64 MiB and all of a core for a moment: two at once, so that a flood of logins only waits.
        self._workers = ThreadPoolExecutor(2, thread_name_prefix="argon2")

    async def authenticate(self, handler: Any, data: dict[str, str]) -> dict[str, Any] | None:
        user = data["username"]
        if not await self.knows(user, data["password"], handler.request.remote_ip):
            return None
        # None leaves what an admin set on the hub's page.
        return {"name": user, "admin": True if user in self.passwords.admins() else None}

    async def knows(self, user: str, password: str, address: str) -> bool:
        """Whether this is the user's password; from `address` it may have to be waited for. Raises HTTP 429."""
        wait = self._attempts.wait_s(user, address)
        if wait:
            shown = f"{math.ceil(wait)} seconds" if wait < 100 else f"{math.ceil(wait / 60)} minutes"
            raise HTTPError(429, f"Too many wrong passwords. Try again in {shown}; an admin can give you a new one.")
        # Counted before it is looked at: many that come at once wait for each other, and none is free.
        self._attempts.wrong(user, address)
        known = await self.work(lambda: self.passwords.verify(user, password))
        if known:
            self._attempts.right(user, address)
        return known

    async def work(self, do: Callable[[], T]) -> T:
        """Have something done that hashes passwords."""
        return await asyncio.get_running_loop().run_in_executor(self._workers, do)

    def get_handlers(self, app: Any) -> list[tuple[str, type]]:
        return [*super().get_handlers(app), *password_page.HANDLERS, *stopped.HANDLERS]

    def check_allowed(self, username: str, authentication: Any = None) -> bool:  # noqa: ARG002 - the hub's signature
        return username in self.passwords.users()
