"""What the lab tells of the room in one's home: nothing, until it is nearly full.

Law: how full a home is, the hub's machine finds out and writes beside the home ($NEVE_HOME_TOLD); here it is only read and passed on.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from jupyter_server.base.handlers import APIHandler
from tornado.web import authenticated

RESCUE = "This is the rescue server: delete what you can spare, in the file browser or a terminal. Nothing can be written; what is deleted is gone."


def warning() -> str:
    """A sentence or two, or nothing."""
    told, rescue = os.environ.get("NEVE_HOME_TOLD"), os.environ.get("NEVE_RESCUE")
    try:
        said = str(json.loads(Path(told).read_text("utf-8"))["warning"]) if told else ""
    except FileNotFoundError:  # nobody has looked yet
        said = ""
    return f"{RESCUE} {said}".strip() if rescue else said


class Room(APIHandler):
    """`GET neve/room`."""

    @authenticated
    def get(self) -> None:
        self.finish({"warning": warning()})


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "neve.room"}]


def _load_jupyter_server_extension(server: Any) -> None:
    if os.environ.get("NEVE_RESCUE"):
        server.no_browser_open_file = True  # a server that may write nothing ends where it cannot write this one
    server.web_app.add_handlers(".*$", [(f"{server.base_url.rstrip('/')}/neve/room", Room)])
