"""Every error CashUp raises on purpose.

    CashUpError                      something a person can act on; the message is one sentence that says what to do
    ├── UsageError                   wrong input: command line exit code 2, HTTP 4xx
    │   ├── NotebookError            the notebook breaks the contract (no strategy, bad parameter, bad target)
    │   ├── DataError                bars are missing, broken or of an unknown layout
    │   └── DeploymentError          a deployment file cannot be used
    ├── NotFound                     the thing named does not exist
    ├── Conflict                     it exists already, or with another content
    ├── Forbidden                    known, but not allowed
    ├── Unauthenticated              no valid credential
    ├── TooManyRequests              slow down; the message says for how long
    │   └── IntentQuotaExceeded      a deployment floods; its worker sends the intent again a little later
    ├── Unavailable                  a part that is needed is not there now (database, gateway, port)
    ├── Outdated                     this process and the gateway speak different protocols
    ├── StorageError                 the database cannot be trusted with orders, or its schema is wrong
    ├── IntegrityError               an invariant broke: stop rather than trade wrongly
    ├── WorkFailed                   the work itself failed: a strategy raised, a check did not pass
    └── ExchangeError                about a venue; every outcome of an order is a `SendResult`, never one of these
        ├── ExchangeTransient        a read may be tried again
        └── ExchangeRefused          the venue said no; trying again changes nothing

Catch `CashUpError` at a process's edge. `code` is stable and meant for machines; `str(error)` is meant for people.
"""


class CashUpError(Exception):
    """Root of the tree. Carries a stable machine `code` and the HTTP `status` that the API answers with."""

    code = "error"
    status = 500
    exit_code = 1

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class UsageError(CashUpError):
    """The caller asked for something that cannot be done as asked."""

    code = "usage"
    status = 422
    exit_code = 2


class NotebookError(UsageError):
    """A notebook does not keep the notebook contract."""

    code = "notebook"


class DataError(UsageError):
    """Bars are missing, broken, or in a layout nobody recognises."""

    code = "data"


class DeploymentError(UsageError):
    """A deployment file is unreadable or asks for something impossible."""

    code = "deployment"


class NotFound(CashUpError):
    """The thing named does not exist."""

    code = "not_found"
    status = 404


class Conflict(CashUpError):
    """It exists already, or exists with another content."""

    code = "conflict"
    status = 409


class Forbidden(CashUpError):
    """The credential is good but does not allow this."""

    code = "forbidden"
    status = 403


class Unauthenticated(CashUpError):
    """There is no valid credential."""

    code = "unauthenticated"
    status = 401


class TooManyRequests(CashUpError):
    """Asked too often; the message says when to come back."""

    code = "too_many_requests"
    status = 429


class IntentQuotaExceeded(TooManyRequests):
    """A deployment sends more intents than it may; the one that was refused may be sent again a little later."""

    code = "intent_quota"


class Unavailable(CashUpError):
    """A part that is needed cannot be reached now."""

    code = "unavailable"
    status = 503


class Outdated(CashUpError):
    """This process and the gateway are of different versions and do not understand each other any more."""

    code = "outdated"
    status = 409


class StorageError(CashUpError):
    """The database must not be trusted with orders as it is."""

    code = "storage"
    status = 503


class IntegrityError(CashUpError):
    """An invariant of orders or money broke; going on could lose money."""

    code = "integrity"


class WorkFailed(CashUpError):
    """The work was done as asked and failed."""

    code = "failed"


class ExchangeError(CashUpError):
    """A venue did not do what a read or a command asked for."""

    code = "exchange"
    status = 502


class ExchangeTransient(ExchangeError):
    """A passing fault of the venue or the way to it; a read may be tried again."""

    code = "exchange_transient"


class ExchangeRefused(ExchangeError):
    """The venue understood and said no."""

    code = "exchange_refused"
