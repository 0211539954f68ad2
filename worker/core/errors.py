"""Errors named by whose fault they are, so that callers know what to do about them."""

from __future__ import annotations


class LedgerockError(Exception):
    """Base of every error that Ledgerock raises on purpose."""


class ConfigurationError(LedgerockError):
    """A setting, file or argument of the operator is wrong. Exit code 2; never retried.

    The message names the file or option, what was found, what is expected.
    """


class TransientError(LedgerockError):
    """A passing fault of something outside (throttle, lock, network). Retried, never lost.

    Attributes:
        retry_after_seconds: How long to wait before the next attempt, if known.
    """

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        """Keep the message and the advised delay in seconds."""
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class UnreadableObjectError(LedgerockError):
    """One stored object cannot be read and never will be as it is; its siblings can.

    Attributes:
        found: What was found instead of a readable object.
    """

    def __init__(self, name: str, found: str) -> None:
        """Say which object it is and what is the matter with it."""
        super().__init__(f"{name}: {found}")
        self.found = found


class MissingObjectError(LedgerockError):
    """A notification names an object that is not there: not yet, or no longer."""


class LedgerCorruptError(LedgerockError):
    """The ledger's stored data contradicts itself. Nothing is written; a person must look."""


class RefusedError(LedgerockError):
    """The ledger permanently refuses to book some of the calls at hand as they are.

    Nothing but those calls is in the way: fewer of them, or others, may well be booked.
    """


class EnforcementError(LedgerockError):
    """A principal could not be suspended or restored. Told to people, and tried again."""


class MissingPrincipalError(EnforcementError):
    """There is no such user, role or policy, or another one carries its name by now."""


class ReplacedPrincipalError(MissingPrincipalError):
    """Who was meant is gone for good: another one carries its name by now."""


class NeedsPersonError(EnforcementError):
    """IAM offers no way to do this to this principal alone; a person has to act."""


class ProtectedPrincipalError(EnforcementError):
    """The principal is Ledgerock's own, or on the list of those that are never acted on."""


class RefusedMessageError(LedgerockError):
    """A channel refuses one message for what it is; it may well take others."""
