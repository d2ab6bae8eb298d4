"""Who asks: a hub token becomes an `Identity` with its projects and scopes.

Law: the hub alone says who somebody is; its answer is kept for `api.identity_seconds` at most, so that a revoked token or group ends
soon. A right counts only if the token carries its scope. A hub admin sees every project when signed in as a person, not through
a notebook's token, which does in the archiver what its user may do in that user's projects and nothing more.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar
from urllib.parse import urlencode, urlsplit

from jupyterhub.httpclient import JupyterHubHTTPClient
from jupyterhub.services.auth import HubOAuth, check_scopes
from tornado.web import HTTPError

from archiver import people
from archiver.errors import HubUnavailable, NotAllowed, NotSignedIn
from archiver.sections import ApiSettings

log = logging.getLogger(__name__)

T = TypeVar("T")

ACCESS = "access:services!service=archiver"
READ = "custom:archiver:read"
RESTORE = "custom:archiver:restore"
INGEST = "custom:archiver:ingest"
ADMIN = "custom:archiver:admin"
SCOPES = (READ, RESTORE, INGEST, ADMIN)

_CLIENT_ID = "service-archiver"
_ANSWER_WITHIN_S = 10
_HEADER = re.compile(r"(?:bearer|token)[ ]+([A-Za-z0-9._~+/=-]{1,2048})[ ]*", re.IGNORECASE)
# Only the token of a person who is a hub admin, unnarrowed, carries it: a notebook's never does.
_WHOLE_ADMIN = "admin:users"


@dataclass(frozen=True)
class Identity:
    """Who asks. `name` is the hub's user name, for a hub service `service/NAME` (no user name has a slash).

    `projects`: names of the groups, each of which is a project if the ledger knows one of that name; None: every project.
    `scopes`: those of ours that the token carries. `public`: projects whose data all who are signed in may read.
    """

    name: str
    admin: bool
    projects: tuple[str, ...] | None
    scopes: frozenset[str]
    kind: Literal["user", "service"]
    public: tuple[str, ...] = ()

    @property
    def readable(self) -> tuple[str, ...] | None:
        """Projects whose data may be read: one's own and what is public; None: every project."""
        return None if self.projects is None else tuple(dict.fromkeys((*self.projects, *self.public)))

    def sees(self, project: str) -> bool:
        """Whether this project's data may be shown."""
        return self.belongs(project) or project in self.public

    def belongs(self, project: str) -> bool:
        """Whether it is one of one's own projects, of which one may say and change something."""
        return self.projects is None or project in self.projects

    def need(self, scope: str) -> None:
        """Raise `NotAllowed` unless the token carries `scope`."""
        if scope not in self.scopes:
            raise NotAllowed(
                f"This needs the scope {scope}, which this token of {self.name} does not carry.",
                "Use a token that has it, or ask an admin of the hub for the role that gives it.",
            )


class Hub(Protocol):
    """What the archiver asks the hub."""

    @property
    def home_url(self) -> str:
        """The hub's home page, as a browser sees it."""

    @property
    def logout_url(self) -> str:
        """Where a browser ends its session with the hub."""

    def who(self, token: str, *, session_id: str = "", browser: bool = False) -> Identity:
        """Whose token this is; `browser`: it was got by signing in here. Raises `NotSignedIn`, `NotAllowed`, `HubUnavailable`."""

    def sign_in(self, state: str) -> tuple[str, str]:
        """The address where a browser signs in, and the secret with which its code is redeemed."""

    def redeem(self, code: str, secret: str) -> str:
        """The token for the code that a sign-in brought back. Raises `NotSignedIn`, `HubUnavailable`."""

    def close(self) -> None:
        """End all connections."""


def bearer(header: str | None) -> str:
    """The token in an Authorization header (`Bearer …` or, as the hub writes it, `token …`). Raises `NotSignedIn`."""
    found = _HEADER.fullmatch((header or "").strip())
    if found is None:
        raise NotSignedIn(
            "The request carries no token." if not header else "The Authorization header holds no token.",
            "Send the header `Authorization: Bearer TOKEN` with a token of the hub; notebooks have one in $JUPYTERHUB_API_TOKEN.",
        )
    return found[1]


def identity(model: Mapping[str, Any], *, browser: bool) -> Identity:
    """Read the hub's answer about a token. Raises `NotAllowed` when the token may not use the archiver at all."""
    given = set(model.get("scopes") or ())
    kind: Literal["user", "service"] = "service" if model.get("kind") == "service" else "user"
    name = f"service/{model['name']}" if kind == "service" else str(model["name"])
    if not check_scopes({ACCESS}, given):
        raise NotAllowed(
            f"This token of {name} may not use the archiver.",
            f"Use a token with the scope {ACCESS}, or ask an admin of the hub for the role that gives it.",
        )
    scopes = frozenset(scope for scope in SCOPES if check_scopes({scope}, given))
    admin = ADMIN in scopes or (bool(model.get("admin")) and (browser or _WHOLE_ADMIN in given))
    groups = tuple(sorted(str(group) for group in model.get("groups") or ()))
    return Identity(name, admin, None if admin else groups, scopes, kind)


class JupyterHub:
    """The real hub, through its own `HubOAuth`, in a thread with an event loop: requests wait beside each other, each with a deadline."""

    def __init__(self, settings: ApiSettings) -> None:
        hub_prefix = urlsplit(settings.hub_api_url).path.rstrip("/").removesuffix("api")
        self._oauth = HubOAuth(
            api_url=settings.hub_api_url.rstrip("/"),
            api_token=people.own_token(settings),
            base_url=settings.prefix,
            hub_prefix=hub_prefix,
            hub_host="",
            oauth_client_id=_CLIENT_ID,
            oauth_redirect_uri=f"{settings.prefix}oauth_callback",
            oauth_authorization_url=f"{hub_prefix}api/oauth2/authorize",
            cache_max_age=settings.identity_seconds,
            access_scopes={ACCESS},
        )
        self._hub_prefix = hub_prefix
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="hub", daemon=True)
        self._thread.start()

    @property
    def home_url(self) -> str:
        return f"{self._hub_prefix}home"

    @property
    def logout_url(self) -> str:
        return f"{self._hub_prefix}logout"

    def who(self, token: str, *, session_id: str = "", browser: bool = False) -> Identity:
        model = self._ask(self._oauth.user_for_token(token, session_id=session_id, sync=False))
        if model is None:
            raise NotSignedIn("The hub does not know this token (any more).", "Get a new one on the hub's page “Token”, or restart your server.")
        return identity(model, browser=browser)

    def sign_in(self, state: str) -> tuple[str, str]:
        verifier, challenge, method = self._oauth.generate_pkce_code_challenge()
        asked = urlencode({"state": state, "code_challenge": challenge, "code_challenge_method": method})
        return f"{self._oauth.login_url}&{asked}", verifier

    def redeem(self, code: str, secret: str) -> str:
        return str(self._ask(self._oauth.token_for_code(code, code_verifier=secret, sync=False)))

    def _ask(self, question: Coroutine[Any, Any, T]) -> T:
        try:
            return asyncio.run_coroutine_threadsafe(asyncio.wait_for(question, _ANSWER_WITHIN_S), self._loop).result()
        except (HTTPError, TimeoutError) as error:
            log.warning("the hub at %s: %s", self._oauth.api_url, error or type(error).__name__)
            raise HubUnavailable(
                "The hub did not say who this is.", "Try again in a moment; an admin finds the reason in the archiver's log."
            ) from error

    def close(self) -> None:
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(_end_connections(), self._loop).result(_ANSWER_WITHIN_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_ANSWER_WITHIN_S)
        self._loop.close()


async def _end_connections() -> None:
    await JupyterHubHTTPClient.loop_instance().close()
