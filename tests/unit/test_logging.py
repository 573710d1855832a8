import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from cashup.monitoring.logging import configure
from cashup.redaction import redact_text

JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJldmEifQ.c2lnbmF0dXJl"


@pytest.fixture
def sink() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure(stream=stream)
    yield stream
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(sink: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in sink.getvalue().splitlines()]


def test_secrets_are_masked_wherever_they_stand(sink: io.StringIO) -> None:
    log = structlog.get_logger()
    log.info("order sent", account="main", key="hush", headers={"KEY": "hush", "SIGN": "hush", "path": "/spot"})
    log.info("connecting", url="postgresql://eva:hush@db/cashup", token="hush", api_key="hush", cookies=["hush"])
    log.info(f"a token {JWT} in words, and Authorization: Bearer hush", nested=[{"password": "hush"}])
    logging.getLogger("somebody").warning("KEY=hush&SIGN=hush %s", {"secret": "hush"})
    assert "hush" not in sink.getvalue()
    assert JWT not in sink.getvalue()
    first = lines(sink)[0]
    assert (first["event"], first["account"], first["level"]) == ("order sent", "main", "info")
    assert first["headers"] == {"KEY": "***", "SIGN": "***", "path": "/spot"}


def test_a_traceback_is_masked_too(sink: io.StringIO) -> None:
    try:
        int("secret=hush")
    except ValueError:
        structlog.get_logger().exception("it broke")
        logging.getLogger("somebody").exception("it broke")
    assert len(lines(sink)) == 2
    assert "ValueError" in sink.getvalue()
    assert "hush" not in sink.getvalue()


@pytest.mark.parametrize("text", ["the order t-01ABC was filled", "https://api.gateio.ws/api/v4", "key figures: 3"])
def test_plain_words_stay(text: str) -> None:
    assert redact_text(text) == text
