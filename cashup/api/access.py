"""Who is asking, and what they may do: the dependencies that routers name in their signatures."""

from __future__ import annotations

from typing import Annotated, NoReturn

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from cashup.bootstrap import Gateway
from cashup.errors import Forbidden, Unauthenticated, UsageError
from cashup.storage.database import transaction
from cashup.trading.halts import Scope
from cashup.users.audit import record
from cashup.users.roles import Role
from cashup.users.tokens import Audience, Claims

_bearer = HTTPBearer(auto_error=False, description="an access token from POST /api/v1/auth/login")


def _gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


GatewayParts = Annotated[Gateway, Depends(_gateway)]
"""The wired gateway."""


async def _reader(
    gateway: GatewayParts, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Claims:
    return await authenticate(gateway, credentials, {Audience.API, Audience.VIEW})


async def _person(
    gateway: GatewayParts, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Claims:
    return await authenticate(gateway, credentials, {Audience.API})


Reader = Annotated[Claims, Depends(_reader)]
"""Anybody who may look: every role, and dashboards with a view token."""

Person = Annotated[Claims, Depends(_person)]
"""Anybody who has logged in; a view token will not do."""


async def _deployment_reader(
    request: Request,
    gateway: GatewayParts,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Claims:
    claims = await authenticate(gateway, credentials, set(Audience))
    if claims.deployment is not None:
        await require_bound(claims, gateway, request.path_params["name"], request.url.path)
    return claims


DeploymentReader = Annotated[Claims, Depends(_deployment_reader)]
"""Anybody who may look, and worker and supervisor of the deployment that is `{name}` in the path."""


async def _trader(claims: Person, request: Request, gateway: GatewayParts) -> Claims:
    return await _require(claims, gateway, request, Role.TRADER)


async def _supervisor(
    request: Request,
    gateway: GatewayParts,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Claims:
    claims = await authenticate(gateway, credentials, {Audience.API, Audience.SUPERVISOR})
    if claims.deployment is not None and "name" in request.path_params:
        await require_bound(claims, gateway, request.path_params["name"], request.url.path)
    return await _require(claims, gateway, request, Role.TRADER)


async def _admin(claims: Person, request: Request, gateway: GatewayParts) -> Claims:
    return await _require(claims, gateway, request, Role.ADMIN)


Trader = Annotated[Claims, Depends(_trader)]
"""Traders and admins."""

Supervisor = Annotated[Claims, Depends(_supervisor)]
"""Traders and admins, and the supervisor of the deployment that is `{name}` in the path."""

Admin = Annotated[Claims, Depends(_admin)]
"""Admins."""


async def plain_query(request: Request) -> None:
    """Refuse a query that says something twice, or something unknown: a misspelt name must not act on everything."""
    known = {field.alias for field in request.scope["route"].dependant.query_params}
    names = [name for name, _ in request.query_params.multi_items()]
    if unknown := next((name for name in names if name not in known), None):
        raise UsageError(f"there is no parameter {unknown!r}; there are: {', '.join(sorted(known)) or 'none'}")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"{twice} is given more than once")
    if "" in names:
        raise UsageError("a parameter has no name")


async def authenticate(
    gateway: Gateway, credentials: HTTPAuthorizationCredentials | None, audiences: set[Audience]
) -> Claims:
    """The claims of a bearer token whose session still stands; raises Unauthenticated."""
    if credentials is None:
        raise Unauthenticated("this needs a token; log in with POST /api/v1/auth/login")
    return await gateway.people.check(gateway.tokens.verify(credentials.credentials, audiences))


async def require_bound(claims: Claims, gateway: Gateway, name: str | None, target: str) -> None:
    """Raise Forbidden, and note `target`, when the token is bound to a deployment, and to another one than `name`."""
    if claims.deployment not in (None, name):
        await _deny(claims, gateway, target, f"this token is for deployment {claims.deployment} only")


async def require_own(claims: Claims, gateway: Gateway, scope: Scope, name: str) -> None:
    """Raise Forbidden unless it belongs to the person who asks, or an admin asks; NotFound when there is none."""
    if claims.role.covers(Role.ADMIN):
        return
    if await gateway.kills.owner(scope, name) != claims.subject:
        sentence = f"{name or 'everything'} is not yours; only an admin may do that"
        await _deny(claims, gateway, f"{scope}:{name}", sentence)


async def _require(claims: Claims, gateway: Gateway, request: Request, role: Role) -> Claims:
    if not claims.role.covers(role):
        sentence = f"this needs the role {role}, and {claims.subject} is {claims.role}"
        await _deny(claims, gateway, request.url.path, sentence)
    return claims


async def _deny(claims: Claims, gateway: Gateway, target: str, sentence: str) -> NoReturn:
    """Refuse, and leave a row in the audit trail: somebody known tried what is not theirs to do."""
    async with transaction(gateway.database) as connection:
        now, detail = gateway.clock.now(), {"audience": claims.audience, "reason": sentence}
        await record(connection, at=now, subject=claims.subject, action="denied", target=target, detail=detail)
    raise Forbidden(sentence)
