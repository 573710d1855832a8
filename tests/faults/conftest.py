"""The desks of the trading tests, for the tests that prove things of them."""

from tests.integration.trading.conftest import (  # noqa: F401  (fixtures)
    desk,
    faulty,
    marks,
    paper_account,
    venue,
)
