"""CashUp: the notebook you backtest is the notebook that trades."""
