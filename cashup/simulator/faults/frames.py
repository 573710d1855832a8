"""Faults of the private WebSocket channels: what happens to a frame on its way to the customer.

Each is `(streams, frame, rest, fault)`; `rest` are the frames of the same happening that would follow, in order.
Without any fault the frame is handed to `streams.deliver`.
"""

from __future__ import annotations

import asyncio

from cashup.simulator.faults.board import Fault, Layer, kind
from cashup.simulator.streams import PrivateFrame, Streams

FRAME = Layer.FRAME


@kind(FRAME)
def missing_frame(streams: Streams, frame: PrivateFrame, rest: list[PrivateFrame], fault: Fault) -> None:
    """A frame that never comes."""


@kind(FRAME, times=2)
def duplicated_frame(streams: Streams, frame: PrivateFrame, rest: list[PrivateFrame], fault: Fault) -> None:
    """A frame that comes `times` times."""
    for _ in range(fault["times"]):
        streams.deliver(frame)


@kind(FRAME, seconds=2.0)
def late_frame(streams: Streams, frame: PrivateFrame, rest: list[PrivateFrame], fault: Fault) -> None:
    """A frame that comes `seconds` late."""
    asyncio.get_running_loop().call_later(fault["seconds"], streams.deliver, frame)


@kind(FRAME, seconds=5.0)
def overtaken_frame(streams: Streams, frame: PrivateFrame, rest: list[PrivateFrame], fault: Fault) -> None:
    """A frame that comes behind the customer's next one, whatever that is, or after `seconds`."""
    streams.hold(frame)
    asyncio.get_running_loop().call_later(fault["seconds"], streams.release, frame)


@kind(FRAME)
def shuffled_frames(streams: Streams, frame: PrivateFrame, rest: list[PrivateFrame], fault: Fault) -> None:
    """The frames of one happening (balances, trades, order) come in any order."""
    frames = [frame, *rest]
    rest.clear()
    streams.faults.random.shuffle(frames)
    for one in frames:
        streams.deliver(one)


@kind(Layer.SUBSCRIPTION)
def silent_subscription(streams: Streams) -> None:
    """A subscription to a private channel is acknowledged, and then nothing comes."""


FRAMES = (missing_frame, duplicated_frame, late_frame, overtaken_frame, shuffled_frames, silent_subscription)
