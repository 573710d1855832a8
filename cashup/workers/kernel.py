"""The start of every kernel that CashUp runs: `python -m cashup.workers.kernel -f FILE`."""

from __future__ import annotations


def main() -> None:
    """Take what the worker handed over, then become an ordinary Jupyter kernel."""
    from cashup.workers import context

    context.enter()
    from ipykernel import kernelapp

    kernelapp.launch_new_instance()


if __name__ == "__main__":
    main()
