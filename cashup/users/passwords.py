"""Passwords: argon2id, a bounded number of hashes at a time, and as slow for strangers as for friends."""

from __future__ import annotations

import asyncio
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from cashup.errors import UsageError

SHORTEST = 10
LONGEST = 256


class Passwords:
    """Hashes and checks passwords in threads. Each hash takes 46 MiB, so only `at_once` run at a time."""

    def __init__(self, at_once: int = 2) -> None:
        self._hasher = PasswordHasher(time_cost=1, memory_cost=47_104, parallelism=1)
        self._slots = asyncio.Semaphore(at_once)
        self._nobody: str | None = None

    async def hash(self, password: str) -> str:
        """The hash to store; raises UsageError for a password that is too short or too long."""
        if not SHORTEST <= len(password) <= LONGEST:
            raise UsageError(f"a password has {SHORTEST} to {LONGEST} characters; choose another one")
        async with self._slots:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def verify(self, stored: str | None, password: str) -> bool:
        """True when `password` belongs to `stored`. Without one (an unknown user) it takes as long and is False."""
        async with self._slots:
            return await asyncio.to_thread(self._verify, stored, password[: LONGEST + 1])

    def outdated(self, stored: str) -> bool:
        """True when `stored` was made with other parameters than today's and should be made anew."""
        return self._hasher.check_needs_rehash(stored)

    def _verify(self, stored: str | None, password: str) -> bool:
        if self._nobody is None:
            self._nobody = self._hasher.hash(secrets.token_urlsafe())
        try:
            return self._hasher.verify(stored or self._nobody, password) and stored is not None
        except (VerificationError, InvalidHashError):
            return False


def generate() -> str:
    """A new password: 20 characters, 120 bits."""
    return secrets.token_urlsafe(15)
