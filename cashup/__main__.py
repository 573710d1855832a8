"""`python -m cashup`."""

from cashup.cli import main

main()
