"""Homes and how full they are: where they lie, how much each holds of what it may (`hub.home_quota`). `python -m neve_hub.homes` measures them.

Law: what counts is what this machine sees on its disk, never what a container says. Measuring comes after everybody's work: lowest priority, one
home at a time, at most a tenth of the time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from docker.errors import DockerException, NotFound
from neve.private import write_private
from neve.wording import size_text

from neve_hub import engine, home_limits
from neve_hub.background import log_plainly, told_to_stop
from neve_hub.instance import LABEL, Instance, current
from neve_hub.measuring import TRASH, Usage, measure
from neve_hub.names import safe_name

log = logging.getLogger("neve.homes")

NAME = "homes"
FILE = "home.json"
SEEN = "/run/neve-home"  # where a container has the folder with it
UNKNOWN = (engine.NoEngineError, DockerException)  # the engine does not say where homes are
_HIGH = 0.8  # of the quota: from here on people are warned
_PAUSE_S = 30.0
_WITHIN_S = 600.0  # for one home, in its turn
_NOW_S = 10.0  # for one whose owner waits for it


@dataclass(frozen=True)
class Home:
    """How full somebody's home is."""

    usage: Usage
    quota_bytes: int

    @property
    def is_full(self) -> bool:
        return self.usage.used_bytes >= self.quota_bytes

    @property
    def is_high(self) -> bool:
        return self.usage.used_bytes >= _HIGH * self.quota_bytes

    @property
    def warning(self) -> str:
        """What its owner is told when it is high; else nothing."""
        return f"{self.sentence} {FULL if self.is_full else ABOVE}" if self.is_high else ""

    @property
    def sentence(self) -> str:
        """How much, of how much, and what is large."""
        usage, least = self.usage, "" if self.usage.whole else "at least "
        said = f"Your home holds {least}{size_text(usage.used_bytes)} of the {size_text(self.quota_bytes)} it may."
        if usage.largest:
            said += f" Its largest folders: {', '.join(f'{name} ({size_text(size)})' for name, size in usage.largest)}."
        if usage.trash_bytes >= self.quota_bytes // 100:
            said += f" {size_text(usage.trash_bytes)} are files in the trash; in a terminal, rm -rf ~/{TRASH} ends them."
        return said


ABOVE = "Once it is full no notebook starts until something is deleted; one that runs goes on."
FULL = "It is full: no notebook starts until something is deleted; one that runs goes on."


def volume(here: Instance, user: str) -> str:
    """Name of the volume that is a user's home."""
    return f"{_prefix(here)}{safe_name(user)}"


def folder(here: Instance, user: str) -> Path:
    """The folder that is a user's home, where notebooks are local processes."""
    return here.home / "homes" / safe_name(user)


def _prefix(here: Instance) -> str:
    return f"neve-{here.id}-home-"


def missing(gateway: str | None) -> str | None:
    """Why homes cannot be looked into here, or None."""
    if gateway is None:
        return None
    if os.geteuid() != 0:
        return "Névé does not run as root, and Docker's volumes are root's"
    root = Path(str(engine.engine().info()["DockerRootDir"]))
    return None if root.is_dir() else f"the Docker engine keeps its volumes at {root}, which is not there on this machine"


def places(here: Instance) -> dict[str, Path]:
    """Where every home lies, by its user's safe name. Raises `NoEngineError`, `DockerException`."""
    if here.found.gateway is None:
        return {home.name: home for home in (here.home / "homes").glob("*") if home.is_dir()}
    prefix = _prefix(here)
    volumes = engine.engine().volumes.list(filters={"name": prefix})
    return {found.name.removeprefix(prefix): _path(found.attrs) for found in volumes if found.name.startswith(prefix)}


def _path(attrs: Mapping[str, Any]) -> Path:
    """A volume that is a bind of another folder is mounted only while a container runs: there the folder itself."""
    options = attrs.get("Options") or {}
    return Path(options["device"] if "bind" in str(options.get("o", "")).split(",") else attrs["Mountpoint"])


def _made(here: Instance, user: str) -> Path:
    """Where a user's home lies; made where there is none yet, so that it has its limit before anything is in it."""
    if here.found.gateway is None:
        folder(here, user).mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder(here, user)
    volumes = engine.engine().volumes
    try:
        found = volumes.get(volume(here, user))
    except NotFound:
        found = volumes.create(volume(here, user), labels={LABEL: here.id})
    return _path(found.attrs)


def known(here: Instance, user: str) -> Home | None:
    """How full a home was when it was last looked at; None: there is no quota, or nobody has looked yet."""
    quota = here.settings.hub.home_quota
    if quota is None:
        return None
    try:
        said = json.loads((told(here, user) / FILE).read_text("utf-8"))["usage"]
    except FileNotFoundError:
        return None
    return Home(Usage(**{**said, "largest": [(name, size) for name, size in said["largest"]]}), quota)


def warning(here: Instance, user: Any) -> str:
    """What the hub's pages tell whoever looks at them (None: nobody has logged in) of their home; nothing while there is room."""
    home = known(here, user.name) if user else None
    return home.warning if home else ""


async def now(here: Instance, user: str) -> Home | None:
    """How full a home is, looked at now; as it was known where that takes too long or cannot be done."""
    if here.settings.hub.home_quota is None:
        return None
    try:
        await asyncio.wait_for(asyncio.to_thread(_look, here, user), 2 * _NOW_S)
    except (OSError, TimeoutError, *UNKNOWN) as error:
        log.warning("the home of %s could not be measured (%s); what was known counts", user, error or type(error).__name__)
    return known(here, user)


def _look(here: Instance, user: str) -> None:
    if missing(here.found.gateway):
        return
    home = Home(measure(_made(here, user), _NOW_S), here.settings.hub.home_quota or 0)
    if home.usage.whole or home.is_full:
        _note(_told(here, safe_name(user)), home)


def limit(here: Instance, user: str) -> str | None:
    """Give a home, that nobody works in now, the hard limit that its file system can keep; why it has none though it should."""
    quota = here.settings.hub.home_quota
    if quota is None or missing(here.found.gateway):
        return None
    try:
        home_limits.put(_made(here, user), volume(here, user), quota)
    except (OSError, home_limits.HomeLimitError, *UNKNOWN) as error:
        return str(error)
    return None


def told(here: Instance, user: str) -> Path:
    """A folder with one file, FILE, that tells how full a user's home is: their notebook sees it, read-only."""
    folder = _told(here, safe_name(user))
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    return folder


def _told(here: Instance, name: str) -> Path:
    return here.run / "homes" / name


def _note(folder: Path, home: Home) -> None:
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    write_private(folder / FILE, json.dumps({"usage": asdict(home.usage), "warning": home.warning}))
    (folder / FILE).chmod(0o644)  # the container's user is another one; others do not get as far as this folder


class Measuring:
    """Looks at all homes, one after the other, and remembers of which it has said that they cannot be read, or are high."""

    def __init__(self, here: Instance, quota_bytes: int) -> None:
        self._here, self._quota = here, quota_bytes
        self._said: dict[str, str] = {}

    def round(self, stop: threading.Event) -> None:
        for name, place in places(self._here).items():
            if stop.is_set():
                return
            try:
                usage = measure(place, _WITHIN_S)
            except OSError as error:
                self._say(name, f"cannot be measured: {error}")
                continue
            home = Home(usage, self._quota)
            _note(_told(self._here, name), home)
            self._say(name, f"holds more than {_HIGH:.0%} of its quota" if home.is_high else "")

    def _say(self, name: str, said: str) -> None:
        if said and said != self._said.get(name):
            log.warning("the home %s %s", name, said)
        self._said[name] = said


def main() -> None:
    log_plainly()
    stop = told_to_stop()
    here = current()
    quota = here.settings.hub.home_quota
    if quota is None:
        raise SystemExit("There is no hub.home_quota, and so nothing to do.")
    os.nice(19)
    psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)
    measuring, took = Measuring(here, quota), 0.0
    log.info("each home may hold %s", size_text(quota))
    while True:
        started = time.monotonic()
        try:
            measuring.round(stop)
        except UNKNOWN as error:
            log.warning("the engine does not say where homes are (%s); the next look is due", error)
        took = time.monotonic() - started
        if stop.wait(max(_PAUSE_S, 9 * took)):
            return


if __name__ == "__main__":
    main()
