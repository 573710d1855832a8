"""What the warm process of workers tries out before anybody asks: to decide a bar, and to handle a notebook."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cashup.workers.lean import load_papermill

if TYPE_CHECKING:
    import pandas as pd

    from cashup.strategies.bars import Bars

_TIMES = 300
"""Bars of the window that is decided: the rolling means of pandas behave alike from then on."""


_CELL: dict[str, Any] = {
    "cell_type": "code",
    "id": "parameters",
    "source": "length = 5  # bars",
    "metadata": {"tags": ["parameters"]},
    "execution_count": None,
    "outputs": [],
}


def warm_up() -> None:
    """Import what worker and kernel need, and do everything once that costs more the first time.

    No file is read but of what is installed, and no thread, socket or loop is left behind.
    """
    _decide()
    _handle_a_notebook()


def _decide() -> None:
    import faulthandler  # noqa: F401  (a kernel starts it)

    import IPython.core.logger  # noqa: F401
    import orjson
    import websockets.asyncio.client  # noqa: F401

    from cashup.strategies.strategy import Strategy
    from cashup.workers import live_run  # noqa: F401
    from cashup.workers.session import as_json
    from cashup.workers.window import Window

    def target(bars: Bars, length: int) -> pd.DataFrame:
        return (bars.close > bars.close.rolling(length).mean()).astype(float)

    strategy = Strategy(target, symbols=["BTC/USDT"], timeframe="1m", warmup=_TIMES, params={"length": 5})
    window = Window(strategy.symbols, strategy.timeframe, strategy.warmup + 1)
    rows = [[1.0, 1.0, 1.0, 1.0, 1.0] for _ in range(_TIMES + 1)]
    window.load([60_000 * number for number in range(_TIMES + 1)], {"BTC/USDT": rows})
    orjson.dumps(as_json(strategy.decide(window.bars().split(strategy.symbols))))


def _handle_a_notebook() -> None:
    load_papermill()  # before the engine, which it loads while it is itself half imported
    import nbformat
    from jupyter_client.provisioning.factory import KernelProvisionerFactory
    from papermill.engines import papermill_engines
    from papermill.parameterize import parameterize_notebook

    from cashup.strategies.notebook import check_parameters  # noqa: F401
    from cashup.workers import execution, folder, fork, headcount, process, provisioner  # noqa: F401
    from cashup.workers.engine import KERNEL_NAME

    KernelProvisionerFactory.instance()
    papermill_engines.get_engine("cashup")
    text = json.dumps({"cells": [_CELL], "metadata": {"papermill": {}}, "nbformat": 4, "nbformat_minor": 5})
    notebook = nbformat.reads(text, as_version=4)  # type: ignore[no-untyped-call]
    made = parameterize_notebook(notebook, {"length": 6}, kernel_name=KERNEL_NAME, language="python")
    nbformat.writes(made)  # type: ignore[no-untyped-call]
