"""Live against its re-run: the difference of the two results in parts that sum to it exactly."""
