"""Progress of a wait: a widget in a notebook, a bar on a terminal, nothing elsewhere. It is updated in place, never printed line by line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from neve import records
from neve.wording import size_text, time_text

if TYPE_CHECKING:
    from rich.progress import Progress

Show = Callable[[records.Restore], None]


def progress_text(state: records.Restore) -> str:
    """State, files and bytes in one line."""
    word = records.RESTORE_STATES.get(state.state, state.state)
    text = f"{word} · {state.files_ready} of {state.files_total} files · {size_text(state.bytes_ready)} of {size_text(state.bytes_total)}"
    if state.state in {"ready", "partly_ready"} and state.expires_at is not None:
        return f"{text} · until {time_text(state.expires_at)}"
    if state.running and state.error:
        text = f"{text} · {state.error}"  # what it waits for
    return f"{text} · by {time_text(state.promised_by)} at the latest" if state.running and state.promised_by is not None else text


def fraction(state: records.Restore) -> float:
    """How much is back, from 0 to 1."""
    if state.state == "ready":
        return 1.0
    return min(1.0, state.bytes_ready / state.bytes_total) if state.bytes_total else 0.0


@contextmanager
def progress_display(dataset: str, *, shown: bool = True) -> Iterator[Show]:
    """Gives the function to call with each new state."""
    if shown and in_notebook():
        with _notebook_display(dataset) as show:
            yield show
    elif shown and sys.stderr.isatty():
        with _terminal_bar() as bar:
            task = bar.add_task(dataset, total=1.0, words="")
            yield lambda state: bar.update(task, completed=fraction(state), words=progress_text(state))
    else:
        yield lambda _state: None


def in_notebook() -> bool:
    """Whether what is displayed appears below a notebook's cell."""
    if "ipykernel" not in sys.modules:
        return False
    from IPython import get_ipython  # noqa: PLC0415 - only there when it has been imported already

    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")


@contextmanager
def bytes_bar(*, shown: bool) -> Iterator[Callable[[str, int | None], Callable[[int], object]]]:
    """On a terminal, a line for each thing whose bytes come, with rate and time left. Gives the function that begins one: name, total bytes."""
    if not shown or not sys.stderr.isatty():
        yield lambda _name, _total: lambda _more: None
        return
    from rich.console import Console  # noqa: PLC0415 - only for terminals
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn  # noqa: PLC0415

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:

        def begin(name: str, total: int | None) -> Callable[[int], object]:
            task = bar.add_task(name, total=total)
            return lambda more: bar.advance(task, more)

        yield begin


def _terminal_bar() -> Progress:
    from rich.console import Console  # noqa: PLC0415 - only for terminals
    from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), TextColumn("{task.fields[words]}", markup=False))
    return Progress(*columns, console=Console(stderr=True))


@contextmanager
def _notebook_display(dataset: str) -> Iterator[Show]:
    import ipywidgets  # noqa: PLC0415 - only in notebooks
    from IPython.display import display  # noqa: PLC0415

    bar = ipywidgets.FloatProgress(min=0.0, max=1.0, description="", layout={"width": "16em"})
    words = ipywidgets.Label(value=dataset)
    shown = display(ipywidgets.HBox([bar, words]), display_id=True)  # type: ignore[no-untyped-call]

    def show(state: records.Restore) -> None:
        bar.value = fraction(state)
        bar.bar_style = {"ready": "success", "partly_ready": "warning", "failed": "danger", "cancelled": "warning"}.get(state.state, "")
        # The clock is news in each turn: a kernel that says something is not taken for idle, so its server is not stopped while it waits.
        words.value = f"{dataset} · {progress_text(state)} · seen {datetime.now().astimezone():%H:%M:%S}"

    try:
        yield show
    finally:
        # The last words stay as text: a saved notebook has no kernel that could draw a bar.
        if shown is not None:
            shown.update({"text/plain": words.value}, raw=True)
