"""What a deployment may do at most, as its file says it: limits, and protections that pause it after losses."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from cashup.types import Millis

_MINUTE: Millis = 60_000


def _money(value: object) -> object:
    if isinstance(value, float):
        raise ValueError(f'write money as text: "{value}"')  # noqa: TRY004  (pydantic reports ValueError only)
    return value


def _exact(value: object) -> object:
    """A float as the decimal number that it is written as."""
    return repr(value) if isinstance(value, float) else value


# What an editor is told: it cannot know that a float would lose digits of money.
_TEXT = {"type": "string", "pattern": r"^\+?\d+(\.\d+)?$"}
_MONEY = {"anyOf": [_TEXT, {"type": "integer", "exclusiveMinimum": 0}]}
_RATIO = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, _TEXT]}
_PART = {"anyOf": [{"type": "number", "exclusiveMinimum": 0, "maximum": 1}, _TEXT]}

Money = Annotated[Decimal, BeforeValidator(_money), Field(gt=0, max_digits=34), WithJsonSchema(_MONEY)]
"""An amount of quote currency, written as text so that nothing of it is lost."""

Ratio = Annotated[Decimal, BeforeValidator(_exact), Field(gt=0, max_digits=34), WithJsonSchema(_RATIO)]
"""A fraction of something: 0.05 is five per cent. 0.05 and "0.05" are the same."""

Part = Annotated[Ratio, Field(le=1), WithJsonSchema(_PART)]
"""A ratio of at most 1."""

Count = Annotated[int, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    def row(self) -> dict[str, Any]:
        """What is set, as it is stored: numbers that are not whole as text."""
        given = self.model_dump(exclude_defaults=True)
        return {name: f"{value:f}" if isinstance(value, Decimal) else value for name, value in given.items()}


class Limits(_Strict):
    """What may be done at most; None means that there is no limit. An order that only leads toward zero is held up by
    none of them but the collar on its own price.
    """

    max_order_notional: Money | None = Field(None, description="what one order may add, in quote currency")
    max_position_notional: Money | None = Field(None, description="what one symbol may be worth, in quote currency")
    max_gross_exposure: Ratio | None = Field(None, description="longs and shorts together, in multiples of equity")
    max_net_exposure: Ratio | None = Field(None, description="longs less shorts, in multiples of equity")
    max_orders_per_minute: Count | None = Field(None, description="orders in any 60 seconds")
    max_open_orders: Count | None = Field(None, description="orders that have not ended, at the same time")
    price_collar: Ratio | None = Field(None, description="how far a price may lie from where the market last was")
    stale_seconds: Count | None = Field(None, description="the age at which a price is too old to trade on")
    stale_bars: Count | None = Field(None, description="the same in bars of the deployment")
    max_daily_loss: Part | None = Field(None, description="loss since 00:00 UTC, of the equity then")
    max_drawdown: Part | None = Field(None, description="loss since the highest equity, of that")
    on_breach: Literal["reducing", "halted"] = Field("reducing", description="what a loss beyond a limit leads to")

    def stale_after(self, timeframe: Millis | None) -> Millis | None:
        """The age in milliseconds at which a price is too old; None when there is no limit."""
        ages = []
        if self.stale_seconds is not None:
            ages.append(self.stale_seconds * 1000)
        if self.stale_bars is not None and timeframe is not None:
            ages.append(self.stale_bars * timeframe)
        return min(ages, default=None)

    @property
    def watches_losses(self) -> bool:
        """True when there is a limit on what may be lost."""
        return self.max_daily_loss is not None or self.max_drawdown is not None


NO_LIMITS = Limits()

Method = Literal["CooldownPeriod", "StoplossGuard", "MaxDrawdown", "LowProfitPairs"]


class Protection(_Strict):
    """What pauses new entries after closed trades, by freqtrade's names and meanings.

    Periods are bars (`..._candles`) or minutes, 60 minutes where neither is given.
    """

    method: Method
    lookback_period_candles: Count | None = Field(None, description="how far back trades count, in bars")
    lookback_period: Count | None = Field(None, description="how far back trades count, in minutes")
    stop_duration_candles: Count | None = Field(None, description="how long the pause is, in bars")
    stop_duration: Count | None = Field(None, description="how long the pause is, in minutes")
    trade_limit: Count | None = Field(None, description="how many trades it takes")
    required_profit: Annotated[Decimal, BeforeValidator(_exact)] = Field(
        Decimal(0), description="the profit, as a ratio, below which trades count as poor"
    )
    max_allowed_drawdown: Annotated[Decimal, BeforeValidator(_exact), Field(ge=0)] = Field(
        Decimal(0), description="the fall of the summed profits, as a ratio, that is still allowed"
    )
    only_per_pair: bool = Field(False, description="pause the symbol alone, not all of them")

    @model_validator(mode="after")
    def _one_unit(self) -> Protection:
        for period in ("lookback_period", "stop_duration"):
            if getattr(self, period) is not None and getattr(self, f"{period}_candles") is not None:
                raise ValueError(f"{self.method} has {period} in minutes and in candles; give one of them")
        if self.method == "CooldownPeriod" and {"lookback_period", "lookback_period_candles"} & self.model_fields_set:
            raise ValueError("CooldownPeriod looks at the last trade of a symbol only; it has no lookback_period")
        return self

    def lookback(self, timeframe: Millis | None) -> Millis:
        """How far back trades count; raises ValueError for a period in bars without a timeframe."""
        return _period(self.lookback_period_candles, self.lookback_period, timeframe)

    def pause(self, timeframe: Millis | None) -> Millis:
        """How long nothing is entered; raises ValueError for a period in bars without a timeframe."""
        return _period(self.stop_duration_candles, self.stop_duration, timeframe)

    @property
    def in_bars(self) -> bool:
        """True when it needs to know the timeframe."""
        return self.lookback_period_candles is not None or self.stop_duration_candles is not None


def _period(bars: int | None, minutes: int | None, timeframe: Millis | None) -> Millis:
    if bars is None:
        return (60 if minutes is None else minutes) * _MINUTE
    if timeframe is None:
        raise ValueError("a period in candles needs the deployment's timeframe")
    return bars * timeframe
