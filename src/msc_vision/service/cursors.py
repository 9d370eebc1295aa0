"""Pages of long lists: a cursor names the last row seen, so rows added meanwhile neither repeat nor hide any."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msc_vision.service.problems import Fault, ProblemError

DEFAULT_ITEMS = 50
MOST_ITEMS = 500


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list. ``next`` is the cursor of the following page; None: this was the last."""

    items: tuple[dict[str, Any], ...]
    next: str | None


def page_of(rows: Sequence[Mapping[str, Any]], n_items: int, key: str, filters: Mapping[str, Any]) -> Page:
    """Return a page out of one row more than it holds; ``key`` is the column that the list is sorted by."""
    shown = rows[:n_items]
    cursor = make_cursor(shown[-1][key], filters) if len(rows) > n_items else None
    return Page(tuple(dict(one) for one in shown), cursor)


def make_cursor(position: int | str, filters: Mapping[str, Any]) -> str:
    """Return the cursor behind a row."""
    content = json.dumps([position, _digest(filters)], separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def read_cursor(cursor: str, filters: Mapping[str, Any], kind: type[int] | type[str]) -> Any:
    """Return the position of a cursor.

    Raises
    ------
    ProblemError
        ``not-valid``: it is not one of ours, or of a list with other filters.
    """
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        position, digest = json.loads(text)
        is_ours = type(position) is kind and hmac.compare_digest(str(digest).encode(), _digest(filters).encode())
        if is_ours and (not isinstance(position, int) or -(2**63) <= position < 2**63) and "\x00" not in str(position):
            return position
    except (binascii.Error, ValueError, TypeError, RecursionError):
        pass
    detail = "The cursor is not one of this list; take `next` of a page with the same filters."
    raise ProblemError("not-valid", detail, (Fault(detail, "query cursor"),))


def _digest(filters: Mapping[str, Any]) -> str:
    asked = {name: str(value) for name, value in filters.items() if value is not None}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
