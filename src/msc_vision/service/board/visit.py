"""One request of one person at the board, and what the board keeps for all of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from msc_vision.service.board.caches import Kept
from msc_vision.service.board.digests import MOST_DIGESTS, Digest
from msc_vision.service.board.page import HEADERS, page
from msc_vision.service.board.pictures import Gallery
from msc_vision.service.board.session import Viewer
from msc_vision.service.board.vessel import VesselPages
from msc_vision.service.context import Service
from msc_vision.service.limits import RateLimit
from msc_vision.service.problems import ProblemError
from msc_vision.service.settings import Limits

DONE: Final[Mapping[str, str]] = {
    "decided": "The decision was made; this is its record.",
    "reviewed": "Your review was written down; this is the record that came of it.",
    "signed": "Your signature was written down.",
}
"""What a page says after a form; only these words can be asked for in an address."""


class Board:
    """What the board keeps in memory: short forms of records, runs, pictures; and how often people may ask."""

    def __init__(self, limits: Limits) -> None:
        self.digests: Kept[Digest] = Kept(MOST_DIGESTS)
        self.gallery = Gallery()
        self.vessels = VesselPages(self.gallery)
        self._by_person = RateLimit(limits.requests_per_s, limits.request_burst)
        self._by_address = RateLimit(limits.anonymous_per_s, limits.anonymous_burst)

    def wait_for_turn(self, who: str) -> None:
        """Refuse a person who asks too often.

        Raises
        ------
        ProblemError
            ``too-many-requests``.
        """
        _check_turn(self._by_person, who)

    def wait_for_login(self, address: str) -> None:
        """Refuse an address that tries to log in too often; raises what `wait_for_turn` does."""
        _check_turn(self._by_address, address)


def _check_turn(limit: RateLimit, key: str) -> None:
    wait_s = limit.wait_s(key)
    if wait_s > 0:
        seconds = max(1, round(wait_s + 0.5))
        raise ProblemError("too-many-requests", f"Too many requests; wait {seconds} s.", retry_after_s=seconds)


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of somebody who is logged in."""

    request: Request
    service: Service
    board: Board
    viewer: Viewer

    def page(self, template: str, here: str, title: str, status: int = 200, **values: Any) -> HTMLResponse:
        """Return a page; ``here`` names the part of the board it is in."""
        done = DONE.get(self.request.query_params.get("done", ""), "")
        return page(template, status, viewer=self.viewer, here=here, title=title, done=done, **values)

    def asked(self, name: str, most: int = 200) -> str:
        """Return a word of the query, cut to a length; empty if it is not there."""
        return self.request.query_params.get(name, "").strip()[:most]


def go_to(path: str) -> Response:
    """Send the browser to a page after a form, so that a reload does not send the form again."""
    return RedirectResponse(path, 303, headers=HEADERS)
