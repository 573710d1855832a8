"""What is measured, and how. `make bench` runs all of it; `make bench ARGS="help replay"` runs some."""
