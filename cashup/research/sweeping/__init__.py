"""Many parameter sets of one strategy: how they are chosen, tried, ranked and shown."""
