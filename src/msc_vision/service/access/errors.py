"""Refusals: each is told to the caller in words that give nothing away, and noted in the audit log."""

from typing import TYPE_CHECKING

from msc_vision.service.store import RefusedError

if TYPE_CHECKING:
    from msc_vision.service.store import Transaction


class NotAuthenticatedError(RefusedError):
    """Nobody is known by these credentials, or they are no longer valid."""


class LockedOutError(NotAuthenticatedError):
    """Too many wrong passwords in a row; try again after ``retry_after_s``."""

    def __init__(self, message: str, *, who: str, what: str, retry_after_s: float) -> None:
        super().__init__(message, who=who, what=what, target="people", target_id=who.removeprefix("person:"))
        self.retry_after_s = retry_after_s


class PasswordExpiredError(NotAuthenticatedError):
    """The password is right but too old; it has to be changed first."""


class ForbiddenError(RefusedError):
    """The caller is known, but may not do this."""


class SignatureRefusedError(RefusedError):
    """The decision cannot be signed, or not by this person; the message says why."""


class PasswordRefusedError(RefusedError):
    """A new password does not follow the rules; the message says which."""

    def settle(self, transaction: "Transaction") -> None:
        """Leave nothing: a person who picks another password was not refused anything."""
