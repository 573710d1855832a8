"""What was decided outside and may be looked at."""
