"""Traefik in front of everything: the public page, the store's S3 beside it, and a narrow door for notebooks in containers.

Law: the hub writes routes of its own into `rules.yml`; what stands in `neve.yml` is ours and never changes while we run. Where
notebooks are containers, their bridge gets its own entry points: the hub's API, the archiver and S3 are reached there, no more.
"""

from __future__ import annotations

import json
import secrets
import shutil
from pathlib import Path
from typing import Any

import bcrypt
from neve.private import write_private

from neve_hub.instance import Instance

ENTRYPOINT = "web"


def folder(here: Instance) -> Path:
    return here.run / "traefik"


def rules(here: Instance) -> Path:
    return folder(here) / "routes" / "rules.toml"


def token(here: Instance) -> tuple[str, str]:
    """Password of Traefik's API for the hub, and its hash: few rounds, as 32 random bytes need no slowing down, and each look costs one."""
    path = here.secrets / "proxy-token"
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32))
    password = path.read_text("utf-8")
    return password, bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


def _entrypoint(address: str) -> dict[str, Any]:
    return {
        "address": address,
        # Uploads and notebooks' sockets last longer than Traefik's default of a minute.
        "transport": {"respondingTimeouts": {"readTimeout": "0s", "writeTimeout": "0s", "idleTimeout": "180s"}},
        # An S3 key may hold `//`, `..` and any encoded character; S3 signs the path as it stands.
        "http": {
            "sanitizePath": False,
            "aliasHeadersStrategy": "delete",
            "encodedCharacters": {
                f"allowEncoded{name}": True for name in ("Slash", "BackSlash", "NullCharacter", "Semicolon", "Percent", "QuestionMark", "Hash")
            },
        },
    }


def configure(here: Instance, gateway: str | None) -> None:
    """Write both of Traefik's files; JSON is YAML. Routes of an earlier run are forgotten, the hub writes them anew."""
    public = {ENTRYPOINT: _entrypoint(f"{here.bind}:{here.port}"), "s3": _entrypoint(f"{here.bind}:{here.s3_public_port}")}
    private = {"auth_api": {"address": f"127.0.0.1:{here.proxy_api_port}", "http": {"aliasHeadersStrategy": "delete"}}}
    routers: dict[str, Any] = {"s3": {"entryPoints": ["s3"], "rule": "PathPrefix(`/`)", "service": "s3"}}
    # A page that listens on all addresses has taken the bridge's as well: there the public entry points serve containers too.
    if gateway and not here.binds_all:
        private |= {"notebooks": _entrypoint(f"{gateway}:{here.port}"), "s3notebooks": _entrypoint(f"{gateway}:{here.s3_public_port}")}
        routers["s3"]["entryPoints"].append("s3notebooks")
        routers["notebooks-archiver"] = {
            "entryPoints": ["notebooks"],
            "rule": f"PathPrefix(`{here.api_path}`)",
            "service": "archiver",
        }
        routers["notebooks-hub"] = {"entryPoints": ["notebooks"], "rule": "PathPrefix(`/hub/api`)", "service": "hub"}
    targets = {"s3": here.settings.store.endpoint_url, "archiver": here.api_url, "hub": here.hub_url}
    used = {router["service"] for router in routers.values()}
    services = {name: {"loadBalancer": {"servers": [{"url": url}]}} for name, url in targets.items() if name in used and url}
    if "s3" not in services:  # the store is not on this machine: AWS's own address needs no proxy
        routers.pop("s3")
    rules(here).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    rules(here).unlink(missing_ok=True)
    # An empty table is an error to Traefik.
    write_private(rules(here).parent / "neve.yml", json.dumps({"http": {"routers": routers, "services": services}} if routers else {}))
    static = {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "log": {"level": "WARN", "noColor": True},
        "api": {},
        "providers": {"providersThrottleDuration": "0s", "file": {"directory": str(rules(here).parent), "watch": True}},
        "entryPoints": {**public, **private},
    }
    write_private(folder(here) / "traefik.yml", json.dumps(static))


def command(here: Instance) -> list[str]:
    return [shutil.which("traefik") or "traefik", f"--configfile={folder(here) / 'traefik.yml'}"]
