"""What the gateway sees of the markets right now."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter

from cashup.api.access import GatewayParts, Reader

router = APIRouter(prefix="/market", tags=["market"])


@router.get("/channels")
async def channels(claims: Reader, gateway: GatewayParts) -> list[dict[str, Any]]:
    """Every channel of candles: its newest price, the newest closed bar, and how long ago it last moved."""
    now = time.monotonic()
    return [
        {
            "venue": channel.venue,
            "symbol": channel.symbol,
            "timeframe": channel.timeframe,
            "connected": channel.connected,
            "price": str(channel.newest.close) if channel.newest else None,
            "closed_bar": channel.last_closed,
            "age_seconds": round(now - channel.newest_at, 1) if channel.newest else None,
        }
        for channel in gateway.feed.channels()
    ]
