"""A full home starts no notebook, but the rescue server: the same home, where things can be looked at and deleted, and nothing can be written.

Law: whether a home is full is found out at the start itself, so that who has made room need not wait. In the rescue server no file can grow by a byte
(RLIMIT_FSIZE of 0, set from outside), no kernel starts, there is no /data, and what is deleted is gone: a trash would keep it in the full home.
"""

from __future__ import annotations

import asyncio
from html import escape
from typing import Any

from docker.types import Ulimit
from jupyterhub.spawner import SpawnException

from archiver.sections import HubSettings
from neve_hub import homes, profiles

OPTION = "rescue"
ENVIRONMENT = "NEVE_RESCUE"  # tells the server in it what it is; what it may is enforced from outside
_CPUS = 1.0
_MEMORY = "768M"
_STEP = "It has the file browser and terminals, and nothing can be written in it; what is deleted there is gone at once, without a trash."
_AFTER = "When there is room, stop it (File → Hub Control Panel) and start your notebook."


async def form(spawner: Any) -> str:
    """What the start page asks: of a full home whether to start the rescue server; else for a profile, where there are some."""
    here = spawner.here
    home = await homes.now(here, spawner.user.name)
    if home is None or not home.is_full:
        return profiles.form(spawner) if here.found.gateway and here.settings.hub.profiles else ""
    return (
        '<div class="alert alert-danger" id="home-full"><h2 class="h4">Your home is full</h2>'
        f"<p>{escape(home.sentence)}</p><p>No notebook starts until something is deleted. “Start” starts the rescue server. "
        f'{_STEP} {_AFTER}</p></div><input type="hidden" name="{OPTION}" value="1">'
    )


def from_form(form_data: dict[str, list[str]]) -> dict[str, Any]:
    return {OPTION: True} if form_data.get(OPTION) else {**profiles.from_form(form_data)}


def apply(spawner: Any, options: dict[str, Any]) -> None:
    """Make the next start what was asked for: the rescue server, or a notebook."""
    here = spawner.here
    hub: HubSettings = here.settings.hub
    spawner.rescue = options.get(OPTION) is True and hub.home_quota is not None
    if spawner.rescue:
        # The hub keeps what was asked for, to start with it again: the next start is a notebook's.
        spawner.orm_spawner.user_options = {name: value for name, value in options.items() if name != OPTION}
    if here.found.gateway is None:
        return
    without = {name: value for name, value in spawner.extra_host_config.items() if name != "ulimits"}
    if spawner.rescue:
        spawner.image, spawner.cpu_limit, spawner.mem_limit = hub.image, _CPUS, _MEMORY
        spawner.extra_host_config = {**without, "ulimits": [Ulimit(name="fsize", soft=0, hard=0)]}
    else:
        spawner.image, spawner.cpu_limit, spawner.mem_limit = hub.image, hub.cpu_limit, hub.memory_limit
        spawner.extra_host_config = without
        profiles.apply(spawner, options)


async def admit(spawner: Any) -> None:
    """Let a start go on, and give its home the limit that the file system keeps. Raises `SpawnException` where the home is full."""
    here, user = spawner.here, spawner.user.name
    if here.settings.hub.home_quota is None or spawner.rescue:
        return
    home = await homes.now(here, user)
    if home is not None and home.is_full:
        sentence = f"{home.sentence} It is full, so no notebook starts. Start the rescue server (on the start page, or with the option {OPTION})."
        failure = SpawnException(sentence, reason="home-full", log_message=f"{user}: {sentence}", status_code=503)
        failure.jupyterhub_message = f"{sentence} {_STEP} {_AFTER}"
        raise failure
    if unlimited := await asyncio.to_thread(homes.limit, here, user):
        spawner.log.warning("the home of %s has no hard limit: %s", user, unlimited)
