"""Walls around Voila's handlers: no anonymous byte, and no viewer in another viewer's kernel."""

from __future__ import annotations

import uuid
from http.client import responses
from typing import Any

from jupyter_core.utils import ensure_async
from jupyter_server.base.handlers import JupyterHandler
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.web import HTTPError, RequestHandler

from cashup.errors import IntegrityError


class Wall:
    """What both walls share: an error says its number and nothing of the server."""

    def write_error(self: Any, status_code: int, **_: Any) -> None:
        """Answer with one line of text."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{status_code} {responses.get(status_code, 'error')}\n")


class KnownViewersOnly(Wall):
    """For handlers that know nothing of identity (static files): refuses everybody without a session."""

    async def prepare(self: Any) -> None:
        """Ask who it is before anything is read."""
        if await ensure_async(self.settings["identity_provider"].get_user(self)) is None:
            raise HTTPError(403)


class OwnKernelsOnly(Wall):
    """For handlers that know the viewer: nothing is public, and another viewer's kernel does not exist."""

    async def prepare(self: Any, **options: Any) -> Any:
        """Authenticate as the handler does, then compare the kernel's owner with the viewer."""
        result = await super().prepare(**options)  # type: ignore[misc]
        if self._finished:  # it was sent to the login page
            return result
        if self.current_user is None:
            raise HTTPError(403)
        owners: dict[str, str] = self.settings["kernel_manager"].owners
        for argument in (*self.path_args, *self.path_kwargs.values()):
            if owners.get(argument, self.current_user.username) != self.current_user.username:
                raise HTTPError(404)
        return result


def guarded(handler: type[RequestHandler]) -> type[RequestHandler]:
    """`handler` behind the wall that fits it; whatever Voila adds one day is behind one as well."""
    wall = OwnKernelsOnly if issubclass(handler, JupyterHandler) else KnownViewersOnly
    return type(f"Guarded{handler.__name__}", (wall, handler), {})


async def prove_closed(url: str) -> None:
    """Ask as a stranger for a page, a kernel, a file and an asset; raises IntegrityError when one of them answers."""
    client = AsyncHTTPClient(force_instance=True)
    try:
        for path in ("", f"api/kernels/{uuid.uuid4()}", "voila/files/overview.png", "voila/static/voila.js"):
            request = HTTPRequest(url + path, follow_redirects=False, request_timeout=10)
            answer = await client.fetch(request, raise_error=False)
            to_login = answer.code == 302 and "/login" in answer.headers.get("Location", "")
            if not to_login and answer.code not in (401, 403):
                raise IntegrityError(
                    f"the dashboards answered {answer.code} to a stranger who asked for /{path}, so they were stopped"
                )
    finally:
        client.close()
