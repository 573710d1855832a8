"""Strategies that look back only, with everything that could be mistaken for looking ahead."""

from __future__ import annotations

from tests.checks.dishonest import FUTURE_FILE

HONEST: dict[str, str] = {
    "rolling": """
def target(bars, n):
    return (bars.close.rolling(n).mean() > bars.close.rolling(3 * n).mean()).astype(float)
""",
    "ewm": """
def target(bars, n):
    fast, slow = bars.close.ewm(span=n).mean(), bars.close.ewm(span=2 * n).mean()
    return ((fast / slow - 1) * 20).clip(0, 1)
""",
    "rsi": """
def target(bars, n):
    change = bars.close.diff()
    up = change.clip(lower=0).ewm(alpha=1 / n, adjust=False).mean()
    down = (-change.clip(upper=0)).ewm(alpha=1 / n, adjust=False).mean()
    return (up / (up + down) > 0.55).astype(float)
""",
    "expanding": """
def target(bars, n):
    return (bars.close < bars.close.expanding(n).mean()).astype(float)
""",
    "cumulative": """
def target(bars, n):
    return (bars.close > 0.9 * bars.close.cummax()).astype(float)
""",
    "seeded": """
import numpy as np
import pandas as pd
def target(bars, n):
    random = np.random.default_rng(7)
    return pd.DataFrame(random.random((len(bars), 1)).round(), index=bars.index, columns=bars.symbols)
""",
    "starts_with_nan": """
def target(bars, n):
    mean = bars.close.rolling(n).mean()
    return (bars.close > mean).astype(float).where(mean.notna())
""",
    "keeps": """
import numpy as np
def target(bars, n):
    high, low = bars.high.rolling(n).max().shift(1), bars.low.rolling(n).min().shift(1)
    entered = (bars.close > high).astype(float).where((bars.close > high) | (bars.close < low))
    return entered
""",
    "python_loop": """
import numpy as np
import pandas as pd
def target(bars, n):
    close = bars.close.to_numpy()[:, 0]
    held, out = 0.0, np.zeros(len(close))
    for i in range(n, len(close)):
        if close[i] > close[i - n] * 1.01:
            held = 1.0
        elif close[i] < close[i - n] * 0.99:
            held = 0.0
        out[i] = held
    return pd.DataFrame({bars.symbols[0]: out}, index=bars.index)
""",
    "rolling_model": """
import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
def target(bars, n):
    returns = bars.close[bars.symbols[0]].pct_change().fillna(0.0).to_numpy()
    features = np.column_stack([np.roll(returns, k) for k in range(3)])
    out = np.zeros(len(returns))
    for start in range(210, len(returns), 200):
        past = slice(start - 200, start - 1)
        fitted = LinearRegression().fit(features[past], returns[start - 199 : start])
        out[start : start + 200] = (fitted.predict(features[start : start + 200]) > 0).astype(float)
    return pd.DataFrame({bars.symbols[0]: out}, index=bars.index)
""",
    "daily_aligned": """
def target(bars, n):
    day = bars.close.resample("1D").last().shift(1)
    mean = day.rolling(3).mean()
    return (day > mean).reindex(bars.index, method="ffill").astype(float)
""",
    "known_series": FUTURE_FILE
    + """
import pandas as pd
sentiment = prices["close"].resample("1D").last().pct_change().shift(1)
def target(bars, n):
    left = pd.DataFrame({"time": bars.index})
    right = sentiment.rename("value").rename_axis("time").reset_index()
    left["time"], right["time"] = left["time"].astype("M8[ns, UTC]"), right["time"].astype("M8[ns, UTC]")
    joined = pd.merge_asof(left, right, on="time")
    return pd.DataFrame({bars.symbols[0]: (joined["value"] > 0).astype(float).to_numpy()}, index=bars.index)
""",
    "global_lookup": FUTURE_FILE
    + """
def target(bars, n):
    mean = prices[["close"]].set_axis(bars.symbols, axis=1).rolling(n).mean()
    return (bars.close > mean.loc[bars.index]).astype(float)
""",
    "calendar": """
import pandas as pd
meetings = pd.to_datetime(["2025-01-20", "2025-02-17", "2025-03-20", "2025-04-17"], utc=True)
def target(bars, n):
    index = bars.index
    weekday = (index.day_of_week < 5) & ~index.normalize().isin(meetings)
    return pd.DataFrame({bars.symbols[0]: weekday.astype(float)}, index=index)
""",
    "prints": """
def target(bars, n):
    print("computing", len(bars))
    return (bars.close > bars.close.rolling(n).median()).astype(float)
""",
    "indicator": """
import cashup as cu
@cu.indicator
def average(bars, length):
    return bars.close.rolling(length).mean()
def target(bars, n):
    return (average(bars, n) > average(bars, 2 * n)).astype(float)
""",
    "memo_by_value": """
from functools import lru_cache
import pandas as pd
@lru_cache(maxsize=64)
def weight(month):
    return 1.0 if month % 2 else 0.5
cache = {}
def target(bars, n):
    key = (len(bars), bars.close.iloc[0, 0], bars.close.iloc[-1, 0])
    if key not in cache:
        cache[key] = bars.close.rolling(n).std()
    months = pd.Series([weight(m) for m in bars.index.month], index=bars.index)
    return (cache[key] < cache[key].rolling(n).mean()).astype(float).mul(months, axis=0)
""",
    "bollinger": """
import numpy as np
def target(bars, n):
    mean, deviation = bars.close.rolling(n).mean(), bars.close.rolling(n).std()
    z = (bars.close - mean) / deviation
    return (-z / 2).clip(0, 1)
""",
    "numba_like_convolve": """
import numpy as np
import pandas as pd
def target(bars, n):
    close = bars.close.to_numpy()[:, 0]
    mean = np.convolve(close, np.ones(n) / n)[: len(close)]
    return pd.DataFrame({bars.symbols[0]: (close > mean).astype(float)}, index=bars.index)
""",
    "rolling_rank": """
def target(bars, n):
    return bars.close.rolling(n).rank(pct=True).fillna(0.0)
""",
    "constant": """
import pandas as pd
def target(bars, n):
    return pd.DataFrame(1.0, index=bars.index, columns=bars.symbols)
""",
}
