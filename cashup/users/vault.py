"""The vault: exchange keys under AES-256-GCM, each with a data key of its own, wrapped by a key outside the database.

What is sealed is bound to its place (tenant, user, exchange, account, version): a record moved to another row, or
changed by a single bit, does not open.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cashup.errors import IntegrityError, StorageError
from cashup.users.keyfile import key_folder, load_or_create

VERSION = 1
TENANT = "cashup"
_NONCE = 12


@dataclass(frozen=True, slots=True)
class Credentials:
    """An exchange key. Neither part ever shows in a log or a traceback."""

    key: str = field(repr=False)
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sealed record belongs."""

    user: str
    exchange: str
    account: str

    def bind(self, version: int, part: str) -> bytes:
        """The associated data of one part of the record; parts cannot run into each other."""
        return orjson.dumps([TENANT, self.user, self.exchange, self.account, version, part])


@dataclass(frozen=True, slots=True)
class Envelope:
    """A sealed record as it is stored: nonce and ciphertext of the credentials and of their data key."""

    version: int
    kek: str
    wrapped_key: bytes
    sealed: bytes


class Vault:
    """Seals and opens credentials with the key-encryption key `keys/kek` of the home, made when it is missing."""

    def __init__(self, home: Path) -> None:
        path = key_folder(home) / "kek"
        kek = load_or_create(path, lambda: secrets.token_bytes(32))
        if len(kek) != 32:
            raise StorageError(f"{path} must hold 32 bytes; put the right file back, or the exchange keys stay closed")
        self._kek = AESGCM(kek)
        self._id = hashlib.sha256(b"cashup kek" + kek).hexdigest()[:16]

    def seal(self, credentials: Credentials, place: Place) -> Envelope:
        """Credentials as a record that opens only at `place`."""
        data_key = AESGCM.generate_key(256)
        clear = orjson.dumps([credentials.key, credentials.secret])
        return Envelope(
            version=VERSION,
            kek=self._id,
            wrapped_key=_encrypt(self._kek, data_key, place.bind(VERSION, "key")),
            sealed=_encrypt(AESGCM(data_key), clear, place.bind(VERSION, "secret")),
        )

    def open(self, envelope: Envelope, place: Place) -> Credentials:
        """The credentials in `envelope`; IntegrityError when it was changed, moved, or sealed with another key."""
        if envelope.version != VERSION or envelope.kek != self._id:
            raise IntegrityError(
                f"the keys of account {place.account} were sealed with another key file; put keys/kek back as it was",
                code="vault",
            )
        try:
            data_key = _decrypt(self._kek, envelope.wrapped_key, place.bind(envelope.version, "key"))
            clear = _decrypt(AESGCM(data_key), envelope.sealed, place.bind(envelope.version, "secret"))
        except (InvalidTag, ValueError) as error:
            raise IntegrityError(
                f"the stored keys of account {place.account} were changed or moved; store them again", code="vault"
            ) from error
        key, secret = orjson.loads(clear)
        return Credentials(key, secret)


def fingerprint(key: str) -> str:
    """A short name for an exchange key that tells two keys apart and reveals neither."""
    return hashlib.sha256(b"cashup fingerprint" + key.encode()).hexdigest()[:12]


def _encrypt(cipher: AESGCM, clear: bytes, bound: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + cipher.encrypt(nonce, clear, bound)


def _decrypt(cipher: AESGCM, stored: bytes, bound: bytes) -> bytes:
    return cipher.decrypt(stored[:_NONCE], stored[_NONCE:], bound)
