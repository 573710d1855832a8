"""The API of a gateway as one FastAPI application."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline

from cashup.api import (
    accounts,
    alerts,
    auth,
    deployments,
    errors,
    halts,
    health,
    market,
    orders,
    reports,
    risk,
    settings,
    supervision,
    trading,
    ws,
)
from cashup.api.access import plain_query
from cashup.bootstrap import Gateway

SECTIONS = {
    "user": "People, logging in, tokens.",
    "trading": "Deployments, books, positions, equity.",
    "exchange": "Accounts on venues.",
    "strategy": "Attempts: executions of a deployment's notebook, and who starts them.",
    "market": "Live prices.",
    "notification": "Events: what happened, in order. Alerts: what somebody must look at.",
    "order": "Orders and fills.",
    "config": "Settings of the gateway.",
    "monitoring": "Health of everything.",
}


def create_app(gateway: Gateway) -> FastAPI:
    """The application around a running gateway."""
    app = FastAPIOffline(  # the pages of /docs from files of its own: a gateway may have no way out
        title="CashUp",
        version=version("cashup"),
        summary="Notebook-driven trading.",
        openapi_tags=[{"name": name, "description": text} for name, text in SECTIONS.items()],
    )
    app.state.gateway = gateway
    errors.install(app)
    health.install(app)
    routed = (auth, accounts, alerts, deployments, supervision, reports, halts, orders, risk, trading, market, settings)
    for module in routed:
        app.include_router(
            module.router, prefix="/api/v1", responses=errors.RESPONSES, dependencies=[Depends(plain_query)]
        )
    app.include_router(ws.router)
    return app
