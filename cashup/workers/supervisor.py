"""The supervisor: keeps one worker process running for every deployment that shall run."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from cashup.client import Client, Row
from cashup.errors import CashUpError, Conflict, Forbidden, Unauthenticated, Unavailable, WorkFailed
from cashup.settings import Settings
from cashup.strategies.endings import Reason
from cashup.workers.archive import Archivist
from cashup.workers.assignment import Assignment, Outcome
from cashup.workers.child import Child
from cashup.workers.log import Log
from cashup.workers.nightly import Nightly

TICK = 0.1
CONVERGE_EVERY = 1.0
LEASE_EVERY = 3.0
HEARTBEAT_EVERY = 5.0
LOOK_EVERY = 1.0
ARCHIVE_EVERY = 15.0
ALIVE_EVERY = 2.0
ALIVE_FILE = Path("run", "supervisor.alive")
"""Under the home; its time is that of the newest turn. A pod's liveness probe looks at it."""
TOKEN_EVERY = 3_600.0
"""Access tokens live for hours and supervisors for months."""
STOP_DEADLINE = 30.0
KILL_AFTER = STOP_DEADLINE + 15.0
"""A worker forces its kernel after STOP_DEADLINE; one that still lives then is killed."""
HUNG_KILL_AFTER = 15.0
"""A worker that hangs has its cell interrupted at once, so that its record shows where; then it is killed."""
NEVER_TRADED = "the notebook ended without being asked to; does it call cu.run(strategy)?"


@dataclass(frozen=True, slots=True)
class Only:
    """The one deployment that a pod keeps, and which version of it lies there."""

    name: str
    version: str | None = None


class Supervisor:
    """Starts, watches, restarts and stops workers. Only the holder of the lease in the database does so.

    `report` gets one line per thing that happens. A gateway that is away for a while changes nothing for the workers.
    What follows an end is decided by the gateway, which counts deaths in its tables: another supervisor goes on alike.
    With `only` it keeps that deployment alone.
    """

    def __init__(
        self, client: Client, settings: Settings, report: Callable[[str], None], *, only: Only | None = None
    ) -> None:
        host = socket.gethostname()
        self.holder = f"{host}:{os.getpid()}:{secrets.token_hex(4)}"
        self.place = {"host": host, "boot": boot_id()}
        self._only = only
        self._missing: str | None = ""
        self._elsewhere: dict[str, float] = {}
        self._client = client
        self._home = settings.home_path
        self._archivist = Archivist(self._home, settings.run_days)
        self._report = report
        self._nightly = Nightly(client, settings.home_path, report)
        self._children: dict[str, Child] = {}
        self._foreign: set[str] = set()
        self._unreported: list[tuple[Child, str, Outcome]] = []
        self._rows: dict[str, Row] = {}
        now = time.monotonic()
        self._due: dict[str, float] = {"token": now + TOKEN_EVERY, "archive": now + ARCHIVE_EVERY}
        self._complaint = ""
        self._signals = 0
        self._passed_on = 0

    def acquire(self) -> None:
        """Take or renew the lease; raises WorkFailed when another supervisor holds it.

        A worker whose deployment another supervisor has taken meanwhile is killed at once.
        """
        try:
            only = None if self._only is None else self._only.name
            lease = self._client.lease(self.holder, self.place, only=only, running=list(self._children))
        except Conflict as error:
            raise WorkFailed(
                f"another supervisor is at work ({error}); hand it your deployments with `cashup live up --detach`",
                code="second_supervisor",
            ) from error
        for child in [self._children[name] for name in lease["lost"] if name in self._children]:
            self._report(f"{child.deployment}: another supervisor works for it now; attempt {child.attempt} is killed")
            child.kill()

    def wait_for_lease(self) -> None:
        """Take the lease as soon as nobody else holds it and the gateway answers; Ctrl-C ends the wait."""
        complaint = ""
        while True:
            try:
                self.acquire()
            except (WorkFailed, Unavailable) as error:
                if complaint != (complaint := str(error.__cause__ or error)):
                    self._report(f"{complaint}; waiting")
            else:
                return
            self._alive()
            time.sleep(CONVERGE_EVERY)

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
            self._nightly.stop()
            for child in self._children.values():
                child.kill()
            self._archivist.stop()
            for number, handler in previous.items():
                signal.signal(number, handler)
            self._attempt_call(lambda: self._client.release_lease(self.holder))

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1

    # --- one turn --------------------------------------------------------------------------------------------------

    def _turn(self, now: float) -> None:
        self._reap(now)
        if self._is_due("look", now, LOOK_EVERY):
            for child in self._children.values():
                child.look()
            self._archivist.reap()
        if self._is_due("lease", now, LEASE_EVERY):
            self._attempt_call(self.acquire)
        if self._is_due("converge", now, CONVERGE_EVERY):
            self._attempt_call(lambda: self._converge(now))
        if self._is_due("heartbeat", now, HEARTBEAT_EVERY):
            self._attempt_call(self._heartbeat)
        if self._is_due("token", now, TOKEN_EVERY):
            self._attempt_call(self._client.extend)
        if self._is_due("archive", now, ARCHIVE_EVERY):
            self._archivist.look({f"{child.deployment}/{child.attempt}" for child in self._children.values()})
        if self._only is None:  # a pod has no lake, and a token for its deployment alone
            self._nightly.turn()
        if self._is_due("alive", now, ALIVE_EVERY):
            self._alive()

    def _alive(self) -> None:
        """Touch the file by which others on this machine see that this process turns, gateway or not."""
        file = self._home / ALIVE_FILE
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch()

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
        self._rows = {row["name"]: row for row in self._deployments()}
        for name, row in list(self._rows.items()):
            child = self._children.get(name)
            if child is None:
                self._without_worker(name, row, now)
            elif child.stopping_since is None and _shall_end(row, child):
                self._report(f"{name}: stopping attempt {child.attempt}")
                child.stop(now)
            elif child.stopping_since is None:
                self._look_after(child, row, now)
        for child in self._children.values():
            patience = HUNG_KILL_AFTER if child.hung else KILL_AFTER
            if child.stopping_since is not None and now > child.stopping_since + patience:
                child.kill()

    def _deployments(self) -> list[Row]:
        if self._only is None:
            return self._client.deployments()
        row = self._client.deployment(self._only.name)
        wanted = row["spec"].get("version")
        if self._only.version in (None, wanted) or self._children:
            return [row]
        if self._missing != wanted:
            self._missing = wanted
            self._report(
                f"{row['name']}: version {wanted} shall run, and here lies {self._only.version}; render it again"
            )
        return []

    def _without_worker(self, name: str, row: Row, now: float) -> None:
        """Start what shall run and may be started now; an attempt that nobody watches any more has ended."""
        attempt = row["attempt"]
        if row["desired"] != "stopped" and name not in self._foreign:
            wait = row["restarts"]["again_in"] / 1000
            if wait <= 0:
                self._launch(name)
            else:
                self._due["converge"] = min(self._due["converge"], now + wait)
        elif attempt is not None and attempt["finished_at"] is None and name not in self._foreign:
            self._bury(name, attempt)

    def _bury(self, name: str, attempt: Row) -> None:
        """Its supervisor died, and it with it: nobody saw the end."""
        message = "its supervisor ended before it, and nobody saw how it ended"
        try:
            if not self._may_bury(name):
                return
            self._client.finish(
                name, attempt["number"], state="failed", reason=Reason.REPLACED, exit_code=None, message=message
            )
        except Conflict:
            pass  # somebody has seen it meanwhile
        except Forbidden:
            self._foreign.add(name)

    def _look_after(self, child: Child, row: Row, now: float) -> None:
        """Tell of a worker that falls behind, and end one that hangs."""
        attempt = row["attempt"]
        if attempt is None or attempt["number"] != child.attempt:
            return
        behind = int(attempt["behind"])
        if row["hung"]:
            child.hung = f"{behind} bars came and it decided none" if behind else "it does not come back to the gateway"
            self._report(f"{child.deployment}: attempt {child.attempt} hangs: {child.hung}; it is replaced")
            self._tell(child, f"{child.hung}: it is taken to hang, interrupted, and replaced")
            child.force(now)
        elif behind >= 2 and behind > child.behind:
            self._tell(child, f"it has not decided {behind} bars yet; see `hang_bars` of its deployment")
        child.behind = behind

    def _tell(self, child: Child, sentence: str) -> None:
        """Write a line into the log of the deployment."""
        log = Log(child.log)
        log.write(f"attempt {child.attempt}: {sentence}\n", "supervisor")
        log.close()

    def _may_bury(self, name: str) -> bool:
        """Whether no other supervisor works for this deployment."""
        if self._only is not None:
            return True
        lease = self._client.lease(self.holder, self.place, running=[*self._children, name])
        return name not in lease["lost"]

    def _launch(self, name: str) -> None:
        now = time.monotonic()
        if now < self._elsewhere.get(name, 0.0):
            return
        try:
            attempt = self._client.new_attempt(name, self.holder, self.place)
        except Conflict as error:
            if error.code == "supervised":  # another supervisor works for it: there is no hurry to ask again
                self._elsewhere[name] = now + LEASE_EVERY
            return  # or it was stopped meanwhile; the next turn sees it
        except Forbidden as error:
            self._report(f"{name}: {error}; a supervisor of its owner or of an admin runs it")
            self._foreign.add(name)
            return
        assignment = Assignment(
            gateway=self._client.gateway,
            deployment=name,
            attempt=attempt.number,
            token=attempt.token,
            notebook=attempt.notebook,
            params=attempt.params,
            output=str(self._home / "runs" / name / str(attempt.number)),
            log=str(self._home / "logs" / f"{name}.log"),
            deadline=STOP_DEADLINE,
            resources=attempt.resources,
            version=attempt.version,
            versions=str(self._home / "versions"),
            content_hash=attempt.content_hash,
            live=attempt.live,
        )
        child = Child(assignment, Path(assignment.log))
        self._children[name] = child
        self._report(f"{name}: attempt {child.attempt} started (process {child.pid})")

    # --- how they end ----------------------------------------------------------------------------------------------

    def _reap(self, now: float) -> None:
        for name, child in list(self._children.items()):
            outcome = child.outcome
            if outcome is not None:
                del self._children[name]
                self._ended(child, outcome)

    def _ended(self, child: Child, outcome: Outcome) -> None:
        """Say why it ended, which takes knowing what was asked of it."""
        reason, message = outcome.reason, outcome.message
        row = self._row(child.deployment)
        asked = child.stopping_since is not None or self._signals or (row is not None and _shall_end(row, child))
        if child.hung:
            reason, message = Reason.HUNG, child.hung
        elif row is not None and int(row["fence"]) > child.attempt:
            reason = Reason.REPLACED
        elif asked:
            forced = reason is Reason.FORCED or outcome.exit_code < 0
            reason = Reason.FORCED if forced else Reason.STOPPED
        elif reason is None:
            reason, message = Reason.NOTEBOOK_ENDED, NEVER_TRADED
        state = "finished" if reason in (Reason.STOPPED, Reason.REPLACED) and outcome.exit_code == 0 else "failed"
        self._unreported.append((child, state, Outcome(outcome.exit_code, message, reason)))
        self._attempt_call(self._flush_reports)

    def _row(self, name: str) -> Row | None:
        """The deployment as the gateway has it right now, or had it when it last answered; None when it never did."""
        self._attempt_call(lambda: self._rows.update({name: self._client.deployment(name)}))
        return self._rows.get(name)

    def _flush_reports(self) -> None:
        while self._unreported:
            child, state, outcome = self._unreported[0]
            try:
                verdict = self._client.finish(
                    child.deployment,
                    child.attempt,
                    state=state,
                    reason=outcome.reason or Reason.FAILED,
                    exit_code=outcome.exit_code,
                    message=outcome.message,
                    output=child.output,
                )
            except (Unavailable, Unauthenticated):
                raise
            except CashUpError as error:
                # Another supervisor has replaced this attempt: what it did is recorded there.
                self._report(f"{child.deployment}: the end of attempt {child.attempt} was not recorded: {error}")
            else:
                self._follow(child, outcome, verdict)
            del self._unreported[0]

    def _follow(self, child: Child, outcome: Outcome, verdict: Row) -> None:
        """Say what follows, and look again when it is time for it."""
        what = f"{child.deployment}: attempt {child.attempt}"
        if verdict["verdict"] == "stopped":
            self._report(f"{what} stopped{f': {outcome.message}' if outcome.message else ''}")
        elif verdict["verdict"] == "given_up":
            self._report(f"{what} failed: {outcome.message}; start it again by hand")
        else:
            wait = verdict["again_in"] / 1000
            when = "at once" if wait <= 0 else f"in {wait:.1f} s"
            self._report(f"{what} died: {outcome.message}; starting again {when}")
        self._due["converge"] = 0.0

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


def boot_id() -> str:
    """An id that is new with each start of this machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
