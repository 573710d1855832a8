"""How a stop reaches the kernel: SIGTERM and SIGINT of the papermill process, passed on step by step."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cashup.workers.fork import Forked

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Passes stop signals on to one kernel, each time more firmly.

    A worker (`graceful`) gets SIGTERM first, which its strategy loop takes as the wish to end; the cells after it still
    run. The second signal, or `deadline` seconds, interrupts the cell; the third, or `grace` seconds more, kills.
    A notebook that is no worker is interrupted by the first signal.
    """

    def __init__(self, *, graceful: bool, deadline: float = 30.0, grace: float = 5.0) -> None:
        self.graceful = graceful
        self.deadline = deadline
        self.grace = grace
        self.received = 0
        self.last: signal.Signals | None = None
        self.forced = False
        self._kernel: subprocess.Popen[bytes] | Forked | None = None
        self._timer: threading.Timer | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        """Install the handlers; outside the main thread, where Python allows none, do nothing."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the former handlers back."""
        self.detach()
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def attach(self, kernel: subprocess.Popen[bytes] | Forked | None) -> None:
        """From here on signals go to this kernel; one that came before goes to it at once."""
        self._kernel = kernel
        if self.received:
            self._first()

    def detach(self) -> None:
        """The kernel has ended: nothing is sent any more."""
        self._kernel = None
        self._cancel_timer()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.received += 1
        self.last = signal.Signals(number)
        if self._kernel is None:
            return
        if self.received == 1:
            self._first()
        elif not self.forced:
            self._interrupt()
        else:
            self._kill()

    def _first(self) -> None:
        if not self.graceful:
            self._interrupt()
            return
        if self._kernel is not None:
            self._kernel.send_signal(signal.SIGTERM)
            self._after(self.deadline, self._interrupt)

    def _interrupt(self) -> None:
        self.forced = True
        self._signal_group(signal.SIGINT)
        self._after(self.grace, self._kill)

    def _kill(self) -> None:
        self.forced = True
        self._cancel_timer()
        self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: signal.Signals) -> None:
        # The kernel leads its own session, so its group is the kernel and what its cells started.
        kernel = self._kernel
        if kernel is None or kernel.poll() is not None:
            return
        os.killpg(kernel.pid, number)

    def _after(self, seconds: float, action: Any) -> None:
        self._cancel_timer()
        self._timer = threading.Timer(seconds, action)
        self._timer.daemon = True
        self._timer.start()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
