"""What a person may choose between when their notebook starts: image, CPUs, memory, GPUs, as `[hub.profiles.NAME]` says.

Law: a person names a profile, and nothing else; what it means is read from the settings at each start. A name that is not there starts nothing.
"""

from __future__ import annotations

from html import escape
from typing import Any

from docker.types import DeviceRequest
from tornado.web import HTTPError

from archiver.sections import HubSettings, ProfileSettings

_OPTION = "profile"


def form(spawner: Any) -> str:
    """The start page's form; the last choice is chosen, at first the first."""
    hub: HubSettings = spawner.here.settings.hub
    last = spawner.user_options.get(_OPTION)
    chosen = last if last in hub.profiles else next(iter(hub.profiles))
    rows = [_row(hub, name, profile, chosen=name == chosen) for name, profile in hub.profiles.items()]
    return '<fieldset><legend class="h5">Your notebook</legend>' + "".join(rows) + "</fieldset>"


def _row(hub: HubSettings, name: str, profile: ProfileSettings, *, chosen: bool) -> str:
    limits = [f"{profile.cpu_limit or hub.cpu_limit:g} CPUs", f"{profile.memory_limit or hub.memory_limit} memory"]
    limits += [f"{profile.gpus} GPUs"] if profile.gpus else []
    words = " · ".join([*([profile.description] if profile.description else []), *limits])
    id_ = f"profile-{escape(name)}"
    return (
        f'<div class="form-check mb-2"><input class="form-check-input" type="radio" name="{_OPTION}" id="{id_}" value="{escape(name)}"'
        f'{" checked" if chosen else ""} required><label class="form-check-label" for="{id_}"><strong>{escape(name)}</strong><br>'
        f"<small>{escape(words)}</small></label></div>"
    )


def from_form(form_data: dict[str, list[str]]) -> dict[str, str]:
    return {_OPTION: form_data[_OPTION][0]} if form_data.get(_OPTION) else {}


def apply(spawner: Any, options: dict[str, Any]) -> None:
    """Give the spawner what the chosen profile says, or the first one where none was chosen. Raises `HTTPError` 400."""
    hub: HubSettings = spawner.here.settings.hub
    name = options.get(_OPTION) or next(iter(hub.profiles), None)
    if name is None:
        return
    if not isinstance(name, str) or name not in hub.profiles:
        # The hub keeps what was asked for, to start with it again: a profile that has gone would be refused for ever.
        spawner.orm_spawner.user_options = {}
        there = f"There are: {', '.join(hub.profiles)}." if hub.profiles else "Start without one."
        raise HTTPError(400, f"There is no notebook profile {str(name)[:50]!r} here. {there}")
    profile = hub.profiles[name]
    spawner.image = profile.image or hub.image
    spawner.cpu_limit = profile.cpu_limit or hub.cpu_limit
    spawner.mem_limit = profile.memory_limit or hub.memory_limit
    gpus = {"device_requests": [DeviceRequest(count=profile.gpus, capabilities=[["gpu"]])]} if profile.gpus else {}
    spawner.extra_host_config = {**{k: v for k, v in spawner.extra_host_config.items() if k != "device_requests"}, **gpus}
