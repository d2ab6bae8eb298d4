"""Notebook servers that nobody uses are stopped: jupyterhub-idle-culler, beside the hub. `python -m neve_hub.idle`.

Law: what counts as use, the notebook's server says (`neve.presence`); this sees when that was and stops servers, and may do nothing else.
"""

from __future__ import annotations

import os
from typing import Any

from neve_hub.instance import Instance, current, secret

NAME = "idle-culler"
TOKEN = "idle-culler-token"  # noqa: S105 - a file's name
# Reports in the time after which a server stops: a use that is seen a report late, told a report late and noted a report late is in time.
_REPORTS = 4
_REPORT_S = 300
_RESOLUTION_S = 30
_LOOK_S = 600


def stops(here: Instance) -> bool:
    return bool(here.settings.hub.cull_idle)


def report_s(here: Instance) -> int:
    """How often a notebook's server tells the hub of its activity."""
    idle_s = here.settings.hub.cull_idle.total_seconds()
    return int(min(_REPORT_S, idle_s / _REPORTS)) if idle_s else _REPORT_S


def resolution_s(here: Instance) -> int:
    """How much later than its last one an activity must be for the hub to note it; 30 s as the hub has it, or less."""
    return min(_RESOLUTION_S, report_s(here))


def services(here: Instance) -> list[dict[str, Any]]:
    return [{"name": NAME, "api_token": secret(here, TOKEN), "display": False}] if stops(here) else []


def roles(here: Instance) -> list[dict[str, Any]]:
    scopes = ["list:users", "read:users:activity", "read:servers", "delete:servers"]
    return [{"name": NAME, "scopes": scopes, "services": [NAME]}] if stops(here) else []


def main() -> None:
    here = current()
    os.environ["JUPYTERHUB_API_TOKEN"] = secret(here, TOKEN)
    from jupyterhub_idle_culler import IdleCuller  # noqa: PLC0415 - the hub, which imports this module, does without

    idle_s = int(here.settings.hub.cull_idle.total_seconds())
    look_s = max(1, min(_LOOK_S, idle_s // _REPORTS))
    # "--config=": else it would execute a file of the working folder.
    IdleCuller.launch_instance([f"--url={here.hub_url}/hub/api", f"--timeout={idle_s}", f"--cull-every={look_s}", "--config="])


if __name__ == "__main__":
    main()
