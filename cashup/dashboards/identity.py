"""Who may see a dashboard: the users of the gateway. Everybody else gets the login page and nothing more."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.auth.identity import IdentityProvider, User
from jupyter_server.auth.login import LoginFormHandler
from jupyter_server.base.handlers import JupyterHandler
from tornado.template import Template
from tornado.web import RequestHandler

from cashup.dashboards.session import COOKIE, ViewSession
from cashup.errors import CashUpError, Forbidden, Unauthenticated

LOGIN_PAGE = Template((Path(__file__).parent / "static" / "login.html").read_text())


class GatewayIdentity(IdentityProvider):
    """Knows a viewer by the signed cookie that the login page set. There is no token and no anonymous user."""

    auth_enabled = True
    login_available = True
    logout_available = True

    def get_user(self, handler: RequestHandler) -> User | None:
        """The viewer who sent this request; None means that nothing is shown."""
        session = ViewSession.from_cookie(handler)
        return None if session is None else User(username=session.name)

    def get_handlers(self) -> list[tuple[str, object]]:
        """The login page and the way out."""
        return [(r"/login", LoginPage), (r"/logout", LogoutPage)]


class LoginPage(LoginFormHandler):
    """A form with a name and a password, checked by the gateway."""

    def _render(self, message: str = "") -> None:
        self.set_header("Cache-Control", "no-store")
        self.write(
            LOGIN_PAGE.generate(
                xsrf=self.xsrf_form_html(),
                next=self.get_argument("next", default=self.base_url),
                name=self.get_argument("name", default=""),
                message=message,
            )
        )

    @allow_unauthenticated
    async def post(self) -> None:
        """Check name and password; on success set the cookie and go on to the page that was asked for."""
        name, password = self.get_body_argument("name", ""), self.get_body_argument("password", "", strip=False)
        try:
            session = await self.settings["authenticate"](name, password)
        except (Unauthenticated, Forbidden):
            self.set_status(HTTPStatus.UNAUTHORIZED)
            self._render("Name or password is wrong.")
            return
        except CashUpError as error:
            self.set_status(error.status)
            self._render(str(error))
            return
        cast(ViewSession, session).to_cookie(self)
        self._redirect_safe(self.get_argument("next", default=self.base_url))  # type: ignore[no-untyped-call]


class LogoutPage(JupyterHandler):
    """Forgets the session."""

    @allow_unauthenticated
    def get(self, *_: Any) -> None:
        """Clear the cookie and show the login page."""
        self.clear_cookie(COOKIE, path="/")
        self.redirect(self.base_url + "login")
