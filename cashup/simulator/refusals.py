"""How the simulated venue says no: a label, a message and an HTTP status, as Gate does."""

from __future__ import annotations

from cashup.errors import ExchangeRefused


class Refusal(ExchangeRefused):
    """One refused request. `label` is Gate's machine word."""

    def __init__(self, label: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.label = label
        self.status = status

    def body(self) -> dict[str, str]:
        """The error body as Gate writes it."""
        return {"label": self.label, "message": str(self)}
