"""Passwords: what a new one has to be, and hashing them with argon2id."""

import re
import threading
import unicodedata
from importlib.resources import files
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from msc_vision.errors import InvalidArgumentError
from msc_vision.service.access.errors import PasswordRefusedError
from msc_vision.service.access.settings import HashingSettings

MIN_LENGTH: Final = 12
MAX_LENGTH: Final = 256  # longer ones only cost time
_USERNAME: Final = re.compile(r"[a-z0-9][a-z0-9._@-]{1,63}")


def normal_username(name: str) -> str:
    """Return a username as it is stored and compared: lower case, no look-alike forms.

    Raises
    ------
    InvalidArgumentError
        If it has other characters than letters a-z, digits and ``. _ @ -``, or fewer than 2 or more than 64.
    """
    username = unicodedata.normalize("NFKC", name).strip().lower()
    if not _USERNAME.fullmatch(username):
        raise InvalidArgumentError(
            f"{name[:80]!r} is no username: 2 to 64 of a-z, 0-9 and . _ @ -, with a letter or digit first."
        )
    return username


def check_password(password: str, *, username: str) -> None:
    """Check a new password: length counts, rules about signs do not (NIST SP 800-63B, section 5.1.1.2).

    Raises
    ------
    PasswordRefusedError
        If it is too short or too long, often used, repetitive, or contains the username.
    """
    plain = _normal(password).lower()
    reason = None
    if not MIN_LENGTH <= len(plain) <= MAX_LENGTH:
        reason = f"A password has {MIN_LENGTH} to {MAX_LENGTH} characters; this one has {len(plain)}."
    elif plain in _often_used() or len(set(plain)) < 5:
        reason = "This password is among the first that anybody would try; take another."
    elif username in plain:
        reason = "A password must not contain the username."
    if reason:
        raise PasswordRefusedError(reason, who=f"person:{username}", what="set password")


def _often_used() -> frozenset[str]:
    """Return the longest of the often-used passwords, and what "twelve characters" leads to in a cell culture lab."""
    text = files("msc_vision.service.access").joinpath("common_passwords.txt").read_text(encoding="utf-8")
    return frozenset(text.split())


def _normal(password: str) -> str:
    """Return the password as one sequence of characters, however a keyboard composed them."""
    return unicodedata.normalize("NFKC", password)


class Hasher:
    """Hashes and verifies passwords; an unknown person costs the same time as a wrong password."""

    def __init__(self, settings: HashingSettings) -> None:
        self._argon2 = PasswordHasher(settings.time_cost, settings.memory_kib, settings.parallelism)
        self._turn = threading.BoundedSemaphore(settings.n_at_once)
        self._nobody = self._argon2.hash("nobody has this password")

    def hash(self, password: str) -> str:
        """Return the hash of a password, with its salt and cost."""
        with self._turn:
            return self._argon2.hash(_encoded(password))

    def is_right(self, password: str, password_hash: str | None) -> bool:
        """Tell whether a password has this hash; without a hash it never has, after the same time."""
        with self._turn:
            try:
                self._argon2.verify(password_hash or self._nobody, _encoded(password[: 4 * MAX_LENGTH]))
            except (VerificationError, InvalidHashError):
                return False
        return password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Tell whether a hash was made with other costs than are set now."""
        return self._argon2.check_needs_rehash(password_hash)


def _encoded(password: str) -> bytes:
    return _normal(password).encode("utf-8", "surrogatepass")
