"""The archive of live runs: a page beside every record that is closed, and an end to what is too old.

It runs in a process of its own, as slowly as the system likes (nice 19), one for all deployments: `python -m
cashup.workers.archive HOME DAYS [DEPLOYMENT/ATTEMPT that runs]...`. Whatever it did not get to is done the next time.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from cashup.clock import Clock, WallClock, isoformat
from cashup.workers.environment import scrubbed
from cashup.workers.record import replace_file

_RECORD = re.compile(r"\d{4}-\d{2}-\d{2}")
_DAY = 86_400_000
_SETTLED = 60_000
"""How long after midnight the workers have certainly begun their next file."""


class Archivist:
    """Starts the archive when a day or a worker has ended, and never a second one beside it."""

    def __init__(self, home: Path, days: int, clock: Clock | None = None) -> None:
        self._home = home
        self._days = days
        self._clock = clock or WallClock()
        self._process: subprocess.Popen[bytes] | None = None
        self._done: tuple[str, frozenset[str]] | None = None

    def look(self, running: set[str]) -> None:
        """Start it when there may be something to do; `running` are the attempts whose newest file still grows."""
        if self._process is not None and self._process.poll() is None:
            return
        state = (isoformat(self._clock.now() - _SETTLED)[:10], frozenset(running))
        if state == self._done or not (self._home / "runs").is_dir():
            return
        self._done = state
        log = self._home / "logs" / "archive.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(self._home), str(self._days), *sorted(running)],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=scrubbed(os.environ),
                start_new_session=True,
            )

    def reap(self) -> None:
        """Notice its end."""
        if self._process is not None:
            self._process.poll()

    def stop(self) -> None:
        """End it; what it did not get to is done the next time."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def main(words: Sequence[str]) -> int:
    """Prune and render what the words name; how many pages could not be made."""
    os.nice(19)
    home, days, running = Path(words[0]), int(words[1]), set(words[2:])
    today = WallClock().now()
    prune(home / "runs", isoformat(today - days * _DAY)[:10])
    failures = 0
    for record in closed(home / "runs", running):
        try:
            render(record)
        except Exception as error:  # noqa: BLE001  one record that cannot be read must not keep the others from theirs
            failures += 1
            sys.stderr.write(f"{record}: {type(error).__name__}: {error}\n")
    return failures


def records(runs: Path) -> Iterator[Path]:
    """Every record of a live run; the folders of backtests have other names."""
    for folder in sorted(runs.glob("*/*")):
        if folder.name.isdigit() and folder.is_dir():
            yield from sorted(file for file in folder.glob("*.ipynb") if _RECORD.fullmatch(file.stem))


def closed(runs: Path, running: set[str]) -> Iterator[Path]:
    """The records that nobody writes any more and that have no page that is as new."""
    files = list(records(runs))
    newest = {file.parent: file for file in files}
    for file in files:
        if newest[file.parent] == file and f"{file.parent.parent.name}/{file.parent.name}" in running:
            continue
        page = file.with_suffix(".html")
        if not page.exists() or page.stat().st_mtime < file.stat().st_mtime:
            yield file


def render(record: Path) -> Path:
    """Make the page of a record, which needs nothing from anywhere else; its path."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(template_name="lab", anchor_link_text="")  # type: ignore[no-untyped-call]
    for name in ("mathjax_url", "require_js_url", "jquery_url", "mermaid_js_url", "widget_renderer_url"):
        if exporter.has_trait(name):
            setattr(exporter, name, "")
    text, _ = exporter.from_filename(str(record))
    page = record.with_suffix(".html")
    replace_file(page, text)
    return page


def prune(runs: Path, before: str) -> None:
    """Remove records, and their pages, of days before this one (YYYY-MM-DD), and what killed writers left behind."""
    for file in list(records(runs)):
        if file.stem < before:
            file.unlink()
            file.with_suffix(".html").unlink(missing_ok=True)
            with suppress(OSError):  # there are newer ones in it
                file.parent.rmdir()
    for partial in runs.glob("*/*/.*.tmp"):
        pid = partial.name.split(".")[-2]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            partial.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
