"""Is it alive, is it late."""
