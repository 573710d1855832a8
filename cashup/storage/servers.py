"""The servers of this process: the ones that are configured, and embedded ones for the rest."""

from __future__ import annotations

from dataclasses import dataclass

from cashup.settings import Settings
from cashup.storage.embedded import EmbeddedServers, acquire


@dataclass(frozen=True, slots=True)
class Servers:
    """Where PostgreSQL and Redis are. `close` lets go of the embedded ones; the last process to do so stops them.

    `ours` says that the database is the embedded one, whose schema is nobody else's business.
    """

    database_url: str
    redis_url: str
    embedded: EmbeddedServers | None = None

    ours: bool = False

    def close(self) -> None:
        """Let go of the embedded servers, if there are any."""
        if self.embedded is not None:
            self.embedded.release()


def open_servers(settings: Settings) -> Servers:
    """The servers that `settings` name; embedded ones are started if need be (blocks for up to some seconds).

    Raises Unavailable or StorageError when embedded servers are needed and cannot be had.
    """
    database = settings.database_url.get_secret_value() if settings.database_url else None
    redis = settings.redis_url.get_secret_value() if settings.redis_url else None
    if database and redis:
        return Servers(database, redis)
    embedded = acquire(settings.home_path)
    return Servers(database or embedded.database_url, redis or embedded.redis_url, embedded, ours=database is None)
