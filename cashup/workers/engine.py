"""The papermill engine `cashup`, found through the entry point `papermill.engine`.

papermill loads this module while it is itself half imported, so nothing heavy and nothing of papermill may be imported
here; the work is in `execution.py`.
"""

from __future__ import annotations

from typing import Any

KERNEL_NAME = "python3"


class CashUpEngine:
    """Runs a notebook in a kernel of this very Python: IPC sockets, a scrubbed environment, signals passed on.

    Beyond papermill's own arguments `execute_notebook` takes `kernel_env` (variables added to the allow-list),
    `pass_fds` (descriptors the kernel inherits), `signals` (a `StopSignals` that is already installed),
    `kernel_log` (a descriptor for what the kernel process itself writes), `record` (a `Record`, one file per day),
    `log` (a `Log`, which gets every line of output), `flavour` (of the warm process that the kernel is forked from,
    where there is one: `research` or `live`; None: an ordinary kernel), `warm` (the home of that process; empty: an
    ordinary kernel; None: what the settings say) and `most_tasks` (how many processes and threads the kernel may have;
    with more it is killed).
    """

    @classmethod
    def execute_notebook(cls, nb: Any, kernel_name: str | None = None, **options: Any) -> Any:
        """Execute `nb` in place and return it.

        Raises nbclient's DeadKernelError when the kernel died by itself, SystemExit(143) when it had to be forced,
        and KeyboardInterrupt when Ctrl-C interrupted a notebook that is no worker.
        """
        from cashup.workers.execution import ManagedEngine

        return ManagedEngine.execute_notebook(nb, KERNEL_NAME, **options)

    @classmethod
    def nb_kernel_name(cls, nb: Any, name: str | None = None) -> str:
        """The kernel is always this Python, whatever kernel the author's machine wrote into the file."""
        return KERNEL_NAME

    @classmethod
    def nb_language(cls, nb: Any, language: str | None = None) -> str:
        """Notebooks are Python."""
        return "python"
