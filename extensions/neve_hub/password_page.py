"""The hub's page "Password": people change their own, admins give new ones and add people.

Law: whoever changes a password has said the one of now; a change ends every other session of that user, in notebook and catalog too; a password that
was made is shown once. A form that comes when its session is over changes nothing, and its sender is asked to log in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jupyterhub.handlers import BaseHandler
from jupyterhub.orm import APIToken, new_token
from jupyterhub.scopes import needs_scope
from tornado import web
from tornado.httputil import url_concat

from archiver.errors import PublicError
from neve_hub.names import LONGEST as LONGEST_NAME
from neve_hub.passwords import LONGEST, SHORTEST

TEMPLATES = Path(__file__).parent / "templates"
_OVER = "You are not logged in any more: nothing was changed. Log in, and send it again."
_OLD_FORM = "This form is from before you logged in again: nothing was changed. Open the page anew, and send it again."


class PasswordPage(BaseHandler):
    """One's own."""

    def check_xsrf_cookie(self) -> None:
        """A form's own token ends with its session: said as what it is."""
        if not hasattr(self, "_jupyterhub_user"):
            return  # Tornado asks before the hub knows who it is; the hub does again, then
        if self.current_user is None:
            raise web.HTTPError(403, _OVER)
        try:
            super().check_xsrf_cookie()
        except web.HTTPError as error:
            raise web.HTTPError(error.status_code, _OLD_FORM) from None

    def write_error(self, status_code: int, **raised: Any) -> None:
        """Whose session is over gets the login form at once, which leads back here."""
        if status_code != 403 or self.current_user is not None:
            super().write_error(status_code, **raised)
            return
        there = url_concat(self.authenticator.login_url(self.hub.base_url), {"next": f"{self.hub.base_url}password"})
        shown = {"authenticator": self.authenticator, "authenticator_login_url": there, "xsrf": self.xsrf_token.decode("ascii")}
        self.finish(self.render_template("login.html", sync=True, login_error=_OVER, **shown))

    @web.authenticated
    async def get(self) -> None:
        await self.show()

    @web.authenticated
    async def post(self) -> None:
        user, authenticator = self.current_user, self.authenticator
        now, new, again = (self.get_body_argument(name, "", strip=False) for name in ("now", "new", "again"))
        if new != again:
            await self.show(wrong="The two new passwords are not the same: nothing was changed.")
            return
        try:
            if not await authenticator.knows(user.name, now, self.request.remote_ip):
                await self.show(wrong="That is not your password of now: nothing was changed.")
                return
            await authenticator.work(lambda: authenticator.passwords.change(user.name, new))
        except PublicError as error:
            await self.show(wrong=f"{error} Nothing was changed.")
            return
        except web.HTTPError as error:  # they wait
            await self.show(wrong=str(error.log_message), status=error.status_code)
            return
        self.end_sessions(user)
        self.set_login_cookie(user)  # this one goes on
        await self.show(done="Your password is changed. Other browsers in which you were logged in must log in again.")

    def end_sessions(self, user: Any) -> None:
        """Whoever holds a cookie of this user's is nobody from now on; tokens that people made stay, each is revoked on the token page."""
        user.orm_user.cookie_id = new_token()
        # With what other browsers got for notebook and catalog, which have cookies of their own.
        here = self.get_session_cookie() if user.name == self.current_user.name else None
        for token in self.db.query(APIToken).filter(APIToken.user_id == user.orm_user.id, APIToken.session_id.isnot(None)):
            if token.session_id != here:
                self.db.delete(token)
        self.db.commit()

    async def show(self, status: int | None = None, **said: Any) -> None:
        """The page, with what came of it."""
        self.set_status(status or (400 if "wrong" in said else 200))
        self.set_header("Cache-Control", "no-store")
        gives = "admin:users" in self.parsed_scopes
        people = sorted(self.authenticator.passwords.users()) if gives else []
        shown = {"gives": gives, "people": people, "shortest": SHORTEST, "longest": LONGEST, "longest_name": LONGEST_NAME, **said}
        self.finish(await self.render_template("password.html", xsrf=self.xsrf_token.decode("ascii"), **shown))


class GivePage(PasswordPage):
    """Others': for admins."""

    async def get(self) -> None:
        self.redirect(f"{self.hub.base_url}password")

    @web.authenticated
    @needs_scope("admin:users")  # type: ignore[untyped-decorator]
    async def post(self) -> None:
        name, authenticator = self.get_body_argument("name", "", strip=False), self.authenticator
        adds = self.get_body_argument("do", "") == "add"
        passwords = authenticator.passwords
        if adds and name in passwords.users():
            await self.show(wrong=f"There is a user {name} already: nothing was changed.")
            return
        try:
            made = await authenticator.work(lambda: passwords.add(name, admin=False) if adds else passwords.reset(name))
        except PublicError as error:
            await self.show(wrong=f"{error} Nothing was changed.")
            return
        known = self.find_user(name)
        if known is None:
            self.user_from_username(name)  # the hub knows them before they log in, so that they can be put into groups
        else:
            self.end_sessions(known)
        self.log.warning("%s gave %s a new password", self.current_user.name, name)
        await self.show(made=made, made_for=name)


HANDLERS: list[tuple[str, type]] = [(r"/password", PasswordPage), (r"/password/give", GivePage)]
