"""Who asks, and what they may do: scopes, the roles of people that stand for them, the scopes a key may have."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, get_args

from msc_vision.errors import InvalidArgumentError

Scope = Literal["read", "score", "decide", "review", "sign", "rules", "admin", "audit"]
Role = Literal["viewer", "operator", "reviewer", "approver", "admin"]
Kind = Literal["person", "key"]

SCOPES: Final[tuple[str, ...]] = get_args(Scope)
ROLES: Final[tuple[str, ...]] = get_args(Role)
_OPERATOR: Final = frozenset({"read", "score", "decide"})
_REVIEWER: Final = _OPERATOR | {"review", "sign"}
ROLE_SCOPES: Final[dict[str, frozenset[str]]] = {
    "viewer": frozenset({"read"}),
    "operator": _OPERATOR,
    "reviewer": _REVIEWER,
    "approver": _REVIEWER | {"rules"},
    "admin": frozenset({"read", "admin", "audit"}),
}
PERSONAL_SCOPES: Final = frozenset({"review", "sign", "admin"})  # a machine neither judges nor appoints
KEY_SCOPES: Final = frozenset(SCOPES) - PERSONAL_SCOPES


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who was authenticated. ``name`` is a username, or the name given to a key."""

    kind: Kind
    id: str
    name: str
    scopes: frozenset[str]
    roles: frozenset[str] = frozenset()

    @property
    def who(self) -> str:
        """How the audit log names them."""
        return f"person:{self.name}" if self.kind == "person" else f"key:{self.id}"

    def can(self, scope: Scope) -> bool:
        """Tell whether they have a scope."""
        return scope in self.scopes


def scopes_of(roles: Iterable[str]) -> frozenset[str]:
    """Return the scopes that roles stand for together."""
    return frozenset[str]().union(*(ROLE_SCOPES[role] for role in roles))


def checked_roles(roles: Iterable[str]) -> tuple[str, ...]:
    """Return roles in their order, each once.

    Raises
    ------
    InvalidArgumentError
        If there is none, or one is unknown.
    """
    return _checked(roles, ROLES, "role")


def checked_key_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes of a key in their order, each once.

    Raises
    ------
    InvalidArgumentError
        If there is none, or one is unknown or for people only.
    """
    chosen = _checked(scopes, SCOPES, "scope")
    if personal := [scope for scope in chosen if scope in PERSONAL_SCOPES]:
        raise InvalidArgumentError(f"Only people may {' and '.join(personal)}; a key cannot have that scope.")
    return chosen


def _checked(names: Iterable[str], known: tuple[str, ...], word: str) -> tuple[str, ...]:
    chosen = set(names)
    if not chosen:
        raise InvalidArgumentError(f"At least one {word} is needed: {', '.join(known)}.")
    if unknown := sorted(chosen - set(known)):
        raise InvalidArgumentError(f"No such {word}: {', '.join(unknown)}. There are {', '.join(known)}.")
    return tuple(name for name in known if name in chosen)
