"""What can go wrong: one exception, six kinds, a stable code for each cause."""

from __future__ import annotations

from datetime import datetime, timezone


class Error(Exception):
    """Something failed. ``str()`` is a sentence for people; it repeats no secret."""

    #: Which of the six kinds it is.
    kind = "fault"

    def __init__(
        self,
        explanation: str,
        *,
        code: str = "app",
        retryable: bool = False,
    ) -> None:
        super().__init__(explanation)
        #: What failed and what to do, in a sentence.
        self.explanation = explanation
        #: A stable name of the cause, such as ``gate-unreachable``.
        self.code = code
        #: Whether the same call may succeed later without anyone changing anything.
        self.retryable = retryable


class UserCancelledError(Error):
    """The user wanted it so: say nothing."""

    kind = "user-cancelled"


class TimedOutError(Error):
    """It took too long: offer to try again."""

    kind = "timed-out"


class NotAvailableError(Error):
    """The gate, or the way to it, is not there now: try again later."""

    kind = "not-available"


class LockedOutError(Error):
    """There were too many wrong answers."""

    kind = "locked-out"

    #: Until when; ``None`` where an administrator has to reset the factor.
    until: datetime | None = None


class DeniedError(Error):
    """The gate says no to this user or device. The text says who can help."""

    kind = "denied"


class FaultError(Error):
    """Something is wrong with this device, the program or its profile."""


class InvalidValueError(FaultError, ValueError):
    """A value that the program gave is not one."""


_KINDS: dict[str, type[Error]] = {
    "user-cancelled": UserCancelledError,
    "timed-out": TimedOutError,
    "not-available": NotAvailableError,
    "locked-out": LockedOutError,
    "denied": DeniedError,
    "fault": FaultError,
    "invalid-value": InvalidValueError,
}


def make(kind: str, code: str, explanation: str, retryable: bool, until: int | None) -> Error:
    """Makes the exception of a failure in the core."""
    error = _KINDS.get(kind, FaultError)(explanation, code=code, retryable=retryable)
    if isinstance(error, LockedOutError) and until is not None:
        error.until = datetime.fromtimestamp(until / 1000, timezone.utc)
    return error
