"""What `cu.run` does inside a worker: bars in, targets out, until it is asked to stop."""

from __future__ import annotations

import gc
import math
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from cashup.client import Row
from cashup.errors import Conflict, IntentQuotaExceeded, NotebookError, Unauthenticated, WorkFailed
from cashup.strategies.levels import has_stops
from cashup.strategies.symbols import is_contract
from cashup.types import Millis, Symbol
from cashup.workers import context
from cashup.workers.absence import ACT, decides, missed_bars, told
from cashup.workers.link import STOP, Link
from cashup.workers.status import Status
from cashup.workers.window import Window

if TYPE_CHECKING:
    from cashup.strategies.strategy import Strategy
    from cashup.workers.live_run import LiveRun

PAUSED = "paused: it follows the bars and decides nothing until `cashup live resume`"
PAUSED_CODE = "paused"
"""The code of an intent that is refused because the deployment is paused."""

QUOTA_PAUSE_SECONDS = 0.2
"""How long a worker waits before it repeats an intent that was one too many; 40 more are allowed by then."""


def run_live(strategy: Strategy) -> LiveRun:
    """Trade `strategy` as the deployment this kernel works for, until it is stopped; then what came of it.

    Raises what the strategy raises, NotebookError when it needs what is not traded live yet, and WorkFailed or
    Unauthenticated when the gateway refuses this worker.
    """
    from cashup.workers.live_run import fetch

    require_tradable(strategy)
    task = context.current_task()
    token = context.take_token()
    if task is None or token is None:
        raise Unauthenticated("this kernel has no token (any more): a worker's notebook calls cu.run once")
    _calm_the_collector()
    with Link(task.gateway, token, subscription_of(strategy)) as link:
        session = Session(strategy, link, Status(task.deployment, task.attempt))
        context.stop.on_stop = lambda: link.inbox.put(STOP)
        if context.stop.requested:
            link.inbox.put(STOP)
        try:
            session.trade()
        finally:
            context.stop.on_stop = None
    return fetch(task.gateway, link.token, task.deployment, strategy)


def require_tradable(strategy: Strategy) -> None:
    """Raise NotebookError, before anything is traded, when `strategy` needs what is not traded live yet."""
    contract = next((symbol for symbol in strategy.symbols if is_contract(symbol)), None)
    if has_stops(strategy):
        what = "stops"
    elif strategy.leverage > 1:
        what = f"a leverage of {strategy.leverage:g}"
    elif contract is not None:
        what = f"the contract {contract}"
    elif strategy.sees:
        what = f"{' and '.join(strategy.sees)} among what it sees"
    else:
        return
    raise NotebookError(
        f"{strategy.name} has {what}, which is not traded live yet; backtest and replay can, and a deployment needs a "
        "strategy without it",
        code="not_live",
    )


def subscription_of(strategy: Strategy) -> Row:
    """The bars that `strategy` needs from the gateway: of what it trades, then of what it watches.

    A candidate of a universe may lack a bar, as in a backtest.
    """
    return {
        "symbols": [*strategy.symbols, *strategy.watch],
        "timeframe": strategy.timeframe,
        "history": strategy.warmup + 1,
        "outer": strategy.universe is not None,
        "state": strategy.stateful,
    }


def _calm_the_collector() -> None:
    # What is loaded now stays to the end, and pandas drops most of its objects without the collector's help:
    # looking through all of them again and again costs a fifth of a decision.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


class Session:
    """The loop of one attempt. One intent is on its way at a time; what is not answered is repeated with its key."""

    def __init__(self, strategy: Strategy, link: Link, status: Status) -> None:
        self._strategy = strategy
        self._link = link
        self._status = status
        self._window = Window((*strategy.symbols, *strategy.watch), strategy.timeframe, strategy.warmup + 1)
        self._pending: Row | None = None
        self._waiting: deque[Row] = deque()
        self._since: Millis | None = None
        self._paused = False
        self._policy = ACT
        self._late = 0

    def trade(self) -> None:
        """Work until a stop; the positions stay as they are."""
        self._status.show(now=True)
        handlers = {
            "bars.history": self._on_history,
            "bar": self._on_bar,
            "intent.accepted": self._on_accepted,
            "intent.refused": self._on_refused,
            "pause": self._on_pause,
            "resume": self._on_resume,
            "disconnected": self._on_disconnected,
            "error": self._on_error,
            "failed": self._on_failed,
        }
        try:
            while (message := self._link.inbox.get())["type"] != "stop":
                handler = handlers.get(message["type"])
                if handler is not None:
                    handler(message)
            self._status.connection = f"stopped: {message.get('reason') or 'asked to stop'}"
        finally:
            self._status.show(now=True)

    def _on_history(self, message: Row) -> None:
        """A (new) connection: everything before it is in the history, everything after it comes bar by bar."""
        self._status.connection = PAUSED if self._paused else "connected"
        self._waiting.clear()
        self._late = 0
        self._policy = message.get("missed_bars", ACT)
        times, decided = message["times"], message["last_decided"]
        newest = times[-1] if times else None
        if self._since is None:
            # A deployment that never decided waits for the first close from here on.
            self._since = newest if decided is None else decided
        baseline = max((bar for bar in (decided, self._since) if bar is not None), default=None)
        if self._pending is not None and (self._pending["bar"] != newest or newest == decided):
            self._pending = None
        self._link.send({"type": "ready", "bar": newest})
        if self._pending is not None or self._paused:
            self._window.load(times, message["bars"])
        else:
            self._catch_up(message, baseline)
        if self._pending is not None:
            self._link.send(self._pending)
        self._status.show()

    def _catch_up(self, message: Row, baseline: Millis | None) -> None:
        """Decide the newest bar, if that is to be done; a state sees every bar since the one it was kept with."""
        times, bars, kept = message["times"], message["bars"], message.get("state")
        seen = baseline
        if self._strategy.stateful:
            self._strategy.begin(kept)
            seen = message["state_bar"] if kept is not None else message["last_decided"] or baseline
        unseen = sum(seen is not None and time > seen for time in times)
        first = len(times) - (unseen if self._strategy.stateful else min(unseen, 1))
        self._window.load(times[:first], bars)
        for number in range(first, len(times)):
            self._window.append(times[number], {symbol: rows[number] for symbol, rows in bars.items()})
            if number < len(times) - 1 or (baseline is not None and times[number] <= baseline):
                self._ask()
            else:
                self._come_back(missed_bars(times, baseline, self._strategy.bar_millis))

    def _come_back(self, missed: int) -> None:
        """The newest bar closed while nobody decided, and it is the last of `missed`."""
        bar = self._window.newest
        if bar is None or not self._window.full:
            self._decide()
            return
        if missed > 1 or self._policy != ACT:
            self._status.missed += missed
            self._status.note = told(self._policy, missed)
            self._link.send({"type": "missed", "bar": bar, "missed": missed})
        if decides(self._policy, missed, bar):
            self._decide()
        else:
            self._ask()
            self._since = bar

    def _on_bar(self, message: Row) -> None:
        if self._paused:
            self._window.append(message["time"], message["bars"])
            return
        if self._pending is not None:
            self._waiting.append(message)  # every bar is decided, in order
            return
        self._window.append(message["time"], message["bars"])
        if message.get("late"):
            self._late += 1
            self._ask()
        elif self._late:
            missed, self._late = self._late + 1, 0
            self._come_back(missed)
        else:
            self._decide()

    def _ask(self) -> dict[Symbol, float] | None:
        """What the strategy wants at the newest bar; None while it warms up. Without a state asking leaves no trace."""
        if not self._window.full:
            return None
        return self._strategy.decide(self._window.bars().split(self._strategy.symbols))

    def _decide(self) -> None:
        targets, bar = self._ask(), self._window.newest
        if targets is None or bar is None:
            self._status.note = f"warming up: {len(self._window)} of {self._window.size} bars"
            self._status.show()
            return
        self._pending = {
            "type": "intent",
            "key": str(bar),
            "bar": bar,
            "targets": as_json(targets),
            "rebalance": self._strategy.rebalance,
        }
        kept = self._strategy.kept
        if kept is not None:
            self._pending["state"] = kept
        self._link.send(self._pending)

    def _on_accepted(self, message: Row) -> None:
        if self._pending is None or message["key"] != self._pending["key"]:
            return  # the answer to a repetition that had been answered before
        self._since = self._status.decided = self._pending["bar"]
        self._pending = None
        self._status.bars += 1
        self._status.note = ""
        self._status.show()
        while self._waiting and self._pending is None:
            self._on_bar(self._waiting.popleft())

    def _on_pause(self, message: Row) -> None:
        """Follow the bars and decide nothing; what is on its way is answered."""
        self._paused = True
        self._status.connection = PAUSED
        while self._waiting:
            self._on_bar(self._waiting.popleft())
        self._status.show(now=True)

    def _on_resume(self, message: Row) -> None:
        """What was missed is missed as by a lost connection: a new one tells what it was."""
        self._link.reconnect()

    def _on_refused(self, message: Row) -> None:
        if message["code"] == IntentQuotaExceeded.code:
            self._repeat_later(message)
            return
        if message["code"] == PAUSED_CODE:
            self._pending = None
            self._link.reconnect()  # the gateway says whether it is paused still, and with which state it goes on
            return
        error = Conflict if message["code"] == Conflict.code else WorkFailed
        raise error(
            f"the gateway refused the intent of bar {message['key']}: {message['message']}", code=message["code"]
        )

    def _repeat_later(self, message: Row) -> None:
        """More intents than a deployment may send, as when bars are closed faster than the clock's: nothing is lost."""
        self._status.note = message["message"]
        self._status.show()
        time.sleep(QUOTA_PAUSE_SECONDS)
        if self._pending is not None and self._pending["key"] == message["key"]:
            self._link.send(self._pending)

    def _on_disconnected(self, message: Row) -> None:
        self._paused = False  # the gateway says so again
        self._status.connection = "the connection to the gateway is lost; trying again"
        self._status.show()

    def _on_error(self, message: Row) -> None:
        raise WorkFailed(f"the gateway refused a request: {message['message']}", code=message["code"])

    def _on_failed(self, message: Row) -> None:
        raise message["error"]


def as_json(targets: dict[Any, float]) -> dict[str, float | None]:
    """Targets as the gateway takes them: NaN, which JSON does not know, is null and means keep."""
    return {str(symbol): None if math.isnan(value) else value for symbol, value in targets.items()}
