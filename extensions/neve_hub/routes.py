"""The hub's routes as Traefik takes them.

Law: whatever a person's name holds, their route leads to their server and nowhere else. Traefik compares a path whose percent-encodings are
decoded but for those of reserved characters (RFC 3986), and reads a rule as an expression, in which a backtick would end a name and begin
another rule: written by the proxy's own library, a name with brackets is never found, and one with backticks takes everybody's requests.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote

from jupyterhub_traefik_proxy.fileprovider import TraefikFileProviderProxy

_RESERVED = re.compile(r"[%!$&'()*+,;=:?#\[\]]")  # but for / and @, which the hub writes as they are


def rule(routespec: str) -> str:
    """Traefik's rule for all below a path that the hub serves, with its last slash or without."""
    path = _RESERVED.sub(lambda found: f"%{ord(found[0]):02X}", unquote(routespec))
    places = [f"PathPrefix({_text(path)})", *([f"Path({_text(path.rstrip('/'))})"] if path != "/" else [])]
    return " || ".join(places)


def _text(text: str) -> str:
    """A text in an expression of Go, quoted so that nothing in it can end it."""
    return json.dumps(text, ensure_ascii=False)


class Routes(TraefikFileProviderProxy):
    """The file provider, with rules of ours."""

    def _dynamic_config_for_route(self, routespec: str, target: str, data: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        traefik, hub = super()._dynamic_config_for_route(routespec, target, data)
        for router in traefik["http"]["routers"].values():
            router["rule"] = rule(routespec)
        return traefik, hub
