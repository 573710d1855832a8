"""The kill switch: how long until nothing is sent any more, and until nothing rests."""

from __future__ import annotations

import threading
import time
from typing import Any

from benchmarks.measure import spread
from benchmarks.resting import NAME, SYMBOLS, Resting, resting

OPEN = 100
RUNS = 5
LIMIT_CLEAR_SECONDS = 2
LIMIT_BLOCK_MS = 100
ORDERS_AROUND = 8
"""Orders that are asked for while the kill comes; the venue takes ten a second."""


def order_kill() -> dict[str, Any]:
    """A kill of an account with 100 open orders: until the last order is sent, and until the venue shows none."""
    blocked, answered, cleared, done = [], [], [], []
    with resting() as made:
        for _ in range(RUNS):
            made.place(OPEN, "0.2")
            made.until_open(OPEN)
            time.sleep(1.5)  # the venue's limit of orders a second is full again
            one = _kill(made)
            blocked.append(one["blocked"])
            answered.append(one["answered"])
            cleared.append(one["cleared"])
            done.append(one["done"])
            made.stack.client.unkill("account", NAME)
            time.sleep(1.5)  # the account looks at halts once a second
    return {
        "open_orders": OPEN,
        "ms_to_last_order": spread(blocked, 1),
        "ms_to_answer": spread(answered, 1),
        "limit_block_ms": LIMIT_BLOCK_MS,
        "seconds_to_clear": spread(cleared),
        "seconds_to_done": spread(done),
        "limit_clear_seconds": LIMIT_CLEAR_SECONDS,
    }


def _kill(made: Resting) -> dict[str, float]:
    """Kill once, amid orders; milliseconds to the last order and to the answer, seconds until nothing rests."""
    client = made.stack.client
    asking = threading.Thread(target=_ask_around, args=(made,))
    asking.start()
    time.sleep(0.05)
    at, began = time.time() * 1000, time.perf_counter()
    client.kill("account", NAME, flatten=False)
    answered = (time.perf_counter() - began) * 1000
    while made.open_orders():
        time.sleep(0.01)
    cleared = time.perf_counter() - began
    while any(account["state"] != "done" for account in client.kills()[0]["accounts"]):
        time.sleep(0.01)
    done = time.perf_counter() - began
    asking.join()
    received = [row["received_at"] for row in made.ask("requests", account=NAME)["writes"] if row["what"] == "place"]
    return {"blocked": max(0.0, max(received) - at), "answered": answered, "cleared": cleared, "done": done}


def _ask_around(made: Resting) -> None:
    for _ in range(ORDERS_AROUND):
        made.buy(SYMBOLS[0], made.prices[SYMBOLS[0]] * 4 / 5)
        time.sleep(0.02)
