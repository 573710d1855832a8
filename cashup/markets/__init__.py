"""Market data: bars, the lake that stores them, and the live feed."""
