"""What the hub says about the archiver: a service in its menu, its scopes, and which roles hold them.

Law: a notebook may do in the archiver what its user may do there, in that user's projects, and nothing as an admin.
"""

from __future__ import annotations

import json
from typing import Any

from neve_hub import asking
from neve_hub.instance import Instance, secret
from neve_hub.passwords import Passwords

SCOPES = {
    "custom:archiver:read": {"description": "See datasets of one's own projects and read them"},
    "custom:archiver:restore": {"description": "Ask for datasets of one's own projects to come back to hot"},
    "custom:archiver:ingest": {"description": "Add datasets to one's own projects"},
    "custom:archiver:admin": {"description": "See every project, and administer the archiver"},
}
_ACCESS = ["access:services!service=archiver", "custom:archiver:read", "custom:archiver:restore", "custom:archiver:ingest"]
# The archiver asks the hub with the caller's own token who that is; groups are projects.
_WHO = ["read:users:name!user", "read:users:groups!user"]


def services(here: Instance) -> list[dict[str, Any]]:
    """External services: they run beside the hub, and neither takes the other down."""
    archiver = {
        "name": "archiver",
        "url": here.api_url,
        "api_token": secret(here, "hub-token"),
        "display": True,
        "timeout": 1,  # it may come up later: the hub adds its route all the same, and its login page must not wait
        "oauth_no_confirm": True,  # the same people run both; a page that asks would teach them to click it away
        "oauth_client_allowed_scopes": [*_ACCESS, "custom:archiver:admin", *_WHO],
    }
    # With it the hub and what mounts /data ask the archiver what all may know; it is a member of no project.
    reader = {"name": "reader", "api_token": secret(here, asking.TOKEN), "display": False}
    return [archiver, reader]


def roles(here: Instance) -> list[dict[str, Any]]:
    """`user` and `server` as the hub has them, plus the archiver; so do the hub admins of the first start, or of the provider."""
    login = here.settings.login
    admins = {"groups": login.admin_groups} if login.issuer else {"users": sorted(Passwords(here.passwords).admins())}
    return [
        {"name": "user", "scopes": ["self", *_ACCESS]},
        {"name": "server", "scopes": ["users:activity!user", "access:servers!server", *_ACCESS, *_WHO]},
        # To whom notices go: a project's members, the hub's admins. It reads names, and changes nothing.
        {"name": "archiver-notices", "scopes": ["read:groups", "list:users"], "services": ["archiver"]},
        {"name": "reader", "scopes": ["access:services!service=archiver", "custom:archiver:read"], "services": ["reader"]},
        {"name": "archiver-admin", "scopes": ["custom:archiver:admin"], **admins},
    ]


def groups(here: Instance) -> dict[str, dict[str, list[str]]]:
    """Members of the first projects, as `neve-run` wrote them, until the hub has a database; from then on the admin page says who is in.

    Where a provider says who somebody is, it alone says of which project too.
    """
    seed = here.home / "hub" / "groups.json"
    if here.settings.login.issuer or (here.home / "hub" / "jupyterhub.sqlite").exists() or not seed.exists():
        return {}
    return {project: {"users": users} for project, users in json.loads(seed.read_text("utf-8")).items()}
