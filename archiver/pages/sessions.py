"""A browser's session: a random name in a cookie, and behind it, in this process' memory only, the hub token that the sign-in brought.

Law: the token never reaches the browser. A session ends by signing out, after `api.session_hours`, or when the hub no longer knows its
token; then the browser signs in again, which the hub mostly does without asking. Each form carries the session's own XSRF token, and
a post from another site is refused before anything is looked at.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from fastapi import Request
from starlette.responses import RedirectResponse, Response

from archiver.auth import Hub, Identity
from archiver.errors import NotAllowed, NotSignedIn

COOKIE = "neve-session"
_SIGN_IN = "neve-sign-in-"
_SIGN_IN_WITHIN_S = 600
_MOST_SIGN_INS = 5  # windows of one browser that sign in at once
_XSRF = "X-Neve-Xsrf"
_AGAIN = "Open the catalog again to sign in."


Told = tuple[str, Mapping[str, str | int]]
"""A text of the table, and its values."""


@dataclass(frozen=True)
class Session:
    """One signed-in browser. `told`: what the next page says, once."""

    token: str = field(repr=False)
    xsrf: str = field(repr=False)
    ends: float
    told: list[Told] = field(default_factory=list, compare=False)


class NeedsSignIn(Exception):
    """Nobody is signed in here: the browser is sent to the hub, and comes back to `next_path`."""

    def __init__(self, next_path: str) -> None:
        super().__init__(next_path)
        self.next_path = next_path


class Sessions:
    """All sessions of this process. `prefix`: the path that the cookies are for, with slashes at both ends."""

    def __init__(self, hub: Hub, prefix: str, life_s: float) -> None:
        self._hub = hub
        self._prefix = prefix
        self._life_s = life_s
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    # sessions

    def get(self, request: Request) -> Session | None:
        """The session that the request's cookie names, if it lives."""
        with self._lock:
            session = self._sessions.get(request.cookies.get(COOKIE, ""))
        return session if session is not None and session.ends > time.monotonic() else None

    def end(self, request: Request) -> None:
        """Forget the request's session."""
        with self._lock:
            self._sessions.pop(request.cookies.get(COOKIE, ""), None)

    def _begin(self, token: str) -> str:
        now = time.monotonic()
        name = secrets.token_urlsafe(32)
        with self._lock:
            for old in [key for key, session in self._sessions.items() if session.ends <= now]:
                del self._sessions[old]
            self._sessions[name] = Session(token, secrets.token_urlsafe(32), now + self._life_s)
        return name

    # signing in: OAuth's code flow, with the state in the name of a cookie that only this browser has

    def sign_in(self, request: Request, next_path: str) -> Response:
        """Send the browser to the hub."""
        state = secrets.token_urlsafe(24)
        address, secret = self._hub.sign_in(state)
        response = RedirectResponse(address, 303)
        begun = [name for name in request.cookies if name.startswith(_SIGN_IN)]
        for name in begun if len(begun) >= _MOST_SIGN_INS else ():
            self._drop_cookie(response, name)
        value = base64.urlsafe_b64encode(json.dumps([secret, next_path]).encode()).decode()
        self._set_cookie(request, response, _SIGN_IN + state, value, _SIGN_IN_WITHIN_S)
        return response

    def come_back(self, request: Request) -> Response:
        """The hub has sent the browser back: redeem the code, begin a session. Raises `NotSignedIn`, `NotAllowed`, `HubUnavailable`."""
        state, code = request.query_params.get("state", ""), request.query_params.get("code", "")
        begun = request.cookies.get(_SIGN_IN + state) if state else None
        if begun is None:
            raise NotSignedIn("This sign-in was not begun in this browser, or too long ago.", f"Allow cookies for this site. {_AGAIN}")
        if not code:
            raise NotSignedIn("The hub did not confirm the sign-in.", _AGAIN)
        try:
            secret, next_path = json.loads(base64.urlsafe_b64decode(begun))
        except (binascii.Error, ValueError, TypeError):
            raise NotSignedIn("The sign-in's cookie cannot be read.", _AGAIN) from None
        token = self._hub.redeem(code, str(secret))
        self._hub.who(token, session_id=hub_session(request), browser=True)
        self.end(request)
        response = RedirectResponse(self.own_path(str(next_path)), 303)
        self._drop_cookie(response, _SIGN_IN + state)
        self._set_cookie(request, response, COOKIE, self._begin(token), None)
        return response

    def sign_out(self, request: Request) -> Response:
        """End the session here, and let the hub end its own."""
        self.end(request)
        response = RedirectResponse(self._hub.logout_url, 303)
        self._drop_cookie(response, COOKIE)
        return response

    def own_path(self, path: str) -> str:
        """`path` if it is one of our pages, else our first page: a sign-in never leads elsewhere."""
        plain = path.isascii() and path.isprintable() and path.startswith(self._prefix) and not path.startswith("//") and "\\" not in path
        return path if plain else self._prefix

    # forms

    def check_form(self, request: Request, session: Session, xsrf: str) -> None:
        """Raise `NotAllowed` unless this post comes from a page of ours, in this session."""
        check_origin(request)
        if not hmac.compare_digest(xsrf.encode("utf-8", "replace"), session.xsrf.encode()):
            raise NotAllowed("The form is from another session.", "Go back, reload the page and send it again.")

    # pages that ask the API

    def asks(self, request: Request) -> bool:
        """Whether a page of ours asks: a request that names its session's XSRF token, which no page of another site can."""
        return _XSRF in request.headers

    def who(self, request: Request) -> Identity:
        """Who is signed in in the browser whose page asks. Raises `NotSignedIn` where nobody is (any more), `NotAllowed`, `HubUnavailable`."""
        check_origin(request)
        session = self.get(request)
        if session is None or not hmac.compare_digest(request.headers[_XSRF].encode("utf-8", "replace"), session.xsrf.encode()):
            raise NotSignedIn("Nobody is signed in here any more, or somebody signed in anew.", "Sign in again in another window; the page goes on.")
        return self._hub.who(session.token, session_id=hub_session(request), browser=True)

    # cookies

    def _set_cookie(self, request: Request, response: Response, name: str, value: str, max_age: int | None) -> None:
        secure = request.url.scheme == "https" or request.headers.get("X-Forwarded-Proto", "").split(",")[0].strip() == "https"
        response.set_cookie(name, value, max_age=max_age, path=self._prefix, httponly=True, samesite="lax", secure=secure)

    def _drop_cookie(self, response: Response, name: str) -> None:
        response.delete_cookie(name, path=self._prefix, httponly=True, samesite="lax")


def check_origin(request: Request) -> None:
    """Raise `NotAllowed` for a post that a browser says comes from another site."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    foreign = site not in {None, "same-origin", "none"} or (origin is not None and urlsplit(origin).netloc != request.headers.get("Host"))
    if foreign:
        raise NotAllowed("The form was sent from another site.", "Open the catalog itself and send it from there.")


def hub_session(request: Request) -> str:
    """The hub's own session in this browser: once that has changed, the hub is asked anew who this is."""
    return request.cookies.get("jupyterhub-session-id", "")[:200]
