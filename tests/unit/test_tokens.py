import base64
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cashup.clock import VirtualClock
from cashup.errors import Unauthenticated
from cashup.users.roles import Role
from cashup.users.tokens import LIFETIME, Audience, Tokens

NOW = 1_750_000_000_000


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(NOW)


@pytest.fixture
def tokens(tmp_path: Path, clock: VirtualClock) -> Tokens:
    return Tokens(tmp_path, clock)


@pytest.fixture
def key(tokens: Tokens, tmp_path: Path) -> Ed25519PrivateKey:
    loaded = serialization.load_pem_private_key((tmp_path / "keys" / "jwt.pem").read_bytes(), None)
    assert isinstance(loaded, Ed25519PrivateKey)
    return loaded


def issue(tokens: Tokens, audience: Audience = Audience.API) -> str:
    bound: dict[str, Any] = {"deployment": "demo"} if audience in (Audience.WORKER, Audience.SUPERVISOR) else {}
    bound |= {"attempt": 3, "fence": 3} if audience is Audience.WORKER else {}
    return tokens.issue("eva", audience, role=Role.TRADER, session=7, **bound)


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    header, payload, signature = token.split(".")
    return decode(header), decode(payload), signature


def decode(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return found


def encode(document: object) -> str:
    text = document if isinstance(document, str) else json.dumps(document)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def test_a_token_says_who_and_for_what(tokens: Tokens, tmp_path: Path, clock: VirtualClock) -> None:
    claims = Tokens(tmp_path, clock).verify(issue(tokens), Audience.API)
    assert (claims.subject, claims.role, claims.session, claims.deployment) == ("eva", Role.TRADER, 7, None)
    worker = tokens.verify(issue(tokens, Audience.WORKER), {Audience.WORKER, Audience.API})
    assert (worker.deployment, worker.attempt, worker.fence) == ("demo", 3, 3)


@pytest.mark.parametrize("audience", list(Audience))
def test_a_token_is_good_for_its_own_surface_only(tokens: Tokens, audience: Audience) -> None:
    token = issue(tokens, audience)
    for other in Audience:
        if other is not audience:
            with pytest.raises(Unauthenticated):
                tokens.verify(token, other)


@pytest.mark.parametrize("audience", list(Audience))
def test_a_token_ends(tokens: Tokens, clock: VirtualClock, audience: Audience) -> None:
    token = issue(tokens, audience)
    clock.advance_to(NOW + LIFETIME[audience] - 1000)
    tokens.verify(token, audience)
    clock.advance_to(NOW + LIFETIME[audience])
    with pytest.raises(Unauthenticated, match="expired") as caught:
        tokens.verify(token, audience)
    assert caught.value.code == "token_expired"


def test_a_token_names_what_it_is_bound_to_and_nothing_else(tokens: Tokens) -> None:
    who: dict[str, Any] = {"role": Role.TRADER, "session": 1}
    with pytest.raises(ValueError, match="a token for worker names"):
        tokens.issue("eva", Audience.WORKER, **who)
    with pytest.raises(ValueError, match="a token for api names"):
        tokens.issue("eva", Audience.API, deployment="demo", **who)
    with pytest.raises(ValueError, match="a token for supervisor names"):
        tokens.issue("eva", Audience.SUPERVISOR, deployment="demo", attempt=1, fence=1, **who)


HEADERS: dict[str, dict[str, Any]] = {
    "no algorithm": {"alg": "none"},
    "no algorithm, shouted": {"alg": "NONE"},
    "another algorithm": {"alg": "HS256"},
    "an algorithm like it": {"alg": "Ed25519"},
    "another key": {"kid": "0123456789abcdef"},
    "a path as key": {"kid": "../../keys/jwt.pem"},
    "sql as key": {"kid": "' OR 1=1 --"},
    "a null key": {"kid": None},
    "a list as key": {"kid": ["a"]},
    "a key of its own": {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "AA"}},
    "a key's address": {"jku": "https://example.org/keys"},
    "a certificate's address": {"x5u": "https://example.org/cert"},
    "a critical extension": {"crit": ["exp"]},
    "detached": {"b64": False},
    "another type": {"typ": "JWT"},
    "another surface's type": {"typ": "worker+jwt"},
    "no type": {"typ": None},
}


@pytest.mark.parametrize("change", HEADERS.values(), ids=HEADERS.keys())
def test_a_changed_header_is_refused(tokens: Tokens, key: Ed25519PrivateKey, change: dict[str, Any]) -> None:
    header, payload, _ = parts(issue(tokens))
    signed = f"{encode(header | change)}.{encode(payload)}"
    signature = base64.urlsafe_b64encode(key.sign(signed.encode())).rstrip(b"=").decode()
    for token in (f"{signed}.{signature}", f"{signed}."):
        with pytest.raises(Unauthenticated):
            tokens.verify(token, Audience.API)


PAYLOADS: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "somebody"},
    "no issuer": {"iss": None},
    "another audience": {"aud": "worker"},
    "all audiences": {"aud": ["api", "worker"]},
    "no audience": {"aud": None},
    "no subject": {"sub": None},
    "a number as subject": {"sub": 7},
    "no end": {"exp": None},
    "a text as end": {"exp": "9999999999"},
    "a fraction as end": {"exp": 9999999999.5},
    "ended": {"exp": NOW // 1000 - 1},
    "not begun": {"nbf": 99_999_999_999},
    "no id": {"jti": None},
    "an unknown role": {"role": "root"},
    "no role": {"role": None},
    "a text as session": {"sv": "7"},
    "truth as session": {"sv": True},
    "no session": {"sv": None},
    "a text as fence": {"fence": "3"},
}


@pytest.mark.parametrize("change", PAYLOADS.values(), ids=PAYLOADS.keys())
def test_wrong_claims_are_refused_even_when_signed(
    tokens: Tokens, key: Ed25519PrivateKey, change: dict[str, Any]
) -> None:
    header, payload, _ = parts(issue(tokens))
    payload = {name: value for name, value in (payload | change).items() if value is not None}
    signed = f"{encode(header)}.{encode(payload)}"
    signature = base64.urlsafe_b64encode(key.sign(signed.encode())).rstrip(b"=").decode()
    with pytest.raises(Unauthenticated):
        tokens.verify(f"{signed}.{signature}", Audience.API)


def test_a_changed_payload_or_signature_is_refused(tokens: Tokens) -> None:
    token = issue(tokens)
    header, payload, signature = token.split(".")
    forged = encode(decode(payload) | {"role": "admin"})
    for bad in (
        f"{header}.{forged}.{signature}",
        f"{header}.{payload}.{'A' * len(signature)}",
        f"{header}.{payload}",
        f"{header}.{payload}.{signature}.",
        token[:-4],
        "",
        ".",
        "..",
        "a.b.c",
        "é.é.é",
        token + "A" * 5000,
        f"{encode('[]')}.{payload}.{signature}",
        f"{encode('{')}.{payload}.{signature}",
    ):
        with pytest.raises(Unauthenticated):
            tokens.verify(bad, Audience.API)


def test_a_public_key_as_hmac_secret_is_refused(tokens: Tokens, key: Ed25519PrivateKey) -> None:
    header, payload, _ = parts(issue(tokens))
    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    for algorithm in ("HS256", "HS512"):
        token = jwt.encode(
            payload, raw.ljust(64, b"\0"), algorithm, headers={"kid": header["kid"], "typ": header["typ"]}
        )
        with pytest.raises(Unauthenticated):
            tokens.verify(token, Audience.API)


def test_another_homes_token_is_refused(tokens: Tokens, tmp_path: Path, clock: VirtualClock) -> None:
    with pytest.raises(Unauthenticated):
        Tokens(tmp_path / "other", clock).verify(issue(tokens), Audience.API)
