"""Would chance have done as well: walk-forward, resampling, significance, and how many tries were made."""
