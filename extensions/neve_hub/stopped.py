"""What a lab's page that is still open asks of its server, when that has stopped and the session is over, too.

Law: a program gets an answer that it can read, never the login's page.
"""

from __future__ import annotations

from typing import Any

from jupyterhub.handlers.base import UserUrlHandler
from tornado import web

_OVER = "You are not logged in any more. Open the page anew and log in."


class StoppedServersApi(UserUrlHandler):
    """The hub's own answer for who is logged in; JSON for who is not, and for what is refused."""

    async def get(self, user_name: str, user_path: str) -> None:
        if self.current_user is None:
            raise web.HTTPError(403)
        await super().get(user_name, user_path)

    def write_error(self, status_code: int, **_raised: Any) -> None:
        self.finish({"message": _OVER if status_code == 403 and getattr(self, "_jupyterhub_user", None) is None else self._reason})


HANDLERS: list[tuple[str, type]] = [(r"/user/(?P<user_name>[^/]+)(?P<user_path>/api/.*)", StoppedServersApi)]
