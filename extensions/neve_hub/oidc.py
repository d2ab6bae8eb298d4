"""Who gets in by the facility's own login: an OpenID Connect provider says who somebody is and in which groups; groups are projects.

Law: membership comes from the provider alone and is asked again while people work. Whoever it names in none of the allowed groups gets in
nowhere, and what they had ends; a provider that does not answer changes nothing for those who are in, and lets nobody in. A name is taken
exactly as the provider writes it, and belongs for good to the first person (`sub`) who came with it. Sources: OpenID Connect Core 1.0
(2, 3.1.3.7, 5.3.2), Discovery 1.0, RP-Initiated Logout 1.0.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections import defaultdict
from contextvars import ContextVar
from functools import reduce
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import jwt
from neve.private import write_private
from oauthenticator.generic import GenericOAuthenticator
from oauthenticator.oauth2 import OAuthLoginHandler, OAuthLogoutHandler
from tornado.httpclient import HTTPClientError
from tornado.web import HTTPError
from traitlets import Bool, Unicode

from archiver.errors import WrongSetting
from neve_hub import stopped
from neve_hub.instance import Instance, secret
from neve_hub.names import AsWritten, is_name

_WELL_KNOWN = "/.well-known/openid-configuration"
_NEEDED = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint")
_ANSWER_WITHIN_S = 10.0
_LONGEST_GROUP = 255  # of the hub's table
_CHECKED: Any = {"verify_signature": False, "verify_exp": True, "verify_aud": True, "verify_iss": True, "require": ["exp", "aud", "iss", "sub"]}
_unheard: ContextVar[bool] = ContextVar("unheard", default=False)


def _document(here: Instance) -> Path:
    return here.home / "hub" / "provider.json"


def _issuer(here: Instance) -> str:
    return str(here.settings.login.issuer).rstrip("/")


def discover(here: Instance) -> str | None:
    """Ask the provider where its parts are, and keep the answer: with it the hub starts while the provider is away.

    Returns a sentence when it is, and an earlier answer serves. Raises `WrongSetting`.
    """
    issuer = _issuer(here)
    try:
        answer = httpx.get(issuer + _WELL_KNOWN, timeout=_ANSWER_WITHIN_S, follow_redirects=True)
        said = answer.raise_for_status().json()
        whole = isinstance(said, dict) and all(isinstance(said.get(name), str) for name in ("issuer", *_NEEDED))
    except (httpx.HTTPError, ValueError) as error:
        if _known(here):
            return f"the login service {issuer} does not answer ({error}): nobody can log in until it does"
        raise WrongSetting(
            f"login.issuer: {issuer}{_WELL_KNOWN} does not answer ({error}).", "Mend the address, or see that the service runs."
        ) from None
    if not whole or said["issuer"].rstrip("/") != issuer:
        raise WrongSetting(
            f"login.issuer: {issuer}{_WELL_KNOWN} is not this issuer's OpenID Connect document.", "Write the issuer as the service does."
        )
    write_private(_document(here), json.dumps(said))
    return None


def _known(here: Instance) -> dict[str, Any] | None:
    """The provider's own description, as it was kept."""
    try:
        said: dict[str, Any] = json.loads(_document(here).read_text("utf-8"))
    except FileNotFoundError:
        return None
    return said if said["issuer"].rstrip("/") == _issuer(here) else None


def configure(c: Any, here: Instance) -> None:
    """The hub's wiring where [login] names an issuer."""
    login = here.settings.login
    at = _known(here)
    if at is None or login.client_secret_file is None:
        raise WrongSetting("login.issuer was never asked where its parts are.", "Start with `neve-run`, which does.")
    c.JupyterHub.authenticator_class = ProviderAuthenticator
    c.CryptKeeper.keys = [secret(here, "hub-crypt-key")]
    provider = c.ProviderAuthenticator
    provider.issuer = at["issuer"]
    provider.authorize_url, provider.token_url, provider.userdata_url = (at[name] for name in _NEEDED)
    provider.end_session_url = at.get("end_session_endpoint", "") if login.logout else ""
    provider.client_id = login.client_id
    provider.client_secret = login.client_secret_file.read_text("utf-8").strip()
    provider.basic_auth = "client_secret_basic" in at.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    provider.enable_pkce = True
    provider.enable_auth_state = True
    provider.manage_groups = True
    provider.scope = list(login.scopes)
    provider.login_service = login.name
    provider.username_claim = login.username_claim
    provider.groups_claim = login.groups_claim
    provider.group_pattern = login.group_pattern
    provider.groups_from_id_token = login.groups_from == "id-token"
    provider.allowed_groups = set(login.allowed_groups)
    provider.admin_groups = set(login.admin_groups)
    provider.auth_refresh_age = max(1, int(login.refresh.total_seconds()))
    provider.custom_403_message = (
        f"{login.name} knows you, but you are in no group that may work here. Ask the facility's user office to add you to your proposal's group, "
        "then log in again."
    )


class _LoginHandler(OAuthLoginHandler):
    async def get(self) -> None:
        """A provider that is away is told of here, in words, not by the browser's own error page at another address."""
        await self.authenticator.see_provider()
        super().get()


class _LogoutHandler(OAuthLogoutHandler):
    async def render_logout_page(self) -> None:
        """Its session ends too: whoever is next at this computer is not let in as the one before."""
        ends_at = self.authenticator.end_session_url
        if not ends_at:
            await super().render_logout_page()
            return
        back = f"{self.request.protocol}://{self.request.host}{self.hub.base_url}login"
        asked = urlencode({"client_id": self.authenticator.client_id, "post_logout_redirect_uri": back})
        self.redirect(f"{ends_at}{'&' if '?' in ends_at else '?'}{asked}")


class ProviderAuthenticator(AsWritten, GenericOAuthenticator):
    """oauthenticator's generic one, with the law above."""

    def get_handlers(self, app: Any) -> list[tuple[str, type]]:
        return [*super().get_handlers(app), *stopped.HANDLERS]

    issuer = Unicode(config=True, help="The provider, as it names itself.")
    end_session_url = Unicode(config=True, help="Where its session ends; empty: it goes on after a logout here.")
    groups_claim = Unicode("groups", config=True, help="Where the groups stand; a dot goes into a claim.")
    groups_from_id_token = Bool(False, config=True, help="Groups stand in the ID token, not in what the provider says of a user.")
    group_pattern = Unicode("/?(.+)", config=True, help="What a group's name looks like; its first bracket that fits is the project.")

    login_handler = _LoginHandler
    logout_handler = _LogoutHandler

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._refreshing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._asked_at: dict[str, float] = {}

    # Names

    def user_info_to_username(self, user_info: dict[str, Any]) -> str:
        name = user_info.get(self.username_claim)
        if not isinstance(name, str) or not is_name(name):
            self.log.warning("%s says of somebody: %s = %r, which can be no user name", self.issuer, self.username_claim, name)
            raise HTTPError(
                403,
                f"{self.login_service} gives no user name that can be used here (its claim {self.username_claim}). Names are printable, "
                "without slash, and of 200 characters at most. Ask an admin to choose another claim (login.username_claim).",
            )
        return name

    # Groups

    async def get_user_groups(self, auth_state: dict[str, Any]) -> set[str]:
        """The projects of somebody's groups. Raises HTTP 403 where the provider left groups out."""
        said = auth_state[self.user_auth_state_key]
        root = self.groups_claim.partition(".")[0]
        if said.get("hasgroups") or root in (said.get("_claim_names") or {}):
            raise HTTPError(
                403,
                f"{self.login_service} left out your groups, because there are too many for it to tell: it cannot be seen which projects are yours. "
                "Ask an admin of the login service to send this application only the groups that belong to it.",
            )
        try:
            found = reduce(lambda claims, name: claims[name], self.groups_claim.split("."), said)
        except (KeyError, TypeError):
            self.log.warning("%s says nothing of %s: no groups", self.issuer, self.groups_claim)
            return set()
        groups = [found] if isinstance(found, str) else found if isinstance(found, list) else []
        fits = (re.fullmatch(self.group_pattern, group) for group in groups if isinstance(group, str))
        return {project for fit in fits if fit and is_name(project := next(filter(None, fit.groups()), ""), _LONGEST_GROUP)}

    async def update_auth_model(self, auth_model: dict[str, Any]) -> dict[str, Any]:
        auth_model["admin"] = False  # unless a group of theirs says so: the hub's own admin page does not
        return auth_model

    async def check_allowed(self, username: str, auth_model: dict[str, Any] | None) -> bool:
        """`*` among the allowed groups: whoever is in any."""
        if auth_model and "*" in self.allowed_groups and auth_model.get("groups"):
            return True
        return bool(await super().check_allowed(username, auth_model))

    # What the provider is asked

    async def token_to_user(self, token_info: dict[str, Any]) -> dict[str, Any]:
        said: dict[str, Any] = await super().token_to_user(token_info)
        if not self.groups_from_id_token:
            return said
        try:  # received from the provider itself, over TLS: its signature need not be looked at (3.1.3.7, 6)
            claims = jwt.decode(token_info.get("id_token", ""), audience=self.client_id, issuer=self.issuer, options=_CHECKED)
        except jwt.ExpiredSignatureError:
            raise HTTPClientError(401, "the ID token is over") from None  # a new one is asked for, with the groups of now
        except jwt.PyJWTError as error:
            raise HTTPError(
                403, f"{self.login_service} sent no ID token that can be read ({error}). Ask an admin to see its client's settings."
            ) from None
        if claims.get("sub") != said.get("sub"):
            raise HTTPError(403, f"{self.login_service} contradicts itself about who you are. Log out there, then log in again.")
        return {**said, **claims}

    async def httpfetch(self, url: str, label: str = "fetching", *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().httpfetch(url, label, *args, **kwargs)
        except HTTPClientError as error:
            if error.code < 500:
                raise
            away: Exception = error
        except (OSError, ValueError) as error:  # not there, or it answers what is no JSON
            away = error
        self.log.warning("the login service %s does not answer: %s", self.issuer, away)
        _unheard.set(True)
        raise HTTPError(503, f"{self.login_service} does not answer just now. Try again in a minute; whoever is logged in works on.") from away

    async def see_provider(self) -> None:
        """Raise HTTP 503 unless the provider answers."""
        await self.httpfetch(self.issuer.rstrip("/") + _WELL_KNOWN, "asking whether it is there", request_timeout=_ANSWER_WITHIN_S)

    # Logging in, and being asked about again

    async def authenticate(self, handler: Any, data: Any = None, **kwargs: Any) -> dict[str, Any]:
        auth_model: dict[str, Any] = await super().authenticate(handler, data, **kwargs)
        known = handler.find_user(auth_model["name"])
        before = await known.get_auth_state() if known else None
        if before and before[self.user_auth_state_key].get("sub") != auth_model["auth_state"][self.user_auth_state_key].get("sub"):
            self.log.warning("%r is the name of two people at %s: the second was refused", auth_model["name"], self.issuer)
            raise HTTPError(
                403,
                f"The name {auth_model['name']} belongs to another person here, who had it first. Ask an admin: with the former user "
                "deleted in the hub's admin page the name is free.",
            )
        return auth_model

    async def refresh_user(self, user: Any, handler: Any = None, **kwargs: Any) -> bool | dict[str, Any]:
        """Ask the provider again. One at a time for each user: a refresh token can often be used only once."""
        async with self._refreshing[user.name]:
            asked = _unheard.set(False)
            try:
                auth_model = await super().refresh_user(user, handler, **kwargs)
            except HTTPError as error:
                auth_model = False
                if error.status_code != 503:
                    self._lock_out(user, error.log_message or "")
            finally:
                away = _unheard.get()
                _unheard.reset(asked)
            if away and not auth_model:
                return True
            if isinstance(auth_model, dict):
                if not await self.check_allowed(user.name, auth_model):
                    self._lock_out(user, "they are in no allowed group any more")
                    return False
                # The next one in turn may hold no older token.
                await user.save_auth_state(auth_model["auth_state"])
            return auth_model

    async def ask_again(self, user: Any) -> None:
        """Ask about somebody who works without asking the hub anything: a kernel computes on while its browser is closed."""
        now = time.monotonic()
        if now - self._asked_at.get(user.name, -math.inf) < self.auth_refresh_age / 2:
            return
        self._asked_at[user.name] = now
        auth_model = await self.refresh_user(user)
        if isinstance(auth_model, dict):
            user.sync_groups(auth_model["groups"])
            user.admin = auth_model["admin"]
            user.db.commit()

    def _lock_out(self, user: Any, why: str) -> None:
        """End what somebody's groups gave, also to the tokens that are out: those the hub would let go on."""
        self.log.warning("%s loses all projects: %s", user.name, why)
        user.sync_groups([])
        user.admin = False
        user.db.commit()
