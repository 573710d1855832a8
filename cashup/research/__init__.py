"""Backtests and statistics; the only place that imports vectorbt."""
