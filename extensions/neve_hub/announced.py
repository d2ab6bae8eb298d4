"""What admins announce, on every page of the hub, the login page too."""

from __future__ import annotations

import logging
import threading
from html import escape

from neve_hub import asking
from neve_hub.instance import Instance


class Announced:
    """What the hub's pages take as their `announcement`: true while there is something, and its text when it is written."""

    def __init__(self, here: Instance) -> None:
        self._here = here
        self._text = ""

    def ask(self) -> str:
        """Raises `httpx.HTTPError`."""
        self._text = next((str(one["text"]) for one in asking.items(self._here, "announcements")), "")
        return self._text or "nothing"

    def follow(self) -> Announced:
        """Ask from now on, as long as the hub lives."""
        asking.follow("announced", self.ask, logging.getLogger("neve.announced"), threading.Event())
        return self

    def __deepcopy__(self, _memo: object) -> Announced:
        return self  # the hub copies its settings; what it shows is this one

    def __bool__(self) -> bool:
        return bool(self._text)

    def __html__(self) -> str:
        return escape(self._text)
