"""The bar of `neve send` on a terminal: files, bytes, rate, time left. What there is to send is counted beside the sending, by a scan of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from neve.send.events import Event, sentence
from neve.send.source import scan

_TOLD_EVERY = 1000


@contextmanager
def bar(paths: list[Path]) -> Iterator[Callable[[Event], None]]:
    """Gives the function that shows an event."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[words]}", markup=False),
    )
    over = threading.Event()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=None, words="")

        def count() -> None:
            files = size_bytes = 0
            for source in scan(paths, lambda _skipped: None):
                files, size_bytes = files + 1, size_bytes + source.size_bytes
                if files % _TOLD_EVERY == 0 and over.is_set():
                    return
            progress.update(task, total=size_bytes, files=files)

        def show(event: Event) -> None:
            about = event.about
            if event.kind == "opened":
                progress.update(task, description=about["dataset"])
            elif event.kind == "progress":
                progress.update(task, completed=about["bytes_done"], words=f"{about['files_done']} files")
            elif event.kind == "proving":
                left = about["verifying"] + about["sending"]
                progress.update(task, words=f"all sent, {left} being proven" if left else "all proven")
            if text := sentence(event):
                progress.console.print(text, markup=False, highlight=False)

        counter = threading.Thread(target=count, name="neve-count", daemon=True)
        counter.start()
        try:
            yield show
        finally:
            over.set()
            counter.join(timeout=1)
