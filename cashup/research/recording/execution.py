"""Executing a notebook as a recorded backtest: papermill, our engine, one folder per run.

A run that failed leaves its executed notebook, which can be opened at the failing cell and run on by hand.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cashup import errors
from cashup.errors import CashUpError, NotebookError, UsageError, WorkFailed
from cashup.research.recording.resume import ANCHOR, make_resumable
from cashup.research.spec import ENV, RunSpec
from cashup.settings import Settings


@dataclass(frozen=True, slots=True)
class Execution:
    """An executed notebook: where it lies, and what its `cu.run` reported."""

    output: Path
    result: Mapping[str, Any]


def execute(
    notebook: Path, params: Mapping[str, Any], spec: RunSpec, settings: Settings, *, progress: bool = False
) -> Execution:
    """Run every cell of `notebook` with `params` (checked before) in a fresh kernel, told by `spec` what to run on.

    The executed notebook goes to `runs/<run id>/` under the home. Raises what `cu.run` raised when it is an error of
    ours, WorkFailed when a cell raised or the kernel died (its sentence names cell, line and file), NotebookError when
    `cu.run` was never called.
    """
    folder = settings.home_path / "runs" / str(spec.run_id)
    folder.mkdir(parents=True)
    output, result, told = folder / notebook.name, folder / "result.json", folder / "run.json"
    replace(spec, result_path=str(result)).write(told)
    env = {ENV: str(told), "CASHUP_HOME": str(settings.home_path), "CASHUP_LAKE": str(settings.lake_path)}
    try:
        _papermill(notebook.resolve(), output, params, env, progress)
        if not result.is_file():
            raise NotebookError(f"{notebook.name} never calls cu.run(strategy); add a cell that does", code="no_run")
    except UsageError:
        shutil.rmtree(folder)  # the sentence says it all, and nothing was run
        raise
    except WorkFailed:
        make_resumable(output, notebook, replace(spec, result_path=None), settings)
        raise
    return Execution(output, json.loads(result.read_text()))


def _papermill(notebook: Path, output: Path, params: Mapping[str, Any], env: Mapping[str, str], progress: bool) -> None:
    import papermill
    from nbclient.exceptions import DeadKernelError

    try:
        papermill.execute_notebook(
            str(notebook),
            str(output),
            parameters=dict(params),
            engine_name="cashup",
            kernel_name="python3",
            language="python",
            kernel_env=dict(env),
            cwd=str(notebook.parent),
            progress_bar=progress,
        )
    except papermill.PapermillExecutionError as error:
        raise _as_ours(error, notebook, output) from error
    except DeadKernelError as error:
        raise WorkFailed(
            f"the kernel that ran {notebook.name} died (out of memory?); see {output}", code="kernel_died"
        ) from error


def _as_ours(error: Any, notebook: Path, output: Path) -> CashUpError:
    """Our own errors as they were raised in the kernel; everything else is the notebook's."""
    kind = getattr(errors, error.ename, None)
    if isinstance(kind, type) and issubclass(kind, UsageError):
        return kind(str(error.evalue))
    return WorkFailed(
        f"{notebook.name} raised {error.ename}: {error.evalue} in its cell [{error.exec_count}]{_line(error)}; "
        f"`cashup lab --run {output.parent.name}` opens {output}#{ANCHOR}",
        code="notebook_raised",
    )


def _line(error: Any) -> str:
    """The line of the failing cell, as the traceback names it; the innermost one."""
    text = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error.traceback))
    found = re.findall(rf"In\s?\[{error.exec_count}\], line (\d+)", text)
    return f", line {found[-1]}" if found else ""
