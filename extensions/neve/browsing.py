"""The catalog to browse in a notebook: `neve.browse()`. The browser's part is static/browse.js; this is the way between it and the archiver.

Law: the browser asks for what the archiver's API offers, by name and number, and nothing else; the token stays here. All that is true lives on the
server, so running the cell again after a restart shows it as it is.
"""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from neve.client import Client, connect
from neve.errors import NeveError, WrongUse
from neve.intake_catalog import page_html, page_text
from neve.still import Still

_STATIC = Path(__file__).parent / "static"
_AT_ONCE = 4
_FIRST = 50
_ALLOWED = tuple(
    (method, re.compile(path))
    for method, path in (
        ("GET", r"datasets|datasets/facets|datasets/complete|restores|holds"),
        ("GET", r"datasets/\d+(/files|/events|/lineage)?|files/\d+/preview|restores/\d+"),
        ("PATCH", r"datasets/\d+"),
        ("POST", r"quotes|restores|holds|restores/\d+/(cancel|extend)"),
        ("DELETE", r"holds/\d+"),
    )
)


class Browser(anywidget.AnyWidget):
    """The catalog: search, facets, one dataset's pane, quotes, restores, holds, tags.

    `selected`: full names of the datasets that are ticked, for the next cell; `filters`: what the list is narrowed to.
    """

    _esm = _STATIC / "browse.js"
    _css = _STATIC / "browse.css"

    texts = traitlets.Dict().tag(sync=True)
    first = traitlets.Dict(allow_none=True).tag(sync=True)  # what is shown at once, and in a saved notebook
    filters = traitlets.Dict().tag(sync=True)
    selected = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self, client: Client, filters: dict[str, str]) -> None:
        self._client = client
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="neve browse")
        try:
            first = client.ask("GET", "datasets", {**filters, "limit": _FIRST})
            self._last = self._told(first, filters)
        except NeveError as error:
            first, self._last = None, _trouble(error)  # the browser asks again, and shows what it is told then
        super().__init__(texts=json.loads((_STATIC / "browse.texts.json").read_text("utf-8")), first=first, filters=filters)
        self._still = Still(str(self.model_id))
        self._newest = 0  # of the questions whose answer the list shows
        self.on_msg(self._on_message)

    def __repr__(self) -> str:
        return f"<Névé's catalog to browse: {len(self.selected)} selected; shown in a notebook that runs>"

    def _on_message(self, _widget: Any, content: Any, _buffers: Any) -> None:
        if isinstance(content, dict) and isinstance(content.get("ask"), int):
            self.send({"to": content["ask"], "heard": True})
            self._pool.submit(self._answer, content)

    def _answer(self, asked: dict[str, Any]) -> None:
        try:
            said: dict[str, Any] = {"answer": self._request(asked)}
        except NeveError as error:
            said = {"problem": {"code": error.code, "detail": error.detail, "next_step": error.next_step}}
        except Exception as error:  # noqa: BLE001 - nobody reads a worker thread's traceback, and the browser waits
            detail = f"neve could not ask that ({type(error).__name__}: {error})."
            said = {"problem": {"code": "failed", "detail": detail, "next_step": "Run the cell again."}}
        self.send({"to": asked["ask"], **said})
        if asked.get("shown") and "answer" in said and asked["ask"] > self._newest:  # an answer to an older question may come later
            self._newest = asked["ask"]
            try:
                self._last = self._told(said["answer"], dict(self.filters))
            except NeveError as error:
                self._last = _trouble(error)
            self._still.change(*self._last)

    def _told(self, answer: Any, filters: dict[str, str]) -> tuple[str, str]:
        """A page of the list for readers without a kernel."""
        page = self._client.page_of(answer)
        return page_html(page, filters, "run the cell to see them"), page_text(page, filters)

    def _request(self, asked: dict[str, Any]) -> Any:
        method, path = str(asked.get("method")), str(asked.get("path"))
        if not any(method == allowed and pattern.fullmatch(path) for allowed, pattern in _ALLOWED):
            raise WrongUse(f"The browser cannot ask for {method} {path}.", "Use neve's functions.")
        return self._client.ask(method, path, asked.get("query") or {}, asked.get("body"))

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        super().close()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The widget, and for readers that have no kernel a table in its place."""
        self._still.show(*self._last)
        return super()._repr_mimebundle_(**kwargs)


def _trouble(error: NeveError) -> tuple[str, str]:
    return f"<p>{escape(str(error))}</p>", str(error)


def browse(text: str = "", *, url: str | None = None, token: str | None = None, **narrowed: str) -> Browser:
    """The catalog to browse, in a notebook. `text` and `project=`, `instrument=`, `tier=`, `tag=` narrow it from the start."""
    unknown = set(narrowed) - {"project", "instrument", "tier", "tag"}
    if unknown:
        raise WrongUse(f"The catalog is not narrowed by {', '.join(sorted(unknown))}.", "By project, instrument, tier and tag.")
    return Browser(connect(url, token), {**({"q": text} if text else {}), **narrowed})
