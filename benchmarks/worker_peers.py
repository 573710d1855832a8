"""Peers with one paper strategy running: what they weigh, and how soon they decide after a candle's last frame.

NautilusTrader gets its candles as our worker's floor does. freqtrade runs in dry-run mode against the simulator, in
real time, because it looks at the wall clock to tell whether a candle is new.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.decide import PAUSE, candle, venue_of_frames
from benchmarks.engines import PEER_PYTHON, PEERS, install_peers
from benchmarks.measure import ROOT, home, pss_mib
from benchmarks.wire import Venue, Wire
from benchmarks.workers import COINS, HISTORY, MINUTE, percentiles
from cashup.cli.process import Process
from cashup.clock import isoformat, parse_time
from cashup.markets.lake import Lake
from cashup.markets.synthetic import store_generated
from cashup.simulator.lockstep import ControlClient

NAUTILUS = "NautilusTrader 1.221"
FREQTRADE = "freqtrade 2026.9"
FREQTRADE_PYTHON = ROOT / ".venv-freqtrade" / "bin" / "python"
START = "2025-01-02"


def worker_peers(candles: int = 300, minutes: int = 5) -> dict[str, Any]:
    """NautilusTrader and freqtrade with one paper strategy: PSS, and a candle's last frame until the decision."""
    install_peers()
    _install_freqtrade()
    return {
        "peers": [
            {"tool": NAUTILUS, **uvloop.run(_nautilus(candles))},
            {"tool": FREQTRADE, **uvloop.run(_freqtrade(minutes))},
        ]
    }


class _Peer:
    """A peer's process and the moments at which it said that it had decided a candle."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.decided: dict[int, int] = {}
        self.ready = asyncio.Event()
        self.last = ""
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := (await self.process.stdout.readline()).decode(errors="replace").split():
            if line[0] == "decided":
                self.decided.setdefault(int(line[1]), int(line[2]))
            elif line[0] == "ready":
                self.ready.set()
            self.last = " ".join(line)

    def weight(self) -> float:
        """PSS of the process and all that it has started, in MiB."""
        if self.process.returncode is not None:
            raise RuntimeError(f"the peer has ended: {self.last}")
        import psutil

        found = psutil.Process(self.process.pid)
        return round(sum(pss_mib(each.pid) for each in (found, *found.children(recursive=True))), 1)

    async def end(self) -> None:
        """Kill it."""
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


async def _started(words: list[str], cwd: Path) -> _Peer:
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    return _Peer(await asyncio.create_subprocess_exec(*words, stdout=pipe, stderr=null, cwd=cwd))


async def _nautilus(candles: int) -> dict[str, Any]:
    frames: asyncio.Queue[str] = asyncio.Queue()
    runner, venue = await venue_of_frames(frames), Venue()
    wire = Wire(f"http://127.0.0.1:{runner.addresses[0][1]}", lambda: venue)
    await wire.start()
    script = PEERS / "nautilus_live.py"
    words = [str(PEER_PYTHON), "-W", "ignore", str(script), f"{wire.url.replace('http', 'ws')}/frames"]
    peer = await _started(words, PEERS)
    try:
        async with asyncio.timeout(60):
            await peer.ready.wait()
        begin = parse_time(START) // 1000
        for number in range(candles + 20):
            frames.put_nowait(candle(begin + number * MINUTE // 1000))
            await asyncio.sleep(PAUSE)
        weight = peer.weight()
    finally:
        await peer.end()
        await runner.cleanup()
    return {"pss_mib": weight, "ms_close_to_decided": _delays(peer, venue, begin * 1000 + 20 * MINUTE)}


def _delays(peer: _Peer, venue: Venue, first: int) -> dict[str, Any]:
    closed = {bar: moment for (_, bar), moment in venue.closed.items()}
    return percentiles([at - closed[bar] for bar, at in peer.decided.items() if bar in closed and bar >= first])


async def _freqtrade(minutes: int) -> dict[str, Any]:
    with home() as folder:
        now = int(time.time() * 1000) // MINUTE * MINUTE
        store_generated(Lake(folder / "lake"), "gate", COINS[0], "1m", now - HISTORY * MINUTE, HISTORY + 60, 1)
        simulator = Process("simulator", _simulator(folder, now), log=folder / "simulator.log", env=_home(folder))
        simulator.start()
        venue = Venue()
        wire = Wire(str(simulator.ready["url"]), lambda: venue)
        await wire.start()
        config = folder / "config.json"
        config.write_text(json.dumps(_config(wire.url)))
        words = [str(FREQTRADE_PYTHON), "-W", "ignore", "-m", "freqtrade", "trade", "--config", str(config)]
        words += ["--strategy", "Cross", "--strategy-path", str(PEERS), "--userdir", str(folder), "--dry-run"]
        words += ["--db-url", f"sqlite:///{folder}/trades.sqlite", "--logfile", str(folder / "freqtrade.log")]
        peer = await _started(words, folder)
        closed: dict[int, int] = {}
        try:
            control = json.loads((folder / "control.json").read_text())
            async with ControlClient(control["control"], control["token"]) as client:
                bar = now
                for _ in range(minutes + 1):
                    bar += MINUTE
                    await asyncio.sleep(max(0.0, bar / 1000 - time.time()))
                    closed[bar - MINUTE] = time.perf_counter_ns()
                    await client.request("step")
            await asyncio.sleep(20)
            weight = peer.weight()
        finally:
            await peer.end()
            await asyncio.to_thread(simulator.stop)
        # From the second candle on: it is warm then. It may have looked at one before its close.
        delays = [at - closed[bar] for bar, at in peer.decided.items() if bar in closed and bar > now]
        return {"pss_mib": weight, "ms_close_to_decided": percentiles(delays)}


def _simulator(folder: Path, now: int) -> list[str]:
    words = ["simulator", COINS[0], "--lockstep", "--port", "0", "--json", "--timeframe", "1m", "--exchange", "gate"]
    return [*words, "--start", isoformat(now), "--no-rate-limit", "--control-file", str(folder / "control.json")]


def _home(folder: Path) -> dict[str, str]:
    return {"CASHUP_HOME": str(folder)}


def _config(url: str) -> dict[str, Any]:
    """freqtrade's configuration: one pair on a Gate whose addresses are the simulator's."""
    import ccxt

    from cashup.exchanges.ccxt_adapter import point_at

    client = ccxt.gate()
    point_at(client, url)
    there = {"urls": {"api": client.urls["api"]}, "options": {"fetchMarkets": {"types": ["spot"]}}}
    return {
        "dry_run": True,
        "dry_run_wallet": 10_000,
        "stake_currency": "USDT",
        "stake_amount": 1_000,
        "max_open_trades": 1,
        "timeframe": "1m",
        "trading_mode": "spot",
        "entry_pricing": {"price_side": "same", "use_order_book": False},
        "exit_pricing": {"price_side": "same", "use_order_book": False},
        "exchange": {
            "name": "gate",
            "key": "",
            "secret": "",
            "pair_whitelist": [COINS[0]],
            "ccxt_config": there,
            "ccxt_async_config": there,
            "enable_ws": True,
        },
        "pairlists": [{"method": "StaticPairList"}],
        "internals": {"process_throttle_secs": 1},
        "initial_state": "running",
    }


def _install_freqtrade() -> None:
    """freqtrade in an environment of its own: it takes other versions than everybody else."""
    if FREQTRADE_PYTHON.exists():
        return
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(FREQTRADE_PYTHON.parents[1])], check=True)
    name, _, version = FREQTRADE.partition(" ")
    words = ["pip", "install", "--quiet", "--python", str(FREQTRADE_PYTHON), f"{name}=={version}"]
    subprocess.run([uv, *words], check=True)
