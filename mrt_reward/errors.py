"""Everything that mrt-reward raises.

    MRTRewardError
    ├── TraceError              one trace cannot be scored as it was sent
    │   └── ContextLengthError  it does not fit the prover's context
    ├── ProverError             the prover failed to answer
    │   └── ProverUnavailable   it is loading, restarting or gone; try again
    ├── WeightsError            new weights were not taken; the old ones go on
    │   └── WeightsUnsupported  this engine takes none while it runs
    ├── GraderError             an answer could not be judged
    ├── ServiceError            the request was understood and not served
    │   ├── Overloaded          the queue is full; try again later
    │   │   └── BudgetSpent     the caller's key has had its tokens; try again later
    │   ├── Draining            the server is shutting down; try another replica
    │   ├── StoreUnavailable    the cache's store cannot be changed at present
    │   └── DeadlineExceeded    the caller's time ran out
    ├── WireError               bytes on the wire broke the contract
    │   └── RequestRejected     the server answered 4xx; sending it again will not help
    └── ConfigError             a setting is wrong

Wrong arguments to a function raise `ValueError`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass


class MRTRewardError(Exception):
    """Base of all errors of this package.

    Attributes:
        code: stable, machine-readable name of what went wrong.
        param: the input field at fault, in dotted form, if there is one.
        retryable: whether the same call may succeed later.

    """

    code = "mrt_reward_error"
    retryable = False

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        if code is not None:
            self.code = code


class TraceError(MRTRewardError):
    """One trace cannot be scored as it was sent; its neighbours are unaffected."""

    code = "invalid_trace"


NO_THINKING = "no_thinking"
"""Code of a `TraceError`: nothing in the trace is thinking, so there is nothing to score."""


class ContextLengthError(TraceError):
    """The trace does not fit the prover's context."""

    code = "context_length_exceeded"


class ProverError(MRTRewardError):
    """The prover failed to answer."""

    code = "prover_failed"


class ProverUnavailable(ProverError):
    """The prover is loading, restarting or gone; the same call may succeed later."""

    code = "prover_unavailable"
    retryable = True


class WeightsError(MRTRewardError):
    """New weights were not taken; the old ones go on serving."""

    code = "weights_refused"


UNFINISHED = "weights_unfinished"
"""Code of a `WeightsError` whose folder is allowed and there, and whose writer has not finished it."""


class WeightsUnsupported(WeightsError):
    """This engine takes no new weights of this kind while it runs."""

    code = "not_implemented"


class GraderError(MRTRewardError):
    """An answer could not be judged, through no fault of the answer."""

    code = "grader_failed"
    retryable = True


class ServiceError(MRTRewardError):
    """The request was understood, and not served.

    Attributes:
        retry_after_s: seconds to wait before the next try, as sent in `Retry-After`.

    """

    code = "not_served"
    retryable = True

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Overloaded(ServiceError):
    """The queue is full (HTTP 429)."""

    code = "overloaded"


class BudgetSpent(Overloaded):
    """The caller's key has had the tokens that it may have at present (HTTP 429)."""

    code = "budget_spent"


class Draining(ServiceError):
    """The server is shutting down (HTTP 503)."""

    code = "draining"


class StoreUnavailable(ServiceError):
    """The cache's store cannot be changed at present (HTTP 503)."""

    code = "store_unavailable"


class DeadlineExceeded(ServiceError):
    """The caller's time ran out before the score was ready (HTTP 504)."""

    code = "deadline_exceeded"


class WireError(MRTRewardError):
    """Bytes on the wire broke the contract, or no bytes came."""

    code = "wire_error"
    retryable = True


class RequestRejected(WireError):
    """The server refused the request (HTTP 4xx), or it was not sent; sending it again will not help.

    Attributes:
        status: of the reply; None where it was not sent.

    """

    code = "request_rejected"
    retryable = False
    status: int | None = None


class ConfigError(MRTRewardError):
    """A setting is missing, misspelt or contradicts another."""

    code = "invalid_setting"


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """A failure as the wire tells it (the OpenAI shape).

    Attributes:
        message: what was expected, what arrived, and what to change.
        type: class of the error.
        code: stable, machine-readable name of what went wrong.
        param: the input field at fault, in dotted form, if there is one.

    """

    message: str
    type: str
    code: str
    param: str | None = None

    @classmethod
    def of(cls, error: MRTRewardError) -> ErrorInfo:
        """One of our own errors."""
        return cls(str(error), type(error).__name__, error.code, error.param)


@contextmanager
def translated(into: Callable[[Exception], MRTRewardError]) -> Generator[None]:
    """The boundary to code that is not ours: whatever it raises is raised as what `into` makes of it.

    Our own errors pass as they are, and so does what is no `Exception`: a cancelled task, Ctrl-C.
    """
    try:
        yield
    except MRTRewardError:
        raise
    except Exception as error:  # libraries, models and users' functions raise anything
        raise into(error) from error
