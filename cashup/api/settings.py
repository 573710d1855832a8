"""The settings that this gateway runs with."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from cashup.api.access import Admin, GatewayParts

router = APIRouter(prefix="/settings", tags=["config"])


@router.get("")
async def settings(claims: Admin, gateway: GatewayParts) -> dict[str, Any]:
    """Every setting as it is in force; secrets are masked."""
    return gateway.settings.model_dump(mode="json")
