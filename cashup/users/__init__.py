"""Users, accounts, tokens, and the vault of exchange keys."""
