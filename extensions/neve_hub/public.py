"""Projects whose data all may read: the archiver knows them, and is asked now and then.

Law: an archiver that is away changes nothing: what it said last stands, on disk, until it says something else.
"""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path

import httpx
from neve.private import write_private

from neve_hub.instance import Instance

log = logging.getLogger("neve.mounts")

_ASK_S = 10.0
_WITHIN_S = 10.0


def _file(here: Instance) -> Path:
    return here.run / "public.json"


def known(here: Instance) -> list[str]:
    """Their names, the latest first, as the archiver said last."""
    try:
        found: list[str] = json.loads(_file(here).read_text("utf-8"))
    except FileNotFoundError:
        return []
    return found[: here.settings.hub.public_mounts]


def ask(here: Instance) -> int:
    """Ask, and keep the answer: how many there are. Raises `httpx.HTTPError`."""
    token = (here.secrets / "mounts-token").read_text("utf-8").strip()
    url = f"{here.api_url}{here.settings.api.prefix.rstrip('/')}/api/v1/projects"
    answer = httpx.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=_WITHIN_S).raise_for_status()
    found = sorted(answer.json()["items"], key=lambda project: str(project["public_from"]), reverse=True)
    write_private(_file(here), json.dumps([project["name"] for project in found]))
    return len(found)


def follow(here: Instance, stop: threading.Event) -> None:
    """Ask until the stop; a change of what comes back is logged."""
    said: object = None
    while not stop.wait(_ASK_S if said is not None else 1):
        try:
            now: object = ask(here)
            line = f"{now} public projects; the latest {here.settings.hub.public_mounts} stand in everybody's /data"
        except httpx.HTTPError as error:
            now, line = type(error), f"the archiver does not say what is public ({error}); what it said last stands"
        if now != said:
            said = now
            log.info("%s", line)
