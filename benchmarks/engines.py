"""One backtest by every engine, in one run: CashUp in a warm kernel, vectorbt by hand, the limit, and the peers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.measure import ROOT, cashup, home, run, spread
from cashup.clock import parse_time
from cashup.markets.lake import Lake

PEERS = ROOT / "benchmarks" / "peers"
PEER_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
SCRIPTS = {
    "backtesting.py 0.6.6": "backtesting_py.py",
    "bt 1.4.1": "bt_py.py",
    "NautilusTrader 1.221": "nautilus.py",
    "backtrader 1.9.78": "backtrader_py.py",
}
CANNOT = {
    "freqtrade 2026.9": "not run: it asks its exchange for markets before a backtest, and none is reachable here",
    "jesse 3.5.3": "not run: it takes another numpy than the other peers (docs/performance.md quotes its figure)",
}
MINUTES = 525_600
ROUNDS = 9

_PREPARE = """
import time
import numpy as np, pandas as pd, vectorbt as vbt, numba as nb
import cashup as cu
from cashup.markets.lake import Lake
from cashup.settings import load_settings

def target(bars, fast, slow):
    return (bars.close.rolling(fast).mean() > bars.close.rolling(slow).mean()).astype(float)

strategy = cu.Strategy(target, symbols=["BTC/USDT"], timeframe="1m", warmup=30, params={"fast": 10, "slow": 30})
frame = Lake(load_settings().lake_path).read("gate", "BTC/USDT", "1m")
# Without a time zone: vectorbt would turn every time of an aware index into an object, which takes it a second.
frame.index = frame.index.tz_localize(None)
close, opened = frame["close"].copy(), frame["open"].copy()

def by_hand():
    wanted = close.rolling(10).mean() > close.rolling(30).mean()
    entries = wanted.shift(1, fill_value=False)
    made = vbt.Portfolio.from_signals(close, entries, ~entries, price=opened, fees=0.001, init_cash=10_000.0,
        freq="1min", engine="auto")
    return made.orders.values, made.value()

@nb.njit(cache=False)
def literal(close, opened, fast, slow, fee, cash):
    held, wanted, short, long = 0.0, False, 0.0, 0.0
    equity = np.empty(len(close))
    for bar in range(len(close)):
        if bar >= slow and wanted != (held > 0.0):
            if wanted:
                held, cash = cash / (opened[bar] * (1 + fee)), 0.0
            else:
                cash, held = held * opened[bar] * (1 - fee), 0.0
        short += close[bar] - (close[bar - fast] if bar >= fast else 0.0)
        long += close[bar] - (close[bar - slow] if bar >= slow else 0.0)
        wanted = short / fast > long / slow
        equity[bar] = cash + held * close[bar]
    return equity

closes, opens = close.to_numpy(), opened.to_numpy()
def limit():
    return literal(closes, opens, 10, 30, 0.001, 10_000.0)
"""


def engines() -> dict[str, Any]:
    """One backtest, SMA 10/30 on 525,600 one-minute bars, fee 0.1 %, next open: everybody's engine in one run."""
    with home() as folder, _kernel(folder) as timed:
        ours = {
            "cashup": timed("run = cu.run(strategy)"),
            "vectorbt": timed("by_hand()"),
            "limit": timed("limit()"),
        }
        made = timed.answer("len(run.trades), run.equity.iloc[-1], by_hand()[1].iloc[-1]")
        peers = _peers(folder)
    seconds = {name: spread(values, 4) for name, values in ours.items()}
    middle = seconds["cashup"]["median"]
    return {
        "bars": MINUTES,
        "seconds": seconds,
        "cashup_against_vectorbt_by_hand": round(middle / seconds["vectorbt"]["median"], 3),
        "trades_final_equity_and_vectorbts": made,
        "peers": [peer | {"times_cashup": round(peer["engine_seconds"] / middle, 1)} for peer in peers],
        "peers_not_run": CANNOT,
    }


class _Timed:
    """Code in the kernel: how long it takes there, and what it answers."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __call__(self, code: str) -> list[float]:
        self.execute(code)
        return [
            float(self.execute(f"t = time.perf_counter(); {code}; print(time.perf_counter() - t)").split()[-1])
            for _ in range(ROUNDS)
        ]

    def answer(self, code: str) -> str:
        return self.execute(f"print({code})").strip()

    def execute(self, code: str) -> str:
        printed: list[str] = []

        def hook(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream":
                printed.append(message["content"]["text"])

        reply = self._client.execute_interactive(code, output_hook=hook, timeout=300)
        if reply["content"]["status"] != "ok":
            raise RuntimeError("\n".join(reply["content"]["traceback"]))
        return "".join(printed)


@contextmanager
def _kernel(folder: Path) -> Iterator[_Timed]:
    from jupyter_client.manager import start_new_kernel

    words = ["--symbol", "BTC/USDT", "--timeframe", "1m", "--start", "2025-01-01", "--bars", str(MINUTES)]
    run(cashup("data", "generate", *words), folder)
    manager, client = start_new_kernel(env={"CASHUP_HOME": str(folder), "PATH": "/usr/bin:/bin"})
    try:
        timed = _Timed(client)
        timed.execute(_PREPARE)
        yield timed
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def _peers(folder: Path) -> list[dict[str, Any]]:
    """Each peer on the same bars."""
    frame = Lake(folder / "lake").read("gate", "BTC/USDT", "1m", parse_time("2025-01-01"))
    with TemporaryDirectory() as temporary:
        path = save_bars(frame, Path(temporary, "bars.npz"))
        return [run_peer(name, path) for name in SCRIPTS]


def save_bars(frame: Any, path: Path) -> Path:
    """The bars of a lake's frame as a file that every peer reads."""
    times = np.asarray(frame.index.tz_localize(None).as_unit("ms").astype("int64"))
    np.savez(path, times=times, **{name: frame[name].to_numpy() for name in frame.columns})
    return path


def run_peer(name: str, bars: Path) -> dict[str, Any]:
    """One peer in a process of its own Python: `tool process_seconds engine_seconds peak_mib trades final`."""
    install_peers()
    done = run([str(PEER_PYTHON), "-W", "ignore", str(PEERS / SCRIPTS[name]), str(bars)], cwd=PEERS)
    figures = json.loads(done.stdout.splitlines()[-1])
    return {"tool": name, "process_seconds": round(done.seconds, 2), **figures}


def install_peers() -> None:
    """The peers' packages, in an environment of their own: they take another pandas than CashUp."""
    if PEER_PYTHON.exists():
        return
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(PEER_PYTHON.parents[1])], check=True)
    words = ["pip", "install", "--quiet", "--python", str(PEER_PYTHON), "-r", str(PEERS / "requirements.txt")]
    subprocess.run([uv, *words], check=True)
