"""What `neve watch` shows: a table on a terminal, lines elsewhere. It only reads; what it shows of names is harmless to a terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from neve.send.events import Event, sentence
from neve.send.growing import Taken
from neve.send.source import shown
from neve.send.watch import Status
from neve.wording import duration_text, size_text

_ROWS = 12
_STATE_LINE_S = 600.0
_LINES = {
    "closed": "{dataset} is {state}.",
    "failed": "{path} {reason}.",
    "kept": "{path} {reason}.",
    "refused": "{dataset} is not taken: {reason}",
    "deleted": "{files} source file(s) deleted ({size}): two proven copies each.",
    "away": "{reason}; looked at again until it can.",
    "error": "{detail} {next_step}",
    "skipped": "{source} {reason}.",
    "no_snapshot": "{path} is still being written, and there is no snapshot now: {reason}.",
}


def line(event: Event) -> str:
    """One line for a log; empty for what a log need not hold."""
    about = event.about
    said = _LINES.get(event.kind)
    if said is not None:
        return said.format_map({**about, "size": size_text(about.get("bytes", 0))})
    if event.kind == "snapshot":
        at = datetime.fromisoformat(about["taken_at"]).timestamp()
        return f"{about['path']} is still being written: {snapshot_text(Taken(about['shown_at'], at, about['size_bytes']))}."
    if event.kind == "watching":
        why = "" if about["events"] == "on" else f" (looked through again and again: {about['events']})"
        return f"Watching {about['inbox']}{why}."
    if event.kind == "state":
        numbers = ", ".join(f"{about[name]} {name}" for name in ("received", "sending", "ready", "waiting", "refused"))
        oldest = [f"; {item['path']} for {duration_text(item['age_s'])}: {item['reason']}" for item in about["oldest"][:1] if item["reason"]]
        return f"{numbers}{''.join(oldest)}."
    return sentence(event)


def snapshot_text(taken: Taken) -> str:
    """Where a snapshot is, and as of when, in this machine's time."""
    return f"{taken.path}, as of {datetime.fromtimestamp(taken.at).astimezone():%H:%M}, {size_text(taken.size_bytes)}"


class Lines:
    """Lines for a log. The state is said when it has changed, and not more often than every ten minutes."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock = say, clock
        self._said_at, self._said = -_STATE_LINE_S, ""
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        text = line(event)
        with self._lock:
            if event.kind == "state":
                if self._clock() - self._said_at < _STATE_LINE_S or text == self._said:
                    return
                self._said_at, self._said = self._clock(), text
            if text:
                self._say(text)


class Screen:
    """The table. `status` is asked about once a second, less often where the answer takes long."""

    def __init__(self, console: Console, status: Callable[[], Status]) -> None:
        self._console, self._status = console, status
        self._over = threading.Event()
        self._sent = ""
        self._events: list[str] = []

    def __call__(self, event: Event) -> None:
        if event.kind == "progress":
            self._sent = f"{event.about['files_done']} files, {size_text(event.about['bytes_done'])}"
        elif event.kind == "opened":
            self._sent = ""
        elif event.kind != "state" and (text := line(event)):
            self._events = [*self._events[-4:], text]

    def table(self, status: Status) -> Group:
        """What is seen now."""
        count = status.count
        numbers = Table.grid(padding=(0, 2))
        numbers.add_row("waiting", str(count.waiting), f"oldest {duration_text(status.oldest_s)}" if status.oldest_s is not None else "")
        numbers.add_row("ready", str(count.ready), "")
        numbers.add_row("sending", str(count.sending), Text(f"{status.sending}  {self._sent}".strip() if count.sending else ""))
        numbers.add_row("refused", str(count.refused), "")
        numbers.add_row("received", str(status.received), size_text(status.received_bytes))
        if status.deleted:
            numbers.add_row("deleted", str(status.deleted), "with two proven copies")
        parts: list[Table | Text] = [numbers]
        if status.oldest:
            columns = ("file", "since", "waits because", *(["snapshot"] if status.taken else []))
            waiting = Table(*columns, box=None, header_style="dim")
            now = time.time()
            for row in status.oldest[:_ROWS]:
                cells = [Text(shown(row.name)), Text(duration_text(max(0, now - row.first_at))), Text(row.reason)]
                taken = status.taken.get(row.name)
                waiting.add_row(*cells, *([Text(snapshot_text(taken) if taken else "")] if status.taken else []))
            parts.append(waiting)
        return Group(*parts, *[Text(text, style="dim") for text in self._events])

    @contextmanager
    def live(self) -> Iterator[None]:
        """Shown while the block runs."""
        with Live(console=self._console, auto_refresh=False, transient=False) as live:

            def show() -> None:
                pause_s = 0.0
                while not self._over.wait(pause_s):
                    begun = time.monotonic()
                    live.update(self.table(self._status()), refresh=True)
                    pause_s = max(1.0, 20 * (time.monotonic() - begun))

            thread = threading.Thread(target=show, name="watch-screen", daemon=True)
            thread.start()
            try:
                yield
            finally:
                self._over.set()
                thread.join()
                live.update(self.table(self._status()), refresh=True)
