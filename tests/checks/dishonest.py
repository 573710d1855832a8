"""Strategies that look ahead, each in its own way. `target` of (bars, n); whatever stands before it is the notebook."""

from __future__ import annotations

FUTURE_FILE = """\
import pandas as pd
prices = pd.read_csv("prices.csv", index_col=0, parse_dates=True)
"""

LOOKING_AHEAD: dict[str, str] = {
    "min_max": """
def target(bars, n):
    close = bars.close
    return (close - close.min()) / (close.max() - close.min())
""",
    "zscore": """
def target(bars, n):
    close = bars.close
    return (((close - close.mean()) / close.std()) < 0).astype(float)
""",
    "rank": """
def target(bars, n):
    return bars.close.rank(pct=True)
""",
    "quantile": """
def target(bars, n):
    return (bars.close < bars.close.quantile(0.3)).astype(float)
""",
    "negative_shift": """
def target(bars, n):
    return (bars.close.shift(-1) > bars.close).astype(float)
""",
    "negative_shift_far": """
def target(bars, n):
    return (bars.close.shift(-n) > bars.close * 1.01).astype(float)
""",
    "negative_shift_rare": """
def target(bars, n):
    rise = bars.close.shift(-3) / bars.close - 1
    return (rise > 0.03).astype(float)
""",
    "centred": """
def target(bars, n):
    return (bars.close > bars.close.rolling(n, center=True).mean()).astype(float)
""",
    "backfill": """
import numpy as np
def target(bars, n):
    high = bars.close.where(bars.close == bars.close.rolling(n).max())
    return (high.bfill() > bars.close * 1.005).astype(float)
""",
    "interpolate": """
import numpy as np
def target(bars, n):
    sparse = bars.close.copy()
    sparse[np.arange(len(sparse)) % 12 != 0] = np.nan
    return (sparse.interpolate(limit_direction="both") > bars.close).astype(float)
""",
    "resample_running_day": """
def target(bars, n):
    day = bars.close.resample("1D").last()
    return (day.reindex(bars.index, method="ffill") > bars.close).astype(float)
""",
    "resample_labels_right_early": """
def target(bars, n):
    week = bars.high.resample("4h").max()
    return (bars.close >= week.reindex(bars.index, method="ffill") * 0.999).astype(float)
""",
    "groupby_day": """
def target(bars, n):
    return (bars.close < bars.close.groupby(bars.index.date).transform("mean")).astype(float)
""",
    "merge_asof_forward": """
import pandas as pd
def target(bars, n):
    symbol = bars.symbols[0]
    left = pd.DataFrame({"time": bars.index, "close": bars.close[symbol].to_numpy()})
    right = left.iloc[::6].rename(columns={"close": "later"})
    joined = pd.merge_asof(left, right, on="time", direction="forward")
    return pd.DataFrame({symbol: (joined["later"] > joined["close"]).astype(float).to_numpy()}, index=bars.index)
""",
    "model_on_everything": """
import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
def target(bars, n):
    returns = bars.close.pct_change().fillna(0.0)
    features = np.column_stack([returns.shift(k).fillna(0.0).to_numpy() for k in range(3)])
    label = returns.shift(1).fillna(0.0).to_numpy()
    fitted = LinearRegression().fit(features, label + 1e-3 * bars.close.to_numpy() / bars.close.to_numpy().mean())
    return pd.DataFrame(fitted.predict(features).reshape(-1, 1), index=bars.index, columns=bars.symbols).clip(-1, 1)
""",
    "gradient": """
import numpy as np
import pandas as pd
def target(bars, n):
    slope = np.gradient(bars.close.to_numpy(), axis=0)
    return pd.DataFrame((slope > 0).astype(float), index=bars.index, columns=bars.symbols)
""",
    "fourier": """
import numpy as np
import pandas as pd
def target(bars, n):
    spectrum = np.fft.rfft(bars.close.to_numpy(), axis=0)
    spectrum[n * 5:] = 0
    smooth = np.fft.irfft(spectrum, n=len(bars), axis=0)
    return pd.DataFrame((bars.close.to_numpy() < smooth).astype(float), index=bars.index, columns=bars.symbols)
""",
    "savgol": """
import pandas as pd
from scipy.signal import savgol_filter
def target(bars, n):
    smooth = savgol_filter(bars.close.to_numpy(), 21, 2, axis=0)
    return (bars.close < smooth).astype(float)
""",
    "filtfilt": """
from scipy.signal import butter, filtfilt
def target(bars, n):
    b, a = butter(2, 0.05)
    return (bars.close < filtfilt(b, a, bars.close.to_numpy(), axis=0)).astype(float)
""",
    "argmax": """
import numpy as np
import pandas as pd
def target(bars, n):
    top = int(bars.close.to_numpy()[:, 0].argmax())
    held = (np.arange(len(bars)) <= top).astype(float)
    return pd.DataFrame({bars.symbols[0]: held}, index=bars.index)
""",
    "last_row": """
def target(bars, n):
    return (bars.close < bars.close.iloc[-1]).astype(float)
""",
    "reversed": """
def target(bars, n):
    return (bars.close[::-1].rolling(n, min_periods=1).max()[::-1] > bars.close * 1.01).astype(float)
""",
    "diff_backwards": """
def target(bars, n):
    return (bars.close.diff(-2) < 0).astype(float)
""",
    "numpy_roll": """
import numpy as np
import pandas as pd
def target(bars, n):
    close = bars.close.to_numpy()
    return pd.DataFrame((np.roll(close, -1, axis=0) > close).astype(float), index=bars.index, columns=bars.symbols)
""",
    "global_frame": FUTURE_FILE
    + """
def target(bars, n):
    ahead = prices["close"].shift(-1).reindex(bars.index)
    return bars.close.lt(ahead, axis=0).astype(float)
""",
    "global_array": FUTURE_FILE
    + """
import pandas as pd
later = prices["close"].to_numpy()
def target(bars, n):
    known = [float(later[min(i + 1, len(later) - 1)] > later[i]) if i < len(later) else 0.0 for i in range(len(bars))]
    return pd.DataFrame({bars.symbols[0]: known}, index=bars.index)
""",
    "closure": FUTURE_FILE
    + """
def make(frame):
    def target(bars, n):
        return bars.close.lt(frame["close"].shift(-4).reindex(bars.index), axis=0).astype(float)
    return target
target = make(prices)
""",
    "default_argument": FUTURE_FILE
    + """
def target(bars, n, frame=prices):
    return bars.close.lt(frame["close"].shift(-4).reindex(bars.index), axis=0).astype(float)
""",
    "function_attribute": FUTURE_FILE
    + """
def target(bars, n):
    return bars.close.lt(target.frame["close"].shift(-4).reindex(bars.index), axis=0).astype(float)
target.frame = prices
""",
    "class_attribute": FUTURE_FILE
    + """
class Oracle:
    frame = prices["close"].shift(-2)
    @classmethod
    def says(cls, index):
        return cls.frame.reindex(index)
def target(bars, n):
    return bars.close.lt(Oracle.says(bars.index), axis=0).astype(float)
""",
    "instance": FUTURE_FILE
    + """
class Oracle:
    def __init__(self, frame):
        self.frame = frame
    def __call__(self, bars, n):
        return bars.close.lt(self.frame["close"].shift(-2).reindex(bars.index), axis=0).astype(float)
target = Oracle(prices)
""",
    "helper_function": FUTURE_FILE
    + """
def oracle(index):
    return inner(index)
def inner(index):
    return prices["close"].shift(-2).reindex(index)
def target(bars, n):
    return bars.close.lt(oracle(bars.index), axis=0).astype(float)
""",
    "partial": FUTURE_FILE
    + """
from functools import partial
def oracle(frame, bars, n, other):
    return bars.close.lt(frame["close"].shift(-4).reindex(bars.index), axis=0).astype(float)
target = partial(oracle, prices, other=None)
""",
    "precomputed_signal": FUTURE_FILE
    + """
signal = (prices["close"].shift(-1) > prices["close"]).astype(float)
def target(bars, n):
    return signal.reindex(bars.index).to_frame(bars.symbols[0])
""",
    "global_figure": FUTURE_FILE
    + """
top = float(prices["close"].max())
def target(bars, n):
    return (bars.close > 0.9 * top).astype(float)
""",
    "dict_of_frames": FUTURE_FILE
    + """
data = {"BTC": [prices]}
def target(bars, n):
    return bars.close.lt(data["BTC"][0]["close"].shift(-2).reindex(bars.index), axis=0).astype(float)
""",
    "cache_of_the_first_call": """
cache = {}
def target(bars, n):
    if "top" not in cache:
        cache["top"] = float(bars.close.max().iloc[0])
    return (bars.close > 0.9 * cache["top"]).astype(float)
""",
    "cache_of_the_longest_call": """
seen = {"close": None}
def target(bars, n):
    if seen["close"] is None or len(seen["close"]) < len(bars):
        seen["close"] = bars.close
    return (bars.close < seen["close"].shift(-1).loc[bars.index]).astype(float)
""",
    "file_inside": """
from pathlib import Path
import pandas as pd
path = Path("prices.csv").resolve()
def target(bars, n):
    frame = pd.read_csv(path, index_col=0, parse_dates=True)
    return bars.close.lt(frame["close"].shift(-2).reindex(bars.index), axis=0).astype(float)
""",
    "only_when_complete": """
def target(bars, n):
    honest = (bars.close > bars.close.rolling(n).mean()).astype(float)
    return (bars.close.shift(-1) > bars.close).astype(float) if len(bars) == 3000 else honest
""",
    "fails_when_short": """
def target(bars, n):
    if len(bars) < 3000:
        raise ValueError("too short")
    return (bars.close.shift(-1) > bars.close).astype(float)
""",
    "hides_in_indicator": """
import cashup as cu
@cu.indicator
def top(bars):
    return bars.close.max()
def target(bars, n):
    return (bars.close > 0.95 * top(bars)).astype(float)
""",
}
