"""Asking for datasets back, and waiting for them.

Law: the state lives on the server. A handle is only its number: losing it (a kernel restart) loses nothing, and asking for the same again gives
the restore that already runs. Waiting outlives an archiver that is away for a while; a failure is told with its reasons.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from neve import records
from neve.client import Client, connect
from neve.errors import NeveError, NotReadyInTime, PartlyRestored, RestoreFailed, ServiceUnavailable, WrongUse
from neve.progress import progress_display
from neve.wording import time_text

FRESH_S = 1.0
"""A state younger than this is shown as it is; an older one is asked for again."""
LONGEST_PAUSE_S = 5.0
"""Longest time between two questions while waiting."""
AWAY_S = 600.0
"""How long the archiver may be away before waiting gives up."""


class Restoration:
    """A dataset on its way back. `status`, `eta`, `ready_at`, `expires_at` are asked from the server.

    `wait()` waits with a progress bar; `await handle` does in a notebook whose kernel shall stay free; `when_ready(function)` does not wait at all.
    """

    def __init__(self, client: Client, restore: records.Restore) -> None:
        self._client = client
        self._copying: tuple[float, int] | None = None  # when bytes were first seen to be back, and how many
        self._take(restore)

    def _take(self, restore: records.Restore) -> records.Restore:
        self._last = restore
        self._asked_at = time.monotonic()
        if self._copying is None and restore.running and restore.bytes_ready:
            self._copying = (self._asked_at, restore.bytes_ready)
        return restore

    @property
    def id(self) -> int:
        """Its number on the server."""
        return self._last.id

    @property
    def dataset(self) -> str:
        """The dataset's full name."""
        return self._last.dataset

    @property
    def status(self) -> str:
        """requested, awaiting_approval, queued, recalling, copying, ready, partly_ready, expired, denied, cancelled or failed."""
        return self._now().state

    @property
    def ready_at(self) -> datetime | None:
        """When the files were back; None while they are not."""
        return self._now().ready_at

    @property
    def promised_by(self) -> datetime | None:
        """When the files will be back at the latest; None while an admin has not approved it."""
        return self._now().promised_by

    @property
    def eta(self) -> datetime | None:
        """When it is likely back: by the rate at which its bytes come, as seen from here, else when it is promised. None: open, or past."""
        state = self._now()
        if not state.running:
            return None
        if self._copying is not None:
            since, first = self._copying
            come, passed_s = state.bytes_ready - first, self._asked_at - since
            if come > 0 and passed_s > 0:
                return datetime.now(UTC) + timedelta(seconds=(state.bytes_total - state.bytes_ready) * passed_s / come)
        return state.promised_by

    @property
    def expires_at(self) -> datetime | None:
        """Until when they stay in fast storage; None while they are not there."""
        return self._now().expires_at

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it, or a file of it, failed."""
        return self._now().reasons

    @property
    def info(self) -> records.Restore:
        """All that the server says of it."""
        return self._now()

    def refresh(self) -> records.Restore:
        """Ask the server now."""
        return self._take(self._client.restore(self._last.id))

    def extend(self, days: int) -> Restoration:
        """Have it stay `days` longer. Raises WrongUse, Conflict, OverQuota."""
        self._take(self._client.extend_restore(self._last.id, days))
        return self

    def cancel(self) -> Restoration:
        """Take it back: what has not been copied is not, and what is back may leave again."""
        self._take(self._client.cancel_restore(self._last.id))
        return self

    def wait(self, timeout: float | None = None, *, progress: bool = True) -> Restoration:
        """Wait until all files are back; returns the handle.

        `timeout`: seconds, then NotReadyInTime (the restore goes on). Raises PartlyRestored when some files are not coming, RestoreFailed when
        none is, or it was cancelled. Interrupting the wait does not end the restore."""
        end = None if timeout is None else time.monotonic() + timeout
        with progress_display(self._last.dataset, shown=progress) as show:
            for state in self._changes(end):
                show(state)
        return self._ended()

    def __await__(self) -> Generator[Any, None, Restoration]:
        """`await handle`: as `wait()`, while the kernel goes on with other things."""
        return self._awaited().__await__()

    async def _awaited(self) -> Restoration:
        with progress_display(self._last.dataset) as show:
            looks = self._looks(None)
            while (look := await asyncio.to_thread(next, looks, None)) is not None:
                state, pause_s = look
                show(state)
                await asyncio.sleep(pause_s)
        return self._ended()

    def when_ready(self, function: Callable[[Restoration], object]) -> Restoration:
        """Have `function(handle)` called, in a thread of its own, once all files are back. Returns at once.

        When they are not coming, why is told below the cell, and the function is not called.
        """

        def follow() -> None:
            try:
                self.wait(progress=False)
            except NeveError as error:
                sys.stderr.write(f"{function!r} is not called: {error}\n")
                return
            function(self)

        threading.Thread(target=follow, name=f"restore {self.id}", daemon=True).start()
        return self

    def _changes(self, end: float | None) -> Iterator[records.Restore]:
        """Each state seen, until it no longer changes by itself."""
        for state, pause_s in self._looks(end):
            yield state
            time.sleep(pause_s)

    def _looks(self, end: float | None) -> Iterator[tuple[records.Restore, float]]:
        """Each state seen, with the pause before the next look in s."""
        pause_s = 0.3
        away_since: float | None = None
        while True:
            try:
                state = self.refresh()
                away_since = None
            except ServiceUnavailable:
                # The restore goes on without us: a hub that is restarted must not end a wait of days.
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > AWAY_S:
                    raise
                state = self._last
            if not state.running:
                yield state, 0.0
                return
            left_s = LONGEST_PAUSE_S if end is None else end - time.monotonic()
            yield state, min(pause_s, max(0.0, left_s))
            if left_s <= 0:
                promised = f"; it is promised by {time_text(state.promised_by)}" if state.promised_by else ""
                raise NotReadyInTime(f"{state.dataset} is not back yet ({records.RESTORE_STATES[state.state]}){promised}.", "It goes on; wait again.")
            pause_s = min(pause_s * 1.3, LONGEST_PAUSE_S)

    def _ended(self) -> Restoration:
        state = self._last
        if state.state == "ready":
            return self
        if state.state == "denied":
            raise RestoreFailed(f"An admin denied the restore of {state.dataset}.", "Talk to them, or ask for less:", state.reasons)
        if state.state == "partly_ready":
            detail = f"{state.files_ready} of {state.files_total} files of {state.dataset} are back; the others are not coming:"
            raise PartlyRestored(detail, reasons=state.reasons)
        word = records.RESTORE_STATES.get(state.state, state.state)
        raise RestoreFailed(f"The restore of {state.dataset} is {word}.", "Ask for it again, or tell whoever runs your Névé.", state.reasons)

    def _now(self) -> records.Restore:
        if self._last.state in records.OPEN and time.monotonic() - self._asked_at > FRESH_S:
            return self.refresh()
        return self._last

    def __repr__(self) -> str:
        until = f" until {time_text(self._last.expires_at)}" if self._last.expires_at else ""
        return f"<Restoration {self.id} of {self.dataset}: {records.RESTORE_STATES.get(self._last.state, self._last.state)}{until}>"


def restore(
    name: str | records.Quote, files: str | None = None, days: int | None = None, *, url: str | None = None, token: str | None = None
) -> Restoration:
    """Ask for a dataset back into fast storage, at its own path; or for what a quote said, if it would not mean more by now.

    `files`: only those that match this pattern (`scan*.h5`); `days`: how long they stay, from when they are back (None: the archiver's default).
    Raises NotFound (with the nearest names), Ambiguous, NotAllowed, WrongUse, OverQuota, NoRoom, QuoteExpired, QuoteChanged, ServiceUnavailable."""
    client = connect(url, token)
    if isinstance(name, records.Quote):
        if files is not None or days is not None:
            raise WrongUse("A quote says which files and how many days.", "Leave `files` and `days` out, or ask for a new quote.")
        return Restoration(client, client.take_up_quote(name.id))
    return restore_dataset(client, client.find(name), files, days)


def quote(name: str, files: str | None = None, days: int | None = None, *, url: str | None = None, token: str | None = None) -> records.Quote:
    """What bringing a dataset back would mean: bytes, time, cost, whether it fits and needs approval.

    `print(quote(…))` says it in a line, and `neve.restore(…)` of it asks for just that.
    Raises NotFound (with the nearest names), Ambiguous, NotAllowed, WrongUse, ServiceUnavailable."""
    client = connect(url, token)
    return client.quote(client.find(name).full_name, files, days)


def restore_dataset(client: Client, dataset: records.Dataset, files: str | None = None, days: int | None = None) -> Restoration:
    """Ask for a dataset that was looked up. The archiver joins an equal restore of yours that is under way."""
    return Restoration(client, client.ask_restore(dataset.full_name, files, days))
