"""Faults of one HTTP request: what goes wrong before, during and after what was asked for.

Each is `async (call, fault, scene) -> response`; without any fault the response is `await call.answer()`.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from aiohttp import web

from cashup.simulator.call import Call
from cashup.simulator.faults.board import Fault, Layer, kind
from cashup.simulator.faults.scene import Scene
from cashup.simulator.gatekeeper import ENDS
from cashup.simulator.past import with_venue

REQUEST = Layer.REQUEST
HTML = b"<html><head><title>%d</title></head><body><center><h1>%d</h1></center><hr>the door</body></html>"


@kind(REQUEST, status=500, label="INTERNAL")
async def error_before(call: Call, fault: Fault, scene: Scene) -> web.StreamResponse:
    """A 5xx answer, and nothing was done."""
    return _error(call, fault)


@kind(REQUEST, status=500, label="INTERNAL")
async def error_after(call: Call, fault: Fault, scene: Scene) -> web.StreamResponse:
    """A 5xx answer, although it was done."""
    await call.effect()
    return _error(call, fault)


@kind(REQUEST, status=400, label="SOMETHING_NEW", done=False)
async def strange_label(call: Call, fault: Fault, scene: Scene) -> web.StreamResponse:
    """A refusal with a label that nobody has heard of; with `done`, of something that was done."""
    if fault["done"]:
        await call.effect()
    return call.respond(fault["status"], {"label": fault["label"], "message": "Something new"})


@kind(REQUEST)
async def accepted_only(call: Call, fault: Fault, scene: Scene) -> web.StreamResponse:
    """A 202 that does not say what became of it; it was done."""
    await call.effect()
    return call.respond(202, {})


@kind(REQUEST)
async def lost_effect(call: Call, fault: Fault, scene: Scene) -> web.StreamResponse:
    """A 202 for something that is never done."""
    await call.admit()
    return call.respond(202, {})


@kind(REQUEST, seconds=1.0)
async def too_many(call: Call, fault: Fault, scene: Scene) -> web.StreamResponse:
    """A 429 although the limit was kept; the window ends after `seconds`."""
    reset = call.gatekeeper.clock.now() + int(fault["seconds"] * 1000)
    call.headers["X-Gate-RateLimit-Requests-Remain"] = "0"
    call.headers["X-Gate-RateLimit-Reset-Timestamp"] = str(-(-reset // 1000))
    return call.respond(429, {"label": "TOO_MANY_REQUESTS", "message": "Request Rate limit Exceeded"})


@kind(REQUEST, seconds=4.0)
async def late_request(call: Call, fault: Fault, scene: Scene) -> web.StreamResponse:
    """The request arrives `seconds` late; the fence is compared when it arrives."""
    await scene.faults.pause(fault["seconds"])
    return await call.answer()


@kind(REQUEST, seconds=4.0)
async def late_effect(call: Call, fault: Fault, scene: Scene) -> web.StreamResponse:
    """The request arrives in time and is done `seconds` later, after the fence."""
    await call.admit()
    await scene.faults.pause(fault["seconds"])
    return await call.answer()


@kind(REQUEST, reset=False)
async def lost_request(call: Call, fault: Fault, scene: Scene) -> web.StreamResponse:
    """The request never reaches the venue: the connection closes (`reset`: by RST), nothing was done."""
    return hang_up(call, reset=fault["reset"])


@kind(REQUEST, reset=False)
async def lost_answer(call: Call, fault: Fault, scene: Scene) -> web.StreamResponse:
    """It was done, and the connection closes (`reset`: by RST) without an answer."""
    await call.effect()
    return hang_up(call, reset=fault["reset"])


@kind(REQUEST, seconds=60.0, done=True)
async def no_answer(call: Call, fault: Fault, scene: Scene) -> web.StreamResponse:
    """Silence for `seconds` or until the client hangs up; it was done, without `done` it was not."""
    if fault["done"]:
        await call.effect()
    loop = asyncio.get_running_loop()
    end = loop.time() + fault["seconds"]
    while loop.time() < end and not (call.request.transport is None or call.request.transport.is_closing()):
        await scene.faults.pause(0.05)
        if scene.faults.stopped:
            break
    return hang_up(call, reset=False)


@kind(REQUEST, seconds=4.0)
async def late_answer(call: Call, fault: Fault, scene: Scene) -> web.StreamResponse:
    """It was done at once, and is answered `seconds` later."""
    return await _answer_later(call, fault, scene)


@kind(REQUEST, seconds=0.1)
async def frame_first(call: Call, fault: Fault, scene: Scene) -> web.StreamResponse:
    """The frames about it are sent `seconds` before the answer."""
    return await _answer_later(call, fault, scene)


@kind(REQUEST, share=0.5, seconds=0.0)
async def truncated_answer(call: Call, fault: Fault, scene: Scene) -> web.StreamResponse:
    """It was done, but only a `share` of the answer's body arrives (with `seconds`: slowly) before the end."""
    answer = await call.answer()
    body = answer.body if isinstance(answer, web.Response) and isinstance(answer.body, bytes) else b""
    transport = call.request.transport
    if transport is not None:
        head = f"HTTP/1.1 {answer.status} OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        transport.write(head.encode())
        await scene.faults.pause(fault["seconds"])
        transport.write(body[: int(len(body) * fault["share"])])
    return hang_up(call, reset=False)


@kind(REQUEST, body="{not json")
async def unreadable_answer(call: Call, fault: Fault, scene: Scene) -> web.StreamResponse:
    """It was done, and the status says so, but the body cannot be read."""
    answer = await call.answer()
    return call.page(answer.status, str(fault["body"]).encode(), "application/json")


@kind(REQUEST, status=403)
async def wall_before(call: Call, fault: Fault, scene: Scene) -> web.StreamResponse:
    """A firewall's or proxy's HTML page (400, 403, 502, ...); the venue never saw the request."""
    return _wall(call, fault)


@kind(REQUEST, status=502)
async def wall_after(call: Call, fault: Fault, scene: Scene) -> web.StreamResponse:
    """A firewall's or proxy's HTML page (400, 403, 502, ...) for something that was done."""
    await call.effect()
    return _wall(call, fault)


@kind(REQUEST)
async def double_effect(call: Call, fault: Fault, scene: Scene) -> web.StreamResponse:
    """It is done twice: a placed order then exists twice, with one client id. The answer is about the second."""
    await call.effect(times=2)
    return await call.answer()


@kind(REQUEST, reason="stp")
async def self_trade_prevented(call: Call, fault: Fault, scene: Scene) -> web.StreamResponse:
    """A placed order is taken and ends at once without a fill, as self-trade prevention does; `reason` says why."""
    call.request[ENDS] = str(fault["reason"])
    return await call.answer()


@kind(REQUEST, count=None, seconds=30.0)
async def stale_read(call: Call, fault: Fault, scene: Scene) -> web.StreamResponse:
    """Reads show orders, balances and trades as they were `seconds` ago, but not before the fault was set."""
    if call.what != "read":
        return await call.answer()
    await call.admit()
    if call.refusal is None:
        moment = scene.venue.clock.now() - int(fault["seconds"] * 1000)
        call.route = with_venue(call.route, scene.past.at(moment))
    return await call.answer()


def _record(scene: Scene, fault: Fault) -> None:
    scene.past.begin()


def _stop_recording(scene: Scene, fault: Fault) -> None:
    scene.past.end()


@kind(REQUEST, share=0.5)
async def partial_page(call: Call, fault: Fault, scene: Scene) -> web.StreamResponse:
    """A list lacks its last rows: only a `share` of them is there, and nothing says so. Match `page` for one page."""
    await call.effect()
    if isinstance(call.content, list):
        call.content = call.content[: int(len(call.content) * fault["share"])]
    return await call.answer()


@kind(REQUEST, status=502, label="TOO_BUSY")
async def failing_page(call: Call, fault: Fault, scene: Scene) -> web.StreamResponse:
    """One page of a list fails; match `page` for a certain one."""
    return _error(call, fault)


@kind(REQUEST, count=None, status=503, label="TOO_BUSY")
async def maintenance(call: Call, fault: Fault, scene: Scene) -> web.StreamResponse:
    """Every request, private or public, is answered 5xx, new WebSocket connections too; give it `lasts`."""
    return _error(call, fault)


def _error(call: Call, fault: Fault) -> web.Response:
    return call.respond(fault["status"], {"label": fault["label"], "message": "Internal error"})


def _wall(call: Call, fault: Fault) -> web.Response:
    return call.page(fault["status"], HTML % (fault["status"], fault["status"]), "text/html")


async def _answer_later(call: Call, fault: Fault, scene: Scene) -> web.StreamResponse:
    await call.effect()
    await scene.faults.pause(fault["seconds"])
    return await call.answer()


def hang_up(call: Call, *, reset: bool) -> web.StreamResponse:
    """Close the connection; what is returned goes nowhere."""
    transport = call.request.transport
    if transport is not None and reset:
        transport.abort()
    elif transport is not None:
        transport.close()
    return web.Response()


REQUESTS = (
    error_before,
    error_after,
    strange_label,
    accepted_only,
    lost_effect,
    too_many,
    late_request,
    late_effect,
    lost_request,
    lost_answer,
    no_answer,
    late_answer,
    frame_first,
    truncated_answer,
    unreadable_answer,
    wall_before,
    wall_after,
    double_effect,
    self_trade_prevented,
    replace(stale_read, begin=_record, undo=_stop_recording),
    partial_page,
    failing_page,
    maintenance,
)
