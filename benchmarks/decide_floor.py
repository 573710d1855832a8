"""The floor under a decision: the same hops and the same pandas call, with nothing of ours between them.

`python -m benchmarks.decide_floor gateway JSON`: a candle from the venue's WebSocket to the worker's, and the intent
back, which is answered. `... worker JSON`: a bar into an array, the averages of 1,000 bars in pandas, the intent. No
subscription, no database, no risk, no kernel.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import uvicorn
import uvloop
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

FIELDS = ("o", "h", "l", "c", "a")


def gateway(given: dict[str, Any]) -> None:
    """Serve on `port`; candles come from `venue`."""
    sockets: list[WebSocket] = []

    async def listen() -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{given['venue']}/frames") as venue:
            async for message in venue:
                candle = orjson.loads(message.data)["result"]
                values = [float(candle[name]) for name in FIELDS]
                symbol = candle["n"].partition("_")[2].replace("_", "/")
                bar = {"type": "bar", "time": int(candle["t"]) * 1000, "bars": {symbol: values}}
                for socket in sockets:
                    await socket.send_text(orjson.dumps(bar).decode())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(listen())
        yield
        task.cancel()

    app = FastAPI(lifespan=lifespan)

    @app.websocket("/ws")
    async def ws(socket: WebSocket) -> None:
        await socket.accept()
        sockets.append(socket)
        try:
            while True:
                intent = orjson.loads(await socket.receive_text())
                await socket.send_text(orjson.dumps({"type": "intent.accepted", "key": intent["key"]}).decode())
        except WebSocketDisconnect:
            sockets.remove(socket)

    @app.get("/ready")
    async def ready() -> str:
        return "ready" if sockets else "waiting"

    uvicorn.run(app, host="127.0.0.1", port=given["port"], log_level="warning", loop="uvloop", ws="websockets-sansio")


async def worker(given: dict[str, Any]) -> None:
    """Connect to `gateway` and decide until it is gone; averages of `fast` and `slow` bars of `symbol`."""
    import numpy as np
    import pandas as pd

    size = given["slow"] + 1
    values = np.full((size, 5), 100.0)
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{given['gateway']}/ws") as socket:
        async for message in socket:
            frame = orjson.loads(message.data)
            if frame["type"] != "bar":
                continue
            values[:-1] = values[1:]
            values[-1] = frame["bars"][given["symbol"]]
            close = pd.DataFrame(values[:, 3:4])
            target = (close.rolling(given["fast"]).mean() > close.rolling(given["slow"]).mean()).astype(float)
            intent = {"type": "intent", "key": str(frame["time"]), "bar": frame["time"]}
            targets = {given["symbol"]: float(target.iloc[-1, 0])}
            await socket.send_str(orjson.dumps(intent | {"targets": targets}).decode())


if __name__ == "__main__":
    if sys.argv[1] == "gateway":
        gateway(json.loads(sys.argv[2]))
    else:
        uvloop.run(worker(json.loads(sys.argv[2])))
