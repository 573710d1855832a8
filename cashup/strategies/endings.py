"""How workers end, and what follows: words that the gateway, its supervisors and their workers share."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why an attempt ended."""

    STOPPED = "stopped"
    """It was asked to, and did."""
    STRATEGY_ERROR = "strategy_error"
    """A cell raised, or the notebook breaks the contract."""
    KERNEL_DIED = "kernel_died"
    """The kernel, or the worker process around it, was killed or crashed."""
    OUT_OF_MEMORY = "out_of_memory"
    """MemoryError, or killed while the kernel of the system killed for memory."""
    HUNG = "hung"
    """Bars came and none was decided."""
    REPLACED = "replaced"
    """Another attempt, or another supervisor, took over."""
    GATEWAY_LOST = "gateway_lost"
    """The gateway was away for longer than the worker's token was good for."""
    GATEWAY_UPGRADED = "gateway_upgraded"
    """The gateway came back with another protocol."""
    REBOOTED = "rebooted"
    """The machine was started anew while it ran."""
    FORCED = "forced"
    """It did not end when it was asked to."""
    NOTEBOOK_ENDED = "notebook_ended"
    """The last cell was reached without anybody asking for the end."""
    DISK_FULL = "disk_full"
    """Nothing more could be written."""
    FAILED = "failed"
    """Anything else that went wrong around the notebook."""


DEATHS = frozenset(
    {
        Reason.KERNEL_DIED,
        Reason.OUT_OF_MEMORY,
        Reason.HUNG,
        Reason.GATEWAY_LOST,
        Reason.FORCED,
        Reason.DISK_FULL,
        Reason.FAILED,
    }
)
"""After these it is started again, with growing pauses, until there were too many."""

FINAL = frozenset({Reason.STRATEGY_ERROR, Reason.NOTEBOOK_ENDED})
"""These would only happen again: nobody starts it again by itself."""
