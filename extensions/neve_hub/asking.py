"""What the archiver says to all: Névé's own parts ask it now and then, as a service that only reads.

Law: an archiver that is away changes nothing: what it said last stands until it says something else.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import httpx

from neve_hub.instance import Instance, secret

TOKEN = "reader-token"  # noqa: S105 - a file's name

_ASK_S = 10.0
_FIRST_S = 1.0
_WITHIN_S = 10.0


def items(here: Instance, path: str) -> list[dict[str, Any]]:
    """What the API answers at `path`. Raises `httpx.HTTPError`."""
    url = f"{here.api_url}{here.api_path}/api/v1/{path}"
    answer = httpx.get(url, headers={"Authorization": f"Bearer {secret(here, TOKEN)}"}, timeout=_WITHIN_S).raise_for_status()
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def follow(what: str, ask: Callable[[], str], log: logging.Logger, stop: threading.Event) -> None:
    """Ask in a thread until the stop. `ask` keeps the answer, and says it in a few words: a change of them is logged."""

    def run() -> None:
        said = None
        while not stop.wait(_FIRST_S if said is None else _ASK_S):
            try:
                now = ask()
            except httpx.HTTPError as error:
                now = f"the archiver does not answer ({type(error).__name__}); what it said last stands"
            if now != said:
                said = now
                log.info("%s: %s", what, now)

    threading.Thread(target=run, name=what, daemon=True).start()
