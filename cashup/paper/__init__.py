"""Paper accounts: a venue with a book of its own, fed by another venue's public data."""
