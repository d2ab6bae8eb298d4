"""Whether this notebook server is needed though nobody clicks: a kernel computes without a word, or its user waits for a restore.

Law: the hub stops servers that have reported no activity for `hub.cull_idle`. In doubt there is some: an archiver that is away ends nobody's server.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from datetime import UTC, datetime
from typing import Any

from neve.errors import NeveError, NotConfigured

_LOOK_S = 300


class Presence:
    """Looks now and then, as often as the server reports to the hub ($JUPYTERHUB_ACTIVITY_INTERVAL), and notes what it saw as activity."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._said: str | None = None

    async def look(self) -> None:
        kernels = self._server.kernel_manager.list_kernels()
        why = computing(kernels) or await asyncio.to_thread(waiting)
        if why is not None:
            self._server.web_app.settings["last_activity_times"]["neve"] = datetime.now(UTC)
        if why != self._said:
            self._said = why
            self._server.log.info("neve: %s", f"this server is needed: {why}" if why else "nothing but its user keeps this server")


def computing(kernels: list[dict[str, Any]]) -> str | None:
    """Whether a kernel is busy. What it prints counts as activity anyway; its silence would not."""
    busy = sum(kernel["execution_state"] == "busy" for kernel in kernels)
    return f"{busy} of {len(kernels)} kernels {'compute' if busy > 1 else 'computes'}" if busy else None


def waiting() -> str | None:
    """Whether a restore of this server's user is not finished."""
    from neve.client import Client  # noqa: PLC0415 - HTTP only when it is used
    from neve.records import RUNNING  # noqa: PLC0415

    try:
        with contextlib.closing(Client(timeout_s=10, retries=1)) as client:
            awaited = [restore.dataset for restore in client.my_restores() if restore.state in RUNNING]
    except NotConfigured:
        return None  # a lab without an archiver
    except NeveError as error:
        return f"nobody can say what is waited for ({error})"
    return f"{', '.join(awaited)} is waited for" if awaited else None


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "neve.presence"}]


def _load_jupyter_server_extension(server: Any) -> None:
    from tornado.ioloop import PeriodicCallback  # noqa: PLC0415 - there is one only in a server

    look_s = int(os.environ.get("JUPYTERHUB_ACTIVITY_INTERVAL") or _LOOK_S)
    PeriodicCallback(Presence(server).look, look_s * 1000).start()
