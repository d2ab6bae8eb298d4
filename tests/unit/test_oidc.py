"""Login at a provider, without one: settings, what is kept of its description, groups in the ID token (the whole thing: tests/hub/test_oidc.py)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from neve_hub import oidc
from neve_hub.instance import Instance
from tornado.httpclient import HTTPClientError
from tornado.web import HTTPError
from traitlets.config import Config

from archiver.config import exactly
from archiver.errors import WrongSetting

ISSUER = "https://login.lab.example/realms/lab"
DOCUMENT = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/auth",
    "token_endpoint": f"{ISSUER}/token",
    "userinfo_endpoint": f"{ISSUER}/userinfo",
    "end_session_endpoint": f"{ISSUER}/logout",
    "token_endpoint_auth_methods_supported": ["client_secret_post"],
}


def settings(folder: Path, **login: Any) -> Any:
    return exactly({"home": str(folder), "login": {"issuer": ISSUER, "client_secret_file": "s", "allowed_groups": ["snow"], **login}}, "test")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"issuer": "http://login.lab.example"}, "login.issuer"),
        ({"client_secret_file": None}, "issuer needs client_secret_file"),
        ({"allowed_groups": []}, "or nobody would get in"),
        ({"group_pattern": "neve-.+"}, "has no bracket"),
        ({"group_pattern": "("}, "is no regular expression"),
        ({"refresh": "PT0S"}, "login.refresh"),
        ({"password": "x"}, "login.password"),
    ],
)
def test_settings_that_would_let_in_nobody_or_anybody_stop_the_start(tmp_path: Path, wrong: dict[str, Any], words: str):
    with pytest.raises(WrongSetting, match=words):
        settings(tmp_path, **wrong)


@pytest.fixture
def provider_says(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """What the provider's address answers: a document, or an error."""

    def say(what: Any) -> None:
        def get(url: str, **_: Any) -> httpx.Response:
            if isinstance(what, Exception):
                raise what
            return httpx.Response(200, text=what if isinstance(what, str) else json.dumps(what), request=httpx.Request("GET", url))

        monkeypatch.setattr(httpx, "get", get)

    return say


def test_the_hub_starts_while_the_provider_is_away_if_it_was_ever_asked(tmp_path: Path, provider_says: Callable[[Any], None]):
    here = Instance(settings(tmp_path))
    away = httpx.ConnectError("no route")
    provider_says(away)
    with pytest.raises(WrongSetting, match="does not answer"):
        oidc.discover(here)
    provider_says(DOCUMENT)
    assert oidc.discover(here) is None
    provider_says(away)
    assert "nobody can log in until it does" in (oidc.discover(here) or "")
    elsewhere = Instance(settings(tmp_path, issuer="https://other.example"))
    with pytest.raises(WrongSetting, match="does not answer"):
        oidc.discover(elsewhere)  # what is kept is another provider's


@pytest.mark.parametrize("said", ["<html>", [], {}, {**DOCUMENT, "issuer": "https://evil.example"}, {**DOCUMENT, "token_endpoint": None}])
def test_what_is_no_description_of_this_issuer_is_refused(tmp_path: Path, provider_says: Callable[[Any], None], said: Any):
    provider_says(said)
    with pytest.raises(WrongSetting, match=r"login\.issuer"):
        oidc.discover(Instance(settings(tmp_path)))
    assert not (tmp_path / "hub" / "provider.json").exists()


@pytest.fixture
def authenticator(tmp_path: Path, provider_says: Callable[[Any], None]) -> oidc.ProviderAuthenticator:
    """As the hub makes it of settings whose groups stand in the ID token, below a claim, as paths."""
    (tmp_path / "s").write_text("secret\n")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "hub-crypt-key").write_text("0" * 64)
    here = Instance(
        settings(
            tmp_path,
            client_secret_file=str(tmp_path / "s"),
            groups_from="id-token",
            groups_claim="lab.groups",
            group_pattern="/proposals/([a-z0-9-]+)|/(staff)",
        )
    )
    provider_says(DOCUMENT)
    oidc.discover(here)
    config = Config()
    oidc.configure(config, here)
    return oidc.ProviderAuthenticator(config=config)


def id_token(**claims: Any) -> str:
    said = {"iss": ISSUER, "aud": "neve", "sub": "1", "exp": time.time() + 60, "lab": {"groups": ["/proposals/snow", "/staff", "/proposals/a/b"]}}
    return jwt.encode({**said, **claims}, "x" * 32)


def asked(authenticator: oidc.ProviderAuthenticator, monkeypatch: pytest.MonkeyPatch, token: str | None, sub: str = "1") -> dict[str, Any]:
    async def httpfetch(*_: Any, **__: Any) -> dict[str, Any]:
        return {"sub": sub, "preferred_username": "alice"}

    monkeypatch.setattr(authenticator, "httpfetch", httpfetch)
    token_info = {"access_token": "a", "token_type": "Bearer", **({} if token is None else {"id_token": token})}
    return asyncio.run(authenticator._token_to_auth_model(token_info))


def test_groups_of_the_id_token(authenticator: oidc.ProviderAuthenticator, monkeypatch: pytest.MonkeyPatch):
    assert authenticator.client_secret == "secret" and authenticator.basic_auth is False and authenticator.enable_pkce is True
    found = asked(authenticator, monkeypatch, id_token())
    assert (found["name"], found["groups"], found["admin"]) == ("alice", ["snow", "staff"], False)


def test_an_id_token_that_is_over_is_asked_for_again(authenticator: oidc.ProviderAuthenticator, monkeypatch: pytest.MonkeyPatch):
    """Else its groups would hold for ever: 401 has the hub use the refresh token."""
    with pytest.raises(HTTPClientError) as refused:
        asked(authenticator, monkeypatch, id_token(exp=time.time() - 1))
    assert refused.value.code == 401


@pytest.mark.parametrize(
    ("sent", "sub"),
    [
        (lambda: None, "1"),
        (lambda: "x.y.z", "1"),
        (lambda: id_token(aud="other"), "1"),
        (lambda: id_token(iss="https://evil.example"), "1"),
        (id_token, "2"),
    ],
)
def test_an_id_token_of_another_person_client_or_issuer_is_refused(
    authenticator: oidc.ProviderAuthenticator, monkeypatch: pytest.MonkeyPatch, sent: Callable[[], str | None], sub: str
):
    with pytest.raises(HTTPError) as refused:
        asked(authenticator, monkeypatch, sent(), sub)
    assert refused.value.status_code == 403 and "the facility's login" in (refused.value.log_message or "")


@pytest.mark.parametrize(
    ("said", "found"),
    [(None, set()), ("/proposals/snow", {"snow"}), ([1, None, "/proposals/snow"], {"snow"}), ({"a": 1}, set()), (["/proposals/"], set())],
)
def test_groups_of_any_shape(authenticator: oidc.ProviderAuthenticator, said: Any, found: set[str]):
    assert asyncio.run(authenticator.get_user_groups({"oauth_user": {"lab": {"groups": said}}})) == found
