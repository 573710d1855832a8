"""The worker process, `cashup worker`: papermill around one deployment's notebook.

The task comes on standard input, the outcome goes to standard output, the log to standard error. Standard input stays
open as a lifeline: when the supervisor is gone it ends, and the worker stops as if it had been asked to.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from cashup.clock import Clock, FastClock, WallClock
from cashup.errors import CashUpError, UsageError
from cashup.strategies.endings import Reason
from cashup.workers import causes, coredump
from cashup.workers.assignment import Assignment, Outcome
from cashup.workers.context import Task
from cashup.workers.engine import KERNEL_NAME
from cashup.workers.folder import prepare
from cashup.workers.frozen import notebook_of
from cashup.workers.lean import load_papermill
from cashup.workers.log import Log
from cashup.workers.sandbox import Plan
from cashup.workers.signals import StopSignals


def run(words: Sequence[str]) -> NoReturn:
    """Be the worker as a forked process; `words` are for whoever looks at the list of processes."""
    sys.exit(main())


def main() -> int:
    """Execute the task that standard input brings; the exit code, which the outcome on standard output repeats."""
    coredump.forbid()
    with StopSignals(graceful=True) as signals:
        stdin = sys.stdin.fileno()
        try:
            assignment = Assignment.from_line(b"" if os.isatty(stdin) else _read_line(stdin))
        except UsageError as error:
            sys.stderr.write(f"{error}\n")
            return error.exit_code
        signals.deadline = assignment.deadline
        threading.Thread(target=_lifeline, args=(stdin, signals), daemon=True).start()
        clock = FastClock(assignment.speed) if assignment.speed != 1.0 else WallClock()
        log = Log(Path(assignment.log or os.devnull), takes=sys.stderr.fileno() if assignment.log else None)
        log.write(f"attempt {assignment.attempt} begins, process {os.getpid()}\n", "worker")
        outcome = work(assignment, signals, log, clock)
        log.write(f"attempt {assignment.attempt} ends: {outcome.reason or 'the notebook came to its end'}", "worker")
        log.write(f" {outcome.message}\n", "worker")
        log.close()
    sys.stdout.write(outcome.to_json())
    sys.stdout.flush()
    return outcome.exit_code


def _read_line(descriptor: int) -> bytes:
    # Unbuffered: a thread that waits inside Python's own buffer would break the interpreter's exit.
    line = b""
    while not line.endswith(b"\n") and (more := os.read(descriptor, 65536)):
        line += more
    return line


def _lifeline(descriptor: int, signals: StopSignals) -> None:
    """Wait for the supervisor's end of the pipe to close, which it does when the supervisor dies, however it dies."""
    while os.read(descriptor, 65536):
        pass
    if signals.received == 0:
        os.kill(os.getpid(), signal.SIGTERM)


def work(assignment: Assignment, signals: StopSignals, log: Log, clock: Clock) -> Outcome:
    """Execute the notebook and say how it ended; raises nothing that the notebook or its kernel did."""
    load_papermill()
    from papermill.exceptions import PapermillExecutionError

    from cashup.workers.execution import KernelDied

    try:
        _execute(assignment, signals, log, clock)
    except PapermillExecutionError as error:
        place = f"cell [{error.exec_count}]" if error.exec_count else f"cell {error.cell_index}"
        message = f"{place} raised {error.ename}: {error.evalue}".strip()
        return Outcome.of(causes.of_error(error.ename, error.evalue), message)
    except KernelDied as error:
        reason, how = causes.of_kernel(error.code, oom=error.oom)
        return Outcome.of(reason, f"the kernel died: it {how}")
    except SystemExit:
        return Outcome.of(Reason.FORCED, "the notebook did not end when it was asked to, and was forced")
    except CashUpError as error:
        return Outcome.of(Reason.STRATEGY_ERROR, str(error))
    except OSError as error:
        return Outcome.of(causes.of_system_error(error), f"the worker failed: {error}")
    except Exception as error:  # noqa: BLE001  the process's edge: whatever it is, the supervisor must learn of it
        _log_traceback()
        return Outcome.of(Reason.FAILED, f"the worker failed: {type(error).__name__}: {error}")
    return Outcome(0, "", Reason.STOPPED if signals.received else None)


def _execute(assignment: Assignment, signals: StopSignals, log: Log, clock: Clock) -> None:
    import papermill

    from cashup.strategies.notebook import check_parameters
    from cashup.workers.record import ADDRESS, Record

    plan = _plan(assignment)
    plan.check()
    notebook, working = notebook_of(assignment), Path(assignment.notebook).resolve().parent
    params = check_parameters(notebook, assignment.params)
    kept = Path(assignment.output).resolve()
    kept.mkdir(parents=True, exist_ok=True)
    record = Record(kept, clock)
    record.register()
    descriptor = _token_pipe(assignment.token)
    resources = assignment.resources
    task = Task(assignment.gateway, assignment.deployment, assignment.attempt, descriptor, resources)
    folder = prepare(Path(assignment.folder), [notebook.parent, working]) if assignment.folder else working
    try:
        with log.pump("kernel") as kernel_log:
            papermill.execute_notebook(
                str(notebook.resolve()),
                ADDRESS,
                parameters=params,
                engine_name="cashup",
                kernel_name=KERNEL_NAME,
                language="python",
                cwd=str(folder),
                progress_bar=False,
                signals=signals,
                kernel_env=task.to_env() | plan.to_env(),
                pass_fds=(descriptor,),
                kernel_log=kernel_log,
                record=record,
                log=log,
                # Of the template that this process may come from itself; it holds nothing of anybody, both may outlive
                # it, and the kernel is killed with this process as a child of its own would be.
                flavour="live",
                warm=assignment.warm,
                most_tasks=resources.get("processes"),
            )
    finally:
        os.close(descriptor)


def _plan(assignment: Assignment) -> Plan:
    """The walls that the kernel gets. A supervisor says which, and spares its workers the settings, which are large."""
    if assignment.walls is not None:
        return Plan.read(assignment.walls)
    from cashup.settings import Settings

    return Plan.of(Settings())  # not those that a template may have read before it forked this process


def _token_pipe(token: str) -> int:
    """The reading end of a pipe that holds the token and nothing else; the kernel inherits it."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(token.encode())
    return reading


def _log_traceback() -> None:
    import traceback

    traceback.print_exc(file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
