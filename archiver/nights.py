"""How the nights' backups of homes went: what the hub's machine wrote down (`neve_hub.home_backup`), read where it is told to people."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from archiver.config import Settings

_LATE = timedelta(hours=36)


@dataclass(frozen=True)
class Night:
    """`why`: what is wrong, a sentence; `done_at`: when all was saved and checked last."""

    why: str = ""
    done_at: str | None = None
    saved: int = 0


def file(settings: Settings) -> Path:
    """Where it is written down."""
    return settings.home / "hub" / "home-backup.json"


def last(settings: Settings, at: datetime) -> Night | None:
    """None: no backups are made."""
    if settings.backup.bucket is None:
        return None
    try:
        said = json.loads(file(settings).read_text("utf-8"))
    except FileNotFoundError:
        return Night("Homes were never saved: log/home-backup.log says why, or neve-run at its start.")
    done_at = str(said["done_at"]) or None
    if said["problem"]:
        return Night(f"Homes were not saved: {said['problem']}", done_at)
    if done_at is None or at - datetime.fromisoformat(done_at) > _LATE:
        return Night(f"Homes were saved last {done_at or 'never'}: see log/home-backup.log.", done_at)
    return Night("", done_at, int(said["saved"]))
