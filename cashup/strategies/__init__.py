"""What an author writes: the strategy, its notebook, its parameters, and the registry of runs."""
