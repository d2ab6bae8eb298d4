"""Who starts when, and why a notebook's container did not start: a sentence for its user, and what it said last for the hub's log.

Law: as many start at once as there are processors, in the order they came: in a full seminar all wait, and nobody's start fails for it.
What is shown names the next step and holds no traceback. It is a `SpawnException`, which the hub does not count: after five errors in a
row it would end itself, and everybody's work with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from docker.errors import APIError, DockerException, NotFound
from jupyterhub.spawner import SpawnException
from requests.exceptions import RequestException

LAST_LINES = 20
ENGINE_ERRORS = (DockerException, RequestException)
_LAST = "Its last words:\n"
_TELL = "tell an admin, who finds more in the hub's log."


class Turns:
    """A start is some seconds of a processor: who comes beyond `at_once` waits for a turn, and can see how long the queue is."""

    def __init__(self, at_once: int) -> None:
        self._free = asyncio.Semaphore(at_once)  # the first to come are the first to go
        self._waiting: list[object] = []

    @asynccontextmanager
    async def taken(self, who: object) -> AsyncIterator[None]:
        self._waiting.append(who)
        try:
            await self._free.acquire()
        finally:
            self._waiting.remove(who)
        try:
            yield
        finally:
            self._free.release()

    def before(self, who: object) -> int | None:
        """How many have their turn before `who`; None: they do not wait."""
        return self._waiting.index(who) if who in self._waiting else None


def not_made(error: Exception, image: str) -> SpawnException:
    """The engine did not start a container of this image."""
    said = str(error.explanation if isinstance(error, APIError) else error)
    if isinstance(error, NotFound) and "image" in said.lower():
        sentence = f"The notebook image {image} is not on this machine. Tell an admin: `make image` builds it, or hub.image names another."
    elif "device driver" in said:
        sentence = "This machine has no GPU for notebooks. Choose a profile without one, or tell an admin."
    elif isinstance(error, APIError):
        sentence = f"The notebook image {image} cannot be started as a notebook. Please {_TELL}"
    else:
        sentence = f"The Docker engine does not answer. Try again in a minute; if it stays so, {_TELL}"
    return _failure(sentence, "engine", f"The engine said: {said}")


def ended(state: dict[str, Any] | None, last: str, memory_bytes: int) -> SpawnException:
    """The container had ended before it answered: its state as the engine tells it (None: it is gone), and what it said last."""
    code = state["ExitCode"] if state else None
    if state and state["OOMKilled"]:
        sentence = f"Your notebook was ended because it needed more memory than the {_size(memory_bytes)} it may use. "
        sentence += "Ask an admin for more (hub.memory_limit, or a profile's)."
    elif code is None:
        sentence = f"Your notebook's container was removed while it started. Try again; if it happens anew, {_TELL}"
    else:
        sentence = f"Your notebook's container ended while it started, with exit code {code}. Try again; if it happens anew, {_TELL}"
    return _failure(sentence, "ended", _LAST + (last or "(none)"))


def silent(seconds: float, last: str) -> SpawnException:
    """The container runs, and nothing answers in it."""
    sentence = f"Your notebook did not answer within {seconds:g} s. Try again; if it happens anew, {_TELL}"
    return _failure(sentence, "silent", _LAST + (last or "(none)"))


def _size(size_bytes: int) -> str:
    """As settings say it."""
    return f"{size_bytes // 2**20}M" if size_bytes % 2**30 else f"{size_bytes // 2**30}G"


def _failure(sentence: str, reason: str, details: str) -> SpawnException:
    failure = SpawnException(sentence, reason=reason, log_message=f"{sentence} {details}", status_code=503)
    failure.jupyterhub_message = sentence  # what its pages show
    return failure
