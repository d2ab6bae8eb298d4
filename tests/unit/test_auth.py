"""Who asks: what counts as a token, and what the hub's answer makes of it."""

from __future__ import annotations

import re

import pytest

from archiver import auth
from archiver.credentials import session_name, session_policy
from archiver.errors import NotAllowed, NotSignedIn, WrongSetting, WrongUse
from archiver.sections import ApiSettings


def model(*scopes: str, **more: object) -> dict[str, object]:
    return {"kind": "user", "name": "alice", "admin": False, "groups": ["snow"], "scopes": [auth.ACCESS, *scopes], **more}


@pytest.mark.parametrize("header", ["Bearer abc", "bearer abc", "token abc", "Token  abc ", " BEARER abc"])
def test_a_token_is_taken_in_both_forms(header):
    assert auth.bearer(header) == "abc"


@pytest.mark.parametrize(
    "header", [None, "", "abc", "Basic abc", "Bearer", "Bearer ", "Bearer a b", "Bearer é", "Bearer a\nX: b", "token " + "a" * 3000]
)
def test_what_is_no_token_is_refused(header):
    with pytest.raises(NotSignedIn):
        auth.bearer(header)


def test_groups_are_projects_and_only_our_scopes_are_shown():
    who = auth.identity(model(auth.READ, "read:users:name!user=alice"), browser=False)
    assert (who.name, who.projects, who.scopes, who.admin) == ("alice", ("snow",), {auth.READ}, False)
    assert who.sees("snow")
    assert not who.sees("snow-2")


@pytest.mark.parametrize("scope", ["custom:archiver:read!user=alice", "custom:archiver", "custom:archiver:reader", "read"])
def test_a_scope_that_is_narrower_or_other_is_not_ours(scope):
    with pytest.raises(NotAllowed, match="custom:archiver:read"):
        auth.identity(model(scope), browser=False).need(auth.READ)


def test_a_token_without_access_to_the_service_is_refused():
    for scopes in ([auth.READ], ["access:services!service=other", auth.READ], []):
        with pytest.raises(NotAllowed):
            auth.identity({**model(), "scopes": scopes}, browser=False)


def test_access_to_all_services_is_access_to_ours():
    assert auth.identity({**model(), "scopes": ["access:services", auth.READ]}, browser=False).scopes == {auth.READ}


def test_a_hub_admin_sees_all_in_a_browser_but_not_from_a_notebook():
    assert auth.identity(model(auth.READ, admin=True), browser=True).projects is None
    assert auth.identity(model(auth.READ, "admin:users", admin=True), browser=False).projects is None
    assert auth.identity(model(auth.READ, admin=True), browser=False).projects == ("snow",)


def test_the_admin_scope_sees_all():
    who = auth.identity(model(auth.READ, auth.ADMIN), browser=False)
    assert who.admin
    assert who.sees("anything")


def test_a_service_is_never_taken_for_a_user_of_its_name():
    who = auth.identity({"kind": "service", "name": "alice", "scopes": [auth.ACCESS, auth.READ]}, browser=False)
    assert (who.name, who.kind, who.projects) == ("service/alice", "service", ())


def test_without_a_token_of_its_own_the_archiver_says_how_to_get_one(monkeypatch, tmp_path):
    monkeypatch.delenv("JUPYTERHUB_API_TOKEN", raising=False)
    for settings in (ApiSettings(), ApiSettings(hub_token_file=tmp_path / "none")):
        with pytest.raises(WrongSetting, match="hub_token_file"):
            auth.JupyterHub(settings)


def test_a_hub_that_is_not_there_is_said_to_be_away(monkeypatch, free_port):
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "secret")
    hub = auth.JupyterHub(ApiSettings(hub_api_url=f"http://127.0.0.1:{free_port()}/hub/api"))
    try:
        with pytest.raises(auth.HubUnavailable) as said:
            hub.who("token")
        assert "secret" not in str(said.value)
    finally:
        hub.close()


def test_addresses_follow_the_hubs_base(monkeypatch):
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "secret")
    hub = auth.JupyterHub(ApiSettings(prefix="/lab/services/archiver/", hub_api_url="http://127.0.0.1:1/lab/hub/api"))
    try:
        assert (hub.home_url, hub.logout_url) == ("/lab/hub/home", "/lab/hub/logout")
        address, verifier = hub.sign_in("the-state")
        assert address.startswith("/lab/hub/api/oauth2/authorize?client_id=service-archiver&")
        assert "state=the-state" in address
        assert "redirect_uri=%2Flab%2Fservices%2Farchiver%2Foauth_callback" in address
        assert verifier not in address
    finally:
        hub.close()


@pytest.mark.parametrize("user", ["alice", "a", "Zoé Müller", "a/b", "service/x", "x" * 300, "a@b.fr", "雪", "a b"])
def test_session_names_fit_the_store(user):
    assert re.fullmatch(r"[\w+=,.@-]{2,64}", session_name(user), re.ASCII)


def test_session_names_stay_distinct():
    users = ["a b", "a-b", "a/b", "x" * 100, "x" * 101, "Zoé", "Zo-"]
    assert len({session_name(user) for user in users}) == len(users)


def test_a_session_policy_fits_or_says_so():
    longest = session_policy("p" * 63, ["h" * 63, "a" * 63])
    assert len(longest) <= 2048
    with pytest.raises(WrongUse):
        session_policy("p" * 63, ["b" * 63] * 20)
