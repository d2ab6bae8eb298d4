"""Projects whose data all may read, as the archiver said last; kept on disk, for a start while it is away."""

from __future__ import annotations

import json
from pathlib import Path

from neve.private import write_private

from neve_hub import asking
from neve_hub.instance import Instance


def _file(here: Instance) -> Path:
    return here.run / "public.json"


def known(here: Instance) -> list[str]:
    """Their names, the latest first, as many as are shown."""
    try:
        found: list[str] = json.loads(_file(here).read_text("utf-8"))
    except FileNotFoundError:
        return []
    return found[: here.settings.hub.public_mounts]


def ask(here: Instance) -> str:
    """Ask, keep the answer, and say how many there are. Raises `httpx.HTTPError`."""
    found = sorted(asking.items(here, "projects"), key=lambda project: str(project["public_from"]), reverse=True)
    write_private(_file(here), json.dumps([project["name"] for project in found]))
    return f"{len(found)}, of which the latest {here.settings.hub.public_mounts} stand in everybody's /data"
