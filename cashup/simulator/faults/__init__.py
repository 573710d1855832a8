"""Everything a venue can do wrong, switched on by request or by a seed."""
