"""From target to order: planner, risk, books, ledger, reconciliation, replay."""
