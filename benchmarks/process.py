"""What a person waits for: `cashup backtest` as a whole process, cold and warm, beside a bare script; kernel starts."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.measure import ROOT, cashup, home, pss_mib, run, spread

SMA_CROSS = ROOT / "notebooks" / "sma_cross.ipynb"
MINUTES = 525_600
START = "2025-01-01"
_RUNS = 5

_BARE = """
import vectorbt as vbt
from cashup.markets.lake import Lake

bars = Lake({lake!r}).bars("gate", ["BTC/USDT"], "1m")
close = bars.close["BTC/USDT"].copy()
target = (close.rolling(10).mean() > close.rolling(30).mean()).astype(float)
size = target.where(target != target.shift(1, fill_value=0.0)).shift(1)
portfolio = vbt.Portfolio.from_orders(
    close=close, size=size, size_type="targetpercent", price=bars.open["BTC/USDT"].copy(), fees=0.001,
    init_cash=10_000.0, freq="1min", engine="auto",
)
print(len(portfolio.orders.records), portfolio.final_value())
"""

_CU_RUN = """
import cashup as cu

def target(bars, fast, slow):
    return (bars.close.rolling(fast).mean() > bars.close.rolling(slow).mean()).astype(float)

strategy = cu.Strategy(target, symbols=["BTC/USDT"], timeframe="1m", warmup=30, params={"fast": 10, "slow": 30})
cu.run(strategy)
"""


def backtest_process() -> dict[str, Any]:
    """`cashup backtest` of SMA 10/30 on 525,600 one-minute bars, cold and warm, in turn with a bare vectorbt script."""
    with home() as folder:
        store_minutes(folder)
        script = folder / "bare.py"
        script.write_text(_BARE.format(lake=str(folder / "lake")))
        bare_words = [sys.executable, str(script)]
        words = cashup("backtest", str(SMA_CROSS), "-p", "timeframe", "1m", "--json")
        run(bare_words, folder)
        trades = json.loads(run(words, folder).stdout)["trades"]  # both have filled their caches now
        seconds: dict[str, list[float]] = {"bare": [], "cold": [], "warm": [], "without_template": []}
        peak = 0.0
        for _ in range(_RUNS):
            done = run(bare_words, folder)
            peak = max(peak, done.peak_mib)
            seconds["bare"].append(done.seconds)
            end_templates(folder)
            seconds["without_template"].append(run(words, folder, env={"CASHUP_WARM": "0"}).seconds)
            seconds["cold"].append(run(words, folder).seconds)
            _wait_until_idle(folder)
            seconds["warm"].append(run(words, folder).seconds)
        end_templates(folder)
    found = {name: spread(values, 2) for name, values in seconds.items()}
    bare = found["bare"]["median"]
    return {
        "bars": MINUTES - 30,
        "trades": trades,
        "bare_peak_mib": round(peak),
        **{f"{name}_seconds": values for name, values in found.items()},
        **{f"{name}_ratio": round(values["median"] / bare, 2) for name, values in found.items() if name != "bare"},
    }


def backtest_script() -> dict[str, Any]:
    """The same backtest as a plain script, without papermill: import, bars from the lake, `cu.run`."""
    with home() as folder:
        store_minutes(folder)
        script = folder / "backtest.py"
        script.write_text(_CU_RUN)
        run([sys.executable, str(script)], folder)
        runs = [run([sys.executable, str(script)], folder) for _ in range(_RUNS)]
        return {
            "bars": MINUTES - 30,
            "seconds": spread([done.seconds for done in runs], 2),
            "peak_mib": round(max(done.peak_mib for done in runs)),
        }


def kernel_start() -> dict[str, Any]:
    """A kernel from the wish until it has executed a cell, forked and cold, and what each further one weighs (PSS)."""
    found: dict[str, Any] = {}
    with home() as folder:
        with _variables(CASHUP_HOME=str(folder), CASHUP_WARM="1"):
            for flavour, module in (("live", "pandas"), ("research", "vectorbt")):
                _kernels(folder, flavour, module, 1)  # the template starts
                _wait_until_idle(folder)
                found |= {
                    f"{flavour}_forked_{name}": value for name, value in _kernels(folder, flavour, module).items()
                }
                os.environ["CASHUP_WARM"] = "0"
                found |= {f"{flavour}_cold_{name}": value for name, value in _kernels(folder, flavour, module).items()}
                os.environ["CASHUP_WARM"] = "1"
        end_templates(folder)
    return found


def store_minutes(folder: Path) -> None:
    """A year of made-up one-minute bars into the lake of this home."""
    words = ["--symbol", "BTC/USDT", "--timeframe", "1m", "--start", START, "--bars", str(MINUTES)]
    run(cashup("data", "generate", *words), folder)


def end_templates(folder: Path) -> None:
    """End the warm processes of this home, which they do when their sockets are gone."""
    for socket in (folder / "run" / "warm").glob("*.sock"):
        socket.unlink()
    while any(_templates(folder)):
        time.sleep(0.05)


def _templates(folder: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "cashup.workers.template" in words and words[-1].startswith(str(folder)):
            yield process


def _wait_until_idle(folder: Path) -> None:
    """Let the templates finish what they do when nobody waits."""

    def spent() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in _templates(folder))

    before = -1.0
    while (now := spent()) != before:
        before = now
        time.sleep(1)


@contextmanager
def _variables(**variables: str) -> Iterator[None]:
    from cashup.settings import load_settings

    os.environ.update(variables)
    load_settings.cache_clear()
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]
        load_settings.cache_clear()


def _kernels(folder: Path, flavour: str, module: str, count: int = 4) -> dict[str, Any]:
    """Start kernels that live side by side: seconds until each has imported `module`, and the weight of the last."""
    import asyncio

    from cashup.settings import load_settings
    from cashup.workers.execution import PrivateKernelManager

    load_settings.cache_clear()

    async def started(number: int) -> tuple[Any, float]:
        place = folder / f"{flavour}{number}"
        place.mkdir(exist_ok=True)
        manager = PrivateKernelManager(transport="ipc", connection_file=str(place / "k.json"), ip=str(place / "k"))
        manager.flavour = flavour
        began = time.perf_counter()
        await manager.start_kernel(env={"PATH": os.environ["PATH"], "IPYTHONDIR": str(place)})
        client = manager.client()
        client.start_channels()
        await client.wait_for_ready(timeout=120)
        await client.execute_interactive(f"import {module}", timeout=120)
        seconds = time.perf_counter() - began
        client.stop_channels()
        return manager, seconds

    async def measured() -> dict[str, Any]:
        made = [await started(number) for number in range(count)]
        weight = pss_mib(made[-1][0].provisioner.process.pid)
        for manager, _ in made:
            await manager.shutdown_kernel(now=True)
        return {"seconds": spread([seconds for _, seconds in made]), "pss_mib": weight}

    return asyncio.run(measured())


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "backtest_script": backtest_script,
    "backtest_process": backtest_process,
    "kernel_start": kernel_start,
}
