"""What the cells of each vessel look like: their figures, the most unlike of them, how they lie, and aggregates."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from msc_vision.errors import MscVisionError
from msc_vision.morphology.baseline import Baseline
from msc_vision.report.cells import FIGURES, Cells, DeviatingCell, deviating_cells, read_cells
from msc_vision.report.content import FieldEntry, LayerEntry, RunContent, VesselEntry
from msc_vision.report.crops import cell_picture, place_box
from msc_vision.report.distributions import Distribution, draw_distributions, expected_means, scored_fields
from msc_vision.report.fields import field_picture
from msc_vision.report.gallery import ShownField
from msc_vision.report.orientation import direction_picture
from msc_vision.report.pictures import Picture
from msc_vision.report.words import count, percent

logger = logging.getLogger(__name__)

MAX_DEVIATING = 12
MAX_DEVIATING_PER_PAGE = 48
MAX_LAYERS = 12
"""Layers of a page whose directions, and as many whose aggregates, are shown."""
MAX_SUSPECTS = 6
MAX_PLACES = 2
LONGEST_PX = 520
CROP_BYTES, FIELD_BYTES = 16_000, 48_000


@dataclass(frozen=True, slots=True)
class Appearance:
    """What is shown of the cells of one vessel; a note where that is nothing. ``middle``: from what cells deviate."""

    note: str
    distributions: tuple[Distribution, ...] = ()
    deviating: tuple[ShownField, ...] = ()
    directions: tuple[ShownField, ...] = ()
    aggregates: tuple[ShownField, ...] = ()
    middle: str = "the median"

    @property
    def has_band(self) -> bool:
        """Whether a baseline is drawn."""
        return any(one.band for one in self.distributions)


def fill_appearance(content: RunContent, baseline: Baseline | None = None) -> Mapping[str, Appearance]:
    """Return what is shown of the cells of each vessel, by its id.

    A picture that cannot be drawn is left out and logged, as in the gallery.
    """
    n_deviating = max(1, min(MAX_DEVIATING, MAX_DEVIATING_PER_PAGE // max(1, len(content.vessels))))
    n_layers = MAX_LAYERS
    found: dict[str, Appearance] = {}
    for i, vessel in enumerate(content.vessels):
        layers = [entry for entry in vessel.layers[::-1] if entry.scored][:n_layers]
        n_layers -= len(layers)
        n_shown = n_deviating if i < MAX_DEVIATING_PER_PAGE else 0
        found[vessel.vessel_id] = _appearance(content, vessel, layers, baseline, n_shown)
    return found


def suspect_pictures(fields: Iterable[FieldEntry]) -> tuple[ShownField, ...]:
    """Return pictures of the first fields that show a visual sign of contamination, each with where it is strongest."""
    shown: list[ShownField | None] = []
    for field in list(fields)[:MAX_SUSPECTS]:
        shown.append(_shown(field, field_picture, "suspect", field.contamination_note))
        for place in field.contamination_places[:MAX_PLACES]:
            sign, box = place_box(place)
            shown.append(_shown(field, partial(_place_picture, box=box), sign, "where this sign is strong"))
    return tuple(one for one in shown if one is not None)


def _place_picture(field: FieldEntry, _: int, budget_bytes: int, *, box: tuple[int, int, int, int]) -> Picture:
    return cell_picture(field, None, box, budget_bytes)


def _appearance(
    content: RunContent, vessel: VesselEntry, layers: list[LayerEntry], baseline: Baseline | None, n_deviating: int
) -> Appearance:
    has_directions = [entry for entry in layers if typical_field(entry).morphology]
    aggregates = [shown for entry in layers if (shown := _aggregates(entry)) is not None]
    directions = [shown for entry in has_directions if (shown := _directions(entry)) is not None]
    cells = _cells(content, vessel)
    if cells is None or not len(cells):
        return Appearance(
            _why_none(cells, scored_fields(vessel)), directions=tuple(directions), aggregates=tuple(aggregates)
        )
    fields = {one.key: one for one in scored_fields(vessel)}
    expected = expected_means(vessel, baseline)
    middle = "the median" if expected is None else "the baseline"
    deviating = deviating_cells(cells, n_deviating, expected)
    shown_cells = [_deviating(one, cells, fields, middle) for one in deviating]
    n_fields = len(set(cells.keys.tolist()))
    return Appearance(
        f"{count(len(cells), 'cell')} of {count(n_fields, 'field')}: all that lie wholly in the picture and are no "
        "doubtful clump. Larger cells count more, for those that the border cuts.",
        draw_distributions(cells, vessel, baseline),
        tuple(one for one in shown_cells if one is not None),
        tuple(directions),
        tuple(aggregates),
        middle,
    )


def _why_none(cells: Cells | None, fields: Iterable[FieldEntry]) -> str:
    if cells is None:
        return "Shape of cells: not measured in this run."
    if all(one.pixel_size_um is None for one in fields):
        return "Shape of cells: not measured, because no pixel size is known."
    return "Shape of cells: not measured, because no cell lies wholly and free in a picture."


def _cells(content: RunContent, vessel: VesselEntry) -> Cells | None:
    try:
        return read_cells(content.folder, vessel)
    except MscVisionError as err:
        logger.warning("No cells of %s: %s", vessel.vessel_id, err)
        return None


def typical_field(entry: LayerEntry) -> FieldEntry:
    """Return the field of a layer with the median confluency."""
    return entry.scored[(len(entry.scored) - 1) // 2]


def _directions(entry: LayerEntry) -> ShownField | None:
    field = typical_field(entry)
    order = field.morphology.get("order_100um")
    detail = None if order is None else f"order within 100 µm {order:.2f} (0: all ways, 1: side by side)"
    return _shown(field, direction_picture, f"layer {entry.layer}", detail)


def _aggregates(entry: LayerEntry) -> ShownField | None:
    field = max(entry.scored, key=lambda one: (one.aggregate_area_percent or 0.0, one.key))
    if not field.aggregate_area_percent:
        return None
    detail = f"aggregates on {field.aggregate_area_percent:.2g} % of the judged area, the most of its layer"
    return _shown(field, field_picture, f"layer {entry.layer}", detail)


def _shown(
    field: FieldEntry, draw: Callable[[FieldEntry, int, int], Picture], heading: str, detail: str | None
) -> ShownField | None:
    try:
        picture = draw(field, LONGEST_PX, FIELD_BYTES)
    except (MscVisionError, OSError) as err:
        logger.warning("No picture of %s: %s", field.path, err)
        return None
    title = f"{percent(field.confluency_percent)} · {field.name}"
    return ShownField(field.vessel_id, field.layer, heading, title, detail, picture)


def _deviating(found: DeviatingCell, cells: Cells, fields: Mapping[str, FieldEntry], middle: str) -> ShownField | None:
    field = fields[str(cells.keys[found.index])]
    label, box = int(cells.labels[found.index]), cells.boxes[found.index].tolist()
    try:
        picture = cell_picture(field, label, (box[0], box[1], box[2], box[3]), CROP_BYTES)
    except (MscVisionError, OSError) as err:
        logger.warning("No picture of cell %d of %s: %s", label, field.path, err)
        return None
    values = cells.values[found.index].tolist()
    heading = f"{FIGURES[found.figure].name} {_times(found.over_middle[found.figure], middle)}"
    told = "; ".join(
        f"{figure.name.lower()} {figure.told(value)}" for figure, value in zip(FIGURES, values, strict=True)
    )
    detail = f"{told} · {field.name}, no. {label}"
    return ShownField(field.vessel_id, field.layer, heading, "", detail, picture)


def _times(ratio: float, middle: str) -> str:
    return f"{ratio:.2g} × {middle}" if ratio >= 1 else f"{100 * ratio:.2g} % of {middle}"
