"""Every error of the API has one form: `{"error": {"code", "message"}}` with a fitting status."""

from __future__ import annotations

from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from cashup.errors import CashUpError
from cashup.storage.database import DATABASE_ERRORS, is_about_a_value

log = structlog.get_logger()


class Problem(BaseModel):
    """What went wrong: a word for programs and a sentence for people."""

    code: str
    message: str


class ErrorBody(BaseModel):
    """The body of every error."""

    error: Problem


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": what}
    for status, what in {
        400: "The request cannot be read.",
        401: "Nobody knows who asks.",
        403: "It is not yours to do.",
        404: "There is no such thing.",
        409: "It does not fit what is there.",
        422: "The request is wrong; the message says where.",
        429: "Too many, too fast.",
        503: "Something that is needed does not answer; try again.",
    }.items()
}
"""The errors that every operation under /api/v1 may answer with."""


def error_body(code: str, message: str) -> dict[str, Any]:
    """The body of an error."""
    return {"error": {"code": code, "message": message}}


def install(app: FastAPI) -> None:
    """Teach `app` to answer errors in this form."""
    app.add_exception_handler(CashUpError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for kind in (RedisError, OSError, *DATABASE_ERRORS):
        app.add_exception_handler(kind, _store)
    app.add_exception_handler(Exception, _unexpected)


def _answer(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(error_body(code, message), status, headers)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, CashUpError)  # noqa: S101
    if error.status >= 500:
        log.error("request failed", path=request.url.path, code=error.code, message=str(error))
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
    return _answer(error.status, error.code, str(error), headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    found = error.errors()[0]
    place = ".".join(str(part) for part in found["loc"] if part != "body") or "the body"
    return _answer(422, "usage", f"{place}: {found['msg']}")


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http")
    sentence = f"{request.method} {request.url.path}: {error.detail}"
    headers = {"Allow": _allowed(request)} if error.status_code == 405 else dict(error.headers or {})
    return _answer(error.status_code, code, sentence, headers)


def _allowed(request: Request) -> str:
    """The methods of every operation at this path, and not only of the first."""
    paths: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    found = {m.upper() for path, item in paths.items() if compile_path(path)[0].match(request.url.path) for m in item}
    return ", ".join(sorted(found)) or "GET"


async def _store(request: Request, error: Exception) -> Response:
    if is_about_a_value(error):
        return _answer(422, "usage", "a text holds a character, or a number is so large, that it cannot be stored")
    log.error("store unavailable", path=request.url.path, error=str(error), kind=type(error).__name__)
    return _answer(503, "unavailable", "the gateway's database or Redis does not answer; try again")


async def _unexpected(request: Request, error: Exception) -> Response:
    """A defect: the caller learns nothing of its insides, the log everything."""
    log.error("defect", path=request.url.path, exc_info=error)
    return _answer(500, "internal", "the gateway has a defect; its log says more")
