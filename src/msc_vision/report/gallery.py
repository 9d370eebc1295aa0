"""Which fields a page shows as pictures, within a bound on their number and weight."""

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from msc_vision.errors import MscVisionError
from msc_vision.report.content import FieldEntry, LayerEntry, RunContent
from msc_vision.report.fields import field_picture
from msc_vision.report.pictures import Picture
from msc_vision.report.words import count, percent, shown_reason

logger = logging.getLogger(__name__)

MAX_PICTURES = 108
MAX_TROUBLED = 12
MAX_PER_LAYER = 3
PAGE_BUDGET_BYTES = 8_000_000
LONGEST_PX = (420, 960)  # smallest and largest picture; in between as the budget allows
BYTES_PER_PX = 0.35  # of an encoded picture with its overlay, measured on phase-contrast fields


@dataclass(frozen=True, slots=True)
class ShownField:
    """One picture with its words."""

    vessel_id: str
    layer: int
    heading: str
    title: str
    detail: str | None
    picture: Picture


@dataclass(frozen=True, slots=True)
class Gallery:
    """The pictures of a page."""

    scored: tuple[ShownField, ...] = ()
    troubled: tuple[ShownField, ...] = ()
    note: str | None = None

    def of_layer(self, vessel_id: str, layer: int) -> tuple[ShownField, ...]:
        """Return the pictures of one layer, lowest confluency first."""
        return tuple(s for s in self.scored if s.vessel_id == vessel_id and s.layer == layer)


@dataclass(frozen=True, slots=True)
class _Wish:
    """A field to be shown, and the word over it."""

    field: FieldEntry
    heading: str


def fill_gallery(content: RunContent, max_pictures: int = MAX_PICTURES) -> Gallery:
    """Choose lowest, median and highest field of each layer, and fields that could not be judged; draw them.

    A picture that cannot be drawn is left out and logged: the page's numbers do not depend on it.
    """
    troubled = [_Wish(f, "not judgeable") for f in content.troubled if f.status == "rejected"][:MAX_TROUBLED]
    layers = [entry for vessel in content.vessels for entry in vessel.layers if entry.scored]
    room = max_pictures - len(troubled)
    per_layer = max(1, min(MAX_PER_LAYER, room // max(1, len(layers))))
    wishes = [wish for entry in layers for wish in typical_fields(entry, per_layer)][:room]
    longest, budget = picture_size(len(wishes) + len(troubled))
    with ThreadPoolExecutor(max_workers=2) as pool:
        drawn = list(pool.map(lambda wish: _draw(wish, longest, budget), [*wishes, *troubled]))
    scored, not_judged = drawn[: len(wishes)], drawn[len(wishes) :]
    n_scored = sum(len(entry.scored) for entry in layers)
    note = None
    if n_scored > len(wishes):
        note = f"Pictures of {len(wishes)} of {count(n_scored, 'scored field')}; all their outlines lie in labels/."
    return Gallery(_present(scored), _present(not_judged), note)


def typical_fields(entry: LayerEntry, n: int) -> list[_Wish]:
    """Return up to three fields of a layer: median alone, lowest and highest, or all three; lowest first."""
    scored = entry.scored
    if len(scored) == 1:
        return [_Wish(scored[0], "")]
    median = scored[(len(scored) - 1) // 2]
    if n == 1:
        return [_Wish(median, "median")]
    if n == 2 or len(scored) == 2:
        return [_Wish(scored[0], "lowest"), _Wish(scored[-1], "highest")]
    return [_Wish(scored[0], "lowest"), _Wish(median, "median"), _Wish(scored[-1], "highest")]


def picture_size(n_pictures: int) -> tuple[int, int]:
    """Return the longer side in pixels and the bytes that one of so many pictures may take."""
    budget = PAGE_BUDGET_BYTES // max(1, n_pictures)
    longest = int((budget / BYTES_PER_PX) ** 0.5)
    return min(max(longest, LONGEST_PX[0]), LONGEST_PX[1]), budget


def _draw(wish: _Wish, longest_px: int, budget_bytes: int) -> ShownField | None:
    field = wish.field
    try:
        picture = field_picture(field, longest_px, budget_bytes)
    except (MscVisionError, OSError) as err:
        logger.warning("No picture of %s: %s", field.path, err)
        return None
    title = f"{percent(field.confluency_percent)} · {field.name}" if field.status == "scored" else field.name
    return ShownField(field.vessel_id, field.layer, wish.heading, title, _detail(field), picture)


def _detail(field: FieldEntry) -> str | None:
    if field.status != "scored":
        return shown_reason(field)
    parts: list[str] = []
    if field.judgeable_percent is not None and field.judgeable_percent < 99.95:
        parts.append(f"{field.judgeable_percent:.0f} % of it judged")
    parts.extend(flag.replace("_", " ") for flag in field.flags)
    parts.extend([field.review] if field.review else [])
    return " · ".join(parts) or None


def _present(shown: Sequence[ShownField | None] | Iterable[ShownField | None]) -> tuple[ShownField, ...]:
    return tuple(s for s in shown if s is not None)
