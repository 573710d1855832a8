"""Logging, configured in one place: structured, one JSON object per line, secrets removed at the sink."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

from cashup.redaction import MASK, redact_text

_SECRET_NAMES = re.compile(
    r"(^|[_-])(key|sign|signature|secret|password|passphrase|token|authorization|cookie|jwt|kek|dsn)s?$"
    r"|api_?key|database_url|redis_url",
    re.IGNORECASE,
)
_PUBLIC_NAMES = frozenset({"intent_key", "dedupe_key"})
"""Names that look secret and are not."""


def configure(*, stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Send structlog and the standard library's loggers to `stream` (stderr) as JSON lines without secrets."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared[:-2], structlog.stdlib.add_logger_name, structlog.processors.format_exc_info],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                redact,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("alembic", "asyncio", "ccxt", "httpx", "uvicorn", "websockets"):
        logging.getLogger(name).setLevel(logging.WARNING)


def redact(logger: Any, method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: values under secret names, and secrets inside text, become `***`."""
    for name, value in entry.items():
        entry[name] = _clean(name, value)
    return entry


def _clean(name: str, value: Any) -> Any:
    if value is not None and name not in _PUBLIC_NAMES and _SECRET_NAMES.search(name):
        return MASK
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return {key: _clean(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_clean("", inner) for inner in value]
    return value
