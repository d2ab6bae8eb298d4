"""The button that brings a dataset back: `neve.restore_button("saxs/run07")`.

Law: the state lives on the server. The widget looks it up when it is made, so running the cell again shows the restore that already runs; a thread of
its own keeps looking while something is under way, and ends with it or with the widget. The browser draws what the traits say and reports a click;
it decides nothing. All words are in TEXTS.
"""

from __future__ import annotations

import threading
from html import escape
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from neve import records
from neve.client import Client, connect
from neve.errors import NeveError, ServiceUnavailable
from neve.progress import fraction, progress_text
from neve.restores import restore_dataset
from neve.still import Still
from neve.wording import duration_text, size_text, tier_text, time_text

TEXTS = {
    "ask": "Bring it back",
    "ask_again": "Ask again",
    "asking": "Asking…",
    "retry": "Try again",
    "looking": "Looking it up…",
    "here": "It is in fast storage.",
    "here_until": "Ready until {until}.",
    "partly": "Only some files are back, until {until}:",
    "in_place": "It can be read in place from the archive; brought back, it reads faster.",
    "promise": "Back within {within} of asking.",
    "arriving": "It is still arriving.",
    "erased": "It was erased: nothing of it is left.",
    "running": "On its way back: {state}.",
    "approval": "Asked for; an admin has to approve it first.",
    "ended": "The last restore is {state}.",
    "label_card": "Dataset {name}",
    "label_progress": "Progress of the restore of {name}",
    "label_ask": "Bring {name} back into fast storage",
}
"""Every word that the widget shows, beside sizes, dates and the archiver's own sentences."""

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0


class RestoreButton(anywidget.AnyWidget):
    """A card for one dataset, with its tier, size and promise, and the button that asks for it back.

    `state`: looking, idle, asking, running, ready, partly_ready, error. `done`: 0 to 1."""

    _esm = Path(__file__).parent / "static" / "restore_button.js"
    _css = Path(__file__).parent / "static" / "restore_button.css"

    name = traitlets.Unicode().tag(sync=True)
    tier = traitlets.Unicode().tag(sync=True)
    tier_text = traitlets.Unicode().tag(sync=True)
    size_text = traitlets.Unicode().tag(sync=True)
    state = traitlets.Unicode("looking").tag(sync=True)
    message = traitlets.Unicode().tag(sync=True)
    progress_text = traitlets.Unicode().tag(sync=True)
    done = traitlets.Float(0.0).tag(sync=True)
    button_text = traitlets.Unicode().tag(sync=True)  # empty: no button
    button_label = traitlets.Unicode().tag(sync=True)
    card_label = traitlets.Unicode().tag(sync=True)
    progress_label = traitlets.Unicode().tag(sync=True)
    reasons = traitlets.List(traitlets.Unicode()).tag(sync=True)
    error = traitlets.Unicode().tag(sync=True)

    def __init__(self, name: str, *, url: str | None = None, token: str | None = None, client: Client | None = None) -> None:
        """Looks the dataset up; what goes wrong is shown in the card, with a button to try again."""
        self._name = name
        self._url_and_token = (url, token)
        self._connected = client
        self._dataset: records.Dataset | None = None
        self._restore_id: int | None = None
        self._guard = threading.Lock()
        self._closed = threading.Event()
        self._worker: threading.Thread | None = None
        super().__init__(name=name, message=TEXTS["looking"], **_labels(name))
        self._still = Still(str(self.model_id))
        self.on_msg(self._on_message)
        self._try(self._look)

    # What people do

    def _on_message(self, _widget: Any, content: Any, _buffers: Any) -> None:
        if isinstance(content, dict) and content.get("do") == "press":
            self.press()

    def press(self) -> None:
        """What a click does: ask, or look again after an error. Returns at once; the traits tell the rest."""
        if not self.button_text or self.state in {"asking", "running"}:
            return
        act = self._look if self._dataset is None else self._ask
        self.set_trait("state", "asking")
        self.message, self.error, self.button_text = TEXTS["asking"], "", ""
        self._start(act)

    def close(self) -> None:
        self._closed.set()
        super().close()

    def __repr__(self) -> str:
        words = [self.name, self.tier_text, self.size_text, self.message, *self.reasons, self.error]
        return " · ".join(word for word in words if word)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The card, and for readers that have no kernel its words."""
        self._still.show(*self._told())
        return super()._repr_mimebundle_(**kwargs)

    def _told(self) -> tuple[str, str]:
        return f"<p>{escape(repr(self))}</p>", repr(self)

    # What the server says

    def _client(self) -> Client:
        if self._connected is None:
            self._connected = connect(*self._url_and_token)
        return self._connected

    def _look(self) -> None:
        client = self._client()
        dataset = client.find(self._name)
        mine = client.my_restores(dataset.id)
        told = next((own for own in mine if own.state in records.OPEN), dataset.restore)
        if told is None and mine and mine[0].state == "denied":
            told = mine[0]  # the admin's reason is not lost with the cell's output
        self._show(dataset, told)

    def _ask(self) -> None:
        client = self._client()
        dataset = client.find(self._name)
        handle = restore_dataset(client, dataset)
        self._show(dataset, handle.info)

    def _follow(self) -> None:
        """Keep looking until the restore no longer changes by itself, or the widget is closed."""
        pause_s = FIRST_PAUSE_S
        while self.state == "running" and self._restore_id is not None and not self._closed.wait(pause_s):
            pause_s = min(pause_s * 1.3, LONGEST_PAUSE_S)
            try:
                restore = self._client().restore(self._restore_id)
            except ServiceUnavailable as error:
                self.error = str(error)  # shown, and asked again: the restore goes on without us
                continue
            dataset = self._dataset if restore.running else self._client().dataset(restore.dataset_id)
            if dataset is not None and not self._closed.is_set():
                self._show(dataset, restore)

    def _show(self, dataset: records.Dataset, restore: records.Restore | None) -> None:
        """Put what is true now into the traits, in one message to the browser."""
        self._dataset = dataset
        self._restore_id = None if restore is None else restore.id
        with self.hold_sync():
            self.name = dataset.full_name
            self.tier = dataset.tier or ""
            self.tier_text = tier_text(dataset.tier)
            self.size_text = size_text(dataset.size_bytes)
            self.error = ""
            self.reasons = []
            for trait, value in _labels(dataset.full_name).items():
                self.set_trait(trait, value)
            if restore is not None and restore.running:
                words = "approval" if restore.state == "awaiting_approval" else "running"
                self._say("running", TEXTS[words].format(state=records.RESTORE_STATES[restore.state]))
                self.progress_text, self.done = progress_text(restore), fraction(restore)
            elif restore is not None and restore.state in {"ready", "partly_ready"}:
                words = "here_until" if restore.state == "ready" else "partly"
                self._say(
                    restore.state, TEXTS[words].format(until=time_text(restore.expires_at)), "" if restore.state == "ready" else TEXTS["ask_again"]
                )
                self.progress_text, self.done = progress_text(restore), fraction(restore)
                self.reasons = list(restore.reasons)
            else:
                self._say("idle", *_idle(dataset))
                self.progress_text, self.done = "", 0.0
                if restore is not None:
                    self.message = f"{TEXTS['ended'].format(state=records.RESTORE_STATES.get(restore.state, restore.state))} {self.message}"
                    self.reasons = list(restore.reasons)

    def _say(self, state: str, message: str, button: str = "") -> None:
        self.state, self.message, self.button_text = state, message, button

    def _keep(self) -> None:
        """A saved notebook shows how it ended, not how it began; each word of progress would make the notebook unsaved again."""
        if self.state not in {"asking", "running"}:
            self._still.change(*self._told())

    def _try(self, act: Any) -> None:
        """Do it and follow what then runs; what goes wrong stands in the card as a sentence."""
        try:
            act()
        except NeveError as error:
            with self.hold_sync():
                self._say("error", "", TEXTS["retry"])
                self.error = str(error)
        self._keep()
        if self.state == "running" and threading.current_thread() is not self._worker:
            self._start(self._nothing)

    def _nothing(self) -> None:
        """The thread has only to follow."""

    def _start(self, act: Any) -> None:
        if not self._closed.is_set():
            self._worker = threading.Thread(target=self._work, args=(act,), name=f"neve restore of {self._name}", daemon=True)
            self._worker.start()

    def _work(self, act: Any) -> None:
        with self._guard:  # one after the other: the last one may be about to end
            self._try(act)
            self._try(self._follow)


def _labels(name: str) -> dict[str, str]:
    return {
        trait: TEXTS[key].format(name=name)
        for trait, key in (("card_label", "label_card"), ("progress_label", "label_progress"), ("button_label", "label_ask"))
    }


def _idle(dataset: records.Dataset) -> tuple[str, str]:
    """Message and button when nothing is under way."""
    if dataset.readable == "not_yet":
        return TEXTS["arriving"], ""
    if dataset.readable == "never":
        return TEXTS["erased"], ""
    if dataset.readable == "now":
        until = time_text(dataset.hot_until)
        return (TEXTS["here_until"].format(until=until) if until else TEXTS["here"]), ""
    promise = TEXTS["promise"].format(within=duration_text(dataset.back_within_s))
    return (f"{TEXTS['in_place']} {promise}" if dataset.readable == "in_place" else promise), TEXTS["ask"]


def restore_button(name: str, *, url: str | None = None, token: str | None = None) -> RestoreButton:
    """A card with a button that brings the dataset `name` back into fast storage, and shows how far it is."""
    return RestoreButton(name, url=url, token=token)
