"""Signed tokens: EdDSA JWTs, one audience per surface, one key from a fixed place, one algorithm."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cashup.clock import Clock
from cashup.errors import StorageError, Unauthenticated
from cashup.types import Millis
from cashup.users.keyfile import key_folder, load_or_create
from cashup.users.roles import Role

ISSUER = "cashup"
ALGORITHM = "EdDSA"
_LONGEST = 4096


class Audience(StrEnum):
    """The surface a token is good for."""

    API = "api"
    WORKER = "worker"
    VIEW = "view"
    SUPERVISOR = "supervisor"


LIFETIME: dict[Audience, Millis] = {
    Audience.API: 12 * 3_600_000,
    Audience.WORKER: 15 * 60_000,
    Audience.VIEW: 3_600_000,
    Audience.SUPERVISOR: 90 * 24 * 3_600_000,
}
"""How long a token is good for. Ending a session does not wait for it: the session's version is checked each time.

That of a supervisor lies in a file, and can do nothing but keep one deployment.
"""


_BOUND: dict[Audience, set[str]] = {
    Audience.WORKER: {"deployment", "attempt", "fence"},
    Audience.SUPERVISOR: {"deployment"},
}
"""What a token is bound to."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says.

    `deployment` is set on tokens of workers and of supervisors of one deployment, `attempt` and `fence` on the former.
    """

    subject: str
    role: Role
    audience: Audience
    session: int
    id: str
    expires_at: Millis
    deployment: str | None = None
    attempt: int | None = None
    fence: int | None = None


class Tokens:
    """Issues and verifies tokens with the key `keys/jwt.pem` of the home, which is made when it is missing."""

    def __init__(self, home: Path, clock: Clock) -> None:
        self._key = _load(key_folder(home) / "jwt.pem")
        self._public = self._key.public_key()
        self._kid = _thumbprint(self._key)
        self._clock = clock

    def issue(
        self,
        subject: str,
        audience: Audience,
        *,
        role: Role,
        session: int,
        deployment: str | None = None,
        attempt: int | None = None,
        fence: int | None = None,
        lifetime: Millis | None = None,
    ) -> str:
        """A token for the user named `subject`.

        A worker's also names deployment, attempt and fence, that of a supervisor of one deployment the deployment.
        """
        bound = {"deployment": deployment, "attempt": attempt, "fence": fence}
        if {name for name, value in bound.items() if value is not None} != _BOUND.get(audience, set()):
            raise ValueError(f"a token for {audience} names {sorted(_BOUND.get(audience, set()))} and nothing else")
        now = self._clock.now()
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "sub": subject,
            "aud": audience.value,
            "role": role.value,
            "sv": session,
            "jti": secrets.token_urlsafe(16),
            "iat": now // 1000,
            "exp": (now + (LIFETIME[audience] if lifetime is None else lifetime)) // 1000,
        }
        claims |= {name: value for name, value in bound.items() if value is not None}
        return jwt.encode(claims, self._key, ALGORITHM, headers={"kid": self._kid, "typ": _type(audience)})

    def verify(self, token: str, audience: Audience | Collection[Audience]) -> Claims:
        """The claims of `token` if it is genuine, not expired and for (one of) `audience`; Unauthenticated otherwise.

        Whether its session still stands is a question to the database (`People.check`).
        """
        allowed = {audience} if isinstance(audience, Audience) else set(audience)
        try:
            payload = self._decode(token, allowed)
            claims = _claims(payload)
        except (jwt.InvalidTokenError, KeyError, TypeError, ValueError) as error:
            raise Unauthenticated("this token is not valid; log in again", code="token_invalid") from error
        if claims.expires_at <= self._clock.now():
            raise Unauthenticated("this token has expired; log in again", code="token_expired")
        return claims

    def _decode(self, token: str, allowed: set[Audience]) -> dict[str, Any]:
        if len(token) > _LONGEST:
            raise ValueError("too long")
        header = _header(token)
        expected = [{"alg": ALGORITHM, "kid": self._kid, "typ": _type(audience)} for audience in allowed]
        if header not in expected:
            raise ValueError("unexpected header")
        # Expiry is checked against our own clock, after this.
        payload: dict[str, Any] = jwt.decode(
            token,
            self._public,
            algorithms=[ALGORITHM],
            audience=header["typ"].partition("+")[0],
            issuer=ISSUER,
            options={"require": ["iss", "sub", "aud", "jti", "iat", "exp"], "verify_exp": False, "verify_iat": False},
        )
        return payload


def _claims(payload: dict[str, Any]) -> Claims:
    numbers = {name: payload.get(name) for name in ("attempt", "fence")}
    if any(value is not None and type(value) is not int for value in (*numbers.values(), payload["sv"])):
        raise TypeError("a number is expected")
    if type(payload["exp"]) is not int or not isinstance(payload["sub"], str):
        raise TypeError("malformed claims")
    return Claims(
        subject=payload["sub"],
        role=Role(payload["role"]),
        audience=Audience(payload["aud"]),
        session=payload["sv"],
        id=str(payload["jti"]),
        expires_at=payload["exp"] * 1000,
        deployment=payload.get("deployment"),
        **numbers,
    )


def _header(token: str) -> dict[str, Any]:
    """The header exactly as written: nothing but the three fields we write passes the comparison that follows."""
    first = token.partition(".")[0]
    try:
        header = orjson.loads(base64.urlsafe_b64decode(first + "=" * (-len(first) % 4)))
    except (binascii.Error, orjson.JSONDecodeError) as error:
        raise ValueError("unreadable header") from error
    if not isinstance(header, dict):
        raise TypeError("unreadable header")
    return header


def _type(audience: Audience) -> str:
    return f"{audience.value}+jwt"


def _load(path: Path) -> Ed25519PrivateKey:
    key = serialization.load_pem_private_key(load_or_create(path, _new_key), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise StorageError(f"{path} does not hold an Ed25519 key; remove it and start again (this ends all sessions)")
    return key


def _new_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _thumbprint(key: Ed25519PrivateKey) -> str:
    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]
