"""The supervisor: keeps one worker process running for every deployment that shall run."""

from __future__ import annotations

import math
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from cashup.client import Client, Row
from cashup.errors import CashUpError, Conflict, Forbidden, Unauthenticated, Unavailable, WorkFailed
from cashup.workers.assignment import Assignment, Outcome
from cashup.workers.child import Child
from cashup.workers.restarts import RETRYABLE, Restarts

TICK = 0.1
CONVERGE_EVERY = 1.0
LEASE_EVERY = 3.0
HEARTBEAT_EVERY = 5.0
TOKEN_EVERY = 3_600.0
"""Access tokens live for hours and supervisors for months."""
STOP_DEADLINE = 30.0
KILL_AFTER = STOP_DEADLINE + 15.0
"""A worker forces its kernel after STOP_DEADLINE; one that still lives then is killed."""


class Supervisor:
    """Starts, watches, restarts and stops workers. Only the holder of the lease in the database does so.

    `report` gets one line per thing that happens. A gateway that is away for a while changes nothing for the workers.
    """

    def __init__(self, client: Client, home: Path, report: Callable[[str], None]) -> None:
        self.holder = f"{socket.gethostname()}:{os.getpid()}"
        self._client = client
        self._home = home
        self._report = report
        self._children: dict[str, Child] = {}
        self._restarts: dict[str, Restarts] = {}
        self._not_before: dict[str, float] = {}
        self._unreported: list[tuple[Child, str, Outcome, bool]] = []
        self._desired: dict[str, str] = {}
        self._due: dict[str, float] = {"token": time.monotonic() + TOKEN_EVERY}
        self._complaint = ""
        self._signals = 0
        self._passed_on = 0

    def acquire(self) -> None:
        """Take or renew the lease; raises WorkFailed when another supervisor holds it."""
        try:
            self._client.lease(self.holder)
        except Conflict as error:
            raise WorkFailed(
                f"another supervisor is at work ({error}); hand it your deployments with `cashup live up --detach`",
                code="second_supervisor",
            ) from error

    def run(self) -> None:
        """Work until SIGTERM or Ctrl-C, then stop the workers; the deployments stay wished to run.

        Call `acquire` before. Raises WorkFailed when the lease is lost to another supervisor.
        """
        previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            while not self._signals:
                self._turn(time.monotonic())
                time.sleep(TICK)
            self._stop_all()
        finally:
            for child in self._children.values():
                child.kill()
            for number, handler in previous.items():
                signal.signal(number, handler)
            self._attempt_call(lambda: self._client.release_lease(self.holder))

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1

    # --- one turn --------------------------------------------------------------------------------------------------

    def _turn(self, now: float) -> None:
        self._reap(now)
        if self._is_due("lease", now, LEASE_EVERY):
            self._attempt_call(self.acquire)
        if self._is_due("converge", now, CONVERGE_EVERY):
            self._attempt_call(lambda: self._converge(now))
        if self._is_due("heartbeat", now, HEARTBEAT_EVERY):
            self._attempt_call(self._heartbeat)
        if self._is_due("token", now, TOKEN_EVERY):
            self._attempt_call(self._client.extend)

    def _heartbeat(self) -> None:
        for child in self._children.values():
            self._client.heartbeat(child.deployment, child.attempt)

    def _is_due(self, what: str, now: float, every: float) -> bool:
        if now < self._due.get(what, 0.0):
            return False
        self._due[what] = now + every
        return True

    def _attempt_call(self, call: Callable[[], Any]) -> None:
        """Do something with the gateway; when that fails for now, say so once and go on."""
        try:
            call()
        except (Unavailable, Unauthenticated) as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                self._report(f"{error}; the workers go on")
        else:
            self._complaint = ""

    def _converge(self, now: float) -> None:
        self._flush_reports()
        rows = {row["name"]: row for row in self._client.deployments()}
        self._desired = {name: row["desired"] for name, row in rows.items()}
        for name, row in rows.items():
            child = self._children.get(name)
            if row["desired"] != "stopped" and child is None and now >= self._not_before.get(name, 0.0):
                self._launch(name)
            elif child is not None and child.stopping_since is None and _shall_end(row, child):
                self._report(f"{name}: stopping attempt {child.attempt}")
                child.stop(now)
        for child in self._children.values():
            if child.stopping_since is not None and now > child.stopping_since + KILL_AFTER:
                child.kill()

    def _launch(self, name: str) -> None:
        try:
            attempt = self._client.new_attempt(name)
        except Conflict:
            return  # it was stopped meanwhile; the next turn sees it
        except Forbidden as error:
            self._report(f"{name}: {error}; a supervisor of its owner or of an admin runs it")
            self._not_before[name] = math.inf
            return
        assignment = Assignment(
            gateway=self._client.gateway,
            deployment=name,
            attempt=attempt.number,
            token=attempt.token,
            notebook=attempt.notebook,
            params=attempt.params,
            output=str(self._home / "runs" / name / f"{attempt.number}.ipynb"),
            deadline=STOP_DEADLINE,
            resources=attempt.resources,
            version=attempt.version,
            versions=str(self._home / "versions"),
            content_hash=attempt.content_hash,
            live=attempt.live,
        )
        child = Child(assignment, self._home / "logs" / f"{name}.log")
        self._children[name] = child
        self._report(f"{name}: attempt {child.attempt} started (process {child.pid})")

    # --- how they end ----------------------------------------------------------------------------------------------

    def _reap(self, now: float) -> None:
        for name, child in list(self._children.items()):
            outcome = child.outcome
            if outcome is not None:
                del self._children[name]
                self._ended(child, outcome, now)

    def _ended(self, child: Child, outcome: Outcome, now: float) -> None:
        name = child.deployment
        asked = child.stopping_since is not None or self._signals or self._wish(name) == "stopped"
        if asked or self._replaced(child):
            self._restarts.pop(name, None)
            self._finish(child, "finished" if outcome.exit_code == 0 else "failed", outcome)
            self._report(f"{name}: attempt {child.attempt} stopped{f': {outcome.message}' if outcome.message else ''}")
            return
        if outcome.exit_code == 0:
            outcome = Outcome(0, "the notebook ended without being asked to; does it call cu.run(strategy)?")
        pause = self._pause(name, outcome, now)
        self._finish(child, "failed", outcome, give_up=pause is None)
        if pause is None:
            self._report(f"{name}: attempt {child.attempt} failed: {outcome.message}; start it again by hand")
            self._restarts.pop(name, None)
        else:
            when = "at once" if pause == 0 else f"in {pause:g} s"
            self._report(f"{name}: attempt {child.attempt} died: {outcome.message}; starting again {when}")
            self._not_before[name] = now + pause
            self._due["converge"] = 0.0

    def _pause(self, name: str, outcome: Outcome, now: float) -> float | None:
        """Seconds until the next start; None for what would only happen again: the notebook's own error or end."""
        if outcome.exit_code in (0, 1) and outcome.error not in RETRYABLE:
            return None
        return self._restarts.setdefault(name, Restarts()).died(now)

    def _wish(self, name: str) -> str:
        """What the gateway wishes right now, or wished when it last answered."""
        self._attempt_call(lambda: self._desired.update({name: self._client.deployment(name)["desired"]}))
        return self._desired.get(name, "running")

    def _replaced(self, child: Child) -> bool:
        rows: list[Row] = []
        self._attempt_call(lambda: rows.append(self._client.deployment(child.deployment)))
        return bool(rows) and (int(rows[0]["fence"]) > child.attempt or _shall_end(rows[0], child))

    def _finish(self, child: Child, state: str, outcome: Outcome, *, give_up: bool = False) -> None:
        self._unreported.append((child, state, outcome, give_up))
        self._attempt_call(self._flush_reports)

    def _flush_reports(self) -> None:
        while self._unreported:
            child, state, outcome, give_up = self._unreported[0]
            try:
                self._client.finish(
                    child.deployment,
                    child.attempt,
                    state=state,
                    exit_code=outcome.exit_code,
                    message=outcome.message,
                    output=child.output,
                    give_up=give_up,
                )
            except (Unavailable, Unauthenticated):
                raise
            except CashUpError as error:
                # Another supervisor has replaced this attempt: what it did is recorded there.
                self._report(f"{child.deployment}: the end of attempt {child.attempt} was not recorded: {error}")
            del self._unreported[0]

    # --- the end ---------------------------------------------------------------------------------------------------

    def _stop_all(self) -> None:
        """Ask every worker to stop and wait; each further signal makes it firmer, at last they are killed."""
        names = ", ".join(self._children)
        if names:
            self._report(f"stopping {names}; at most {KILL_AFTER:.0f} s, once more Ctrl-C forces it")
        deadline = time.monotonic() + KILL_AFTER
        while self._children:
            now = time.monotonic()
            while self._passed_on < self._signals:
                self._passed_on += 1
                for child in self._children.values():
                    child.stop(now)
            if now > deadline:
                for child in self._children.values():
                    child.kill()
            if self._is_due("lease", now, LEASE_EVERY):
                self._attempt_call(self.acquire)
            self._reap(now)
            time.sleep(TICK)
        self._attempt_call(self._flush_reports)


def _shall_end(row: Row, child: Child) -> bool:
    """True when the deployment shall not run, or another attempt shall follow this one."""
    return row["desired"] == "stopped" or int(row.get("renew", 0)) >= child.attempt
