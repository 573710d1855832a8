"""Is a strategy honest? Look-ahead, warm-up, determinism, secrets, and parameters that do nothing."""
