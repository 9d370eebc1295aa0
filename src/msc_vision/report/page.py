"""Put a run's content and pictures into the page, and write it in one step."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from msc_vision.errors import InvalidArgumentError
from msc_vision.morphology.baseline import Baseline
from msc_vision.report.appearance import Appearance, fill_appearance, suspect_pictures
from msc_vision.report.character import CharacterRow, character_rows, suspects, unassessed
from msc_vision.report.content import LayerEntry, RunContent, VesselEntry
from msc_vision.report.gallery import Gallery, ShownField, fill_gallery
from msc_vision.report.growth import GrowthDrawing, growth_of_run
from msc_vision.report.html import render, write_page
from msc_vision.report.ladder import Ladder, draw_ladder
from msc_vision.report.load import load_run
from msc_vision.report.words import (
    STATE_WORDS,
    count,
    doubts,
    number_ranges,
    percent,
    plain_time,
    shown_reason,
    trouble_sentence,
    vessel_sentence,
)
from msc_vision.vessels import Catalogue, load_catalogue

MAX_DOUBTS = 40
MAX_HEADLINES = 8
MAX_SUSPECTS_LISTED = 40
_NOTHING: Mapping[str, Appearance] = MappingProxyType({})
_NO_GROWTH: Mapping[str, GrowthDrawing] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class TableRow:
    """One line of a vessel's table, as text."""

    layers: str
    state: str
    reason: str | None
    confluency: str
    interval: str
    fields: str
    sd: str
    extremes: str
    area: str


@dataclass(frozen=True, slots=True)
class LayerPictures:
    """The pictures of one layer."""

    layer: int
    shown: tuple[ShownField, ...]


@dataclass(frozen=True, slots=True)
class VesselBlock:
    """Everything the page says about one vessel."""

    vessel: VesselEntry
    number: str
    sentence: str
    ladder: Ladder
    rows: tuple[TableRow, ...]
    interval_note: str
    pictures: tuple[LayerPictures, ...]
    picture_note: str | None
    is_first_of_type: bool
    character: tuple[CharacterRow, ...]
    appearance: Appearance | None
    growth: GrowthDrawing | None


def write_run_report(run: Path, catalogue: Catalogue | None = None, baseline: Baseline | None = None) -> Path:
    """Write ``report.html`` into a run folder from what lies there, and return its path.

    Parameters
    ----------
    run
        A complete run folder.
    catalogue
        Names and sources of the vessel types; the shipped one by default.
    baseline
        The one that the run was compared with, to be drawn beside its cells; the run itself keeps only its sha256.

    Raises
    ------
    InvalidArgumentError
        If the run was not compared with this baseline.
    InvalidDataError
        If the folder is not a run folder or a file in it cannot be read.
    OutputError
        If the page cannot be written.
    """
    catalogue = catalogue or load_catalogue()
    content = load_run(run, catalogue)
    if baseline is not None and baseline.sha256 != content.baseline_sha256:
        raise InvalidArgumentError(
            f"{run} was not compared with baseline {baseline.head.origin.baseline_id}: the sha256 in its run.json is"
            f" {content.baseline_sha256 or 'that of none'}."
        )
    shown = suspect_pictures(suspects(content))
    growth = growth_of_run(run, catalogue) if _has_several_times(content) else _NO_GROWTH
    page = render_run(content, fill_gallery(content), fill_appearance(content, baseline), shown, growth)
    return write_page(run / "report.html", page)


def _has_several_times(content: RunContent) -> bool:
    return any(layer.earlier for vessel in content.vessels for layer in vessel.layers)


def render_run(
    content: RunContent,
    gallery: Gallery,
    appearances: Mapping[str, Appearance] = _NOTHING,
    suspect_shown: Sequence[ShownField] = (),
    growth: Mapping[str, GrowthDrawing] = _NO_GROWTH,
) -> str:
    """Return the page of a run as HTML text; every word that comes from a file is escaped."""
    seen: set[str] = set()
    blocks, suspected = [], suspects(content)
    for vessel in content.vessels:
        blocks.append(
            _vessel_block(
                vessel,
                gallery,
                appearances.get(vessel.vessel_id),
                growth.get(vessel.vessel_id),
                is_first=vessel.type_id not in seen,
            )
        )
        seen.add(vessel.type_id)
    return render(
        "run.html.j2",
        content=content,
        batches=[batch for batch in content.batches if len(batch.vessel_ids) > 1],
        blocks=blocks,
        max_headlines=MAX_HEADLINES,
        finished=plain_time(content.finished_at),
        trouble=trouble_sentence(content),
        notices=_notices(content),
        reasons={field.key: shown_reason(field) for field in content.troubled},
        trouble_pictures=gallery.troubled,
        doubts=doubts(content)[:MAX_DOUBTS],
        n_doubts=len(doubts(content)),
        suspects=suspected[:MAX_SUSPECTS_LISTED],
        n_suspects=len(suspected),
        suspect_pictures=suspect_shown,
        unassessed=unassessed(content),
    )


def _vessel_block(
    vessel: VesselEntry,
    gallery: Gallery,
    appearance: Appearance | None,
    growth: GrowthDrawing | None,
    *,
    is_first: bool,
) -> VesselBlock:
    groups = tuple(
        LayerPictures(entry.layer, gallery.of_layer(vessel.vessel_id, entry.layer)) for entry in vessel.layers[::-1]
    )
    return VesselBlock(
        vessel=vessel,
        number=percent(vessel.confluency_percent) if vessel.confluency_percent is not None else _no_number(vessel),
        sentence=vessel_sentence(vessel),
        ladder=draw_ladder(vessel),
        rows=tuple(_table_rows(vessel.layers[::-1])),
        interval_note=_interval_note(vessel),
        pictures=tuple(group for group in groups if group.shown),
        picture_note=gallery.note,
        is_first_of_type=is_first,
        character=character_rows(vessel),
        appearance=appearance,
        growth=growth,
    )


def _no_number(vessel: VesselEntry) -> str:
    return "undetermined" if vessel.measured else "no value"


def _interval_note(vessel: VesselEntry) -> str:
    """Return what the intervals of a vessel rest on, or why there are none, and how the layers change upwards."""
    notes = sorted({entry.interval_note for entry in vessel.layers if entry.interval is not None})
    missing = sorted({entry.interval_note for entry in vessel.measured if entry.interval is None})
    text = " ".join(f"{note.removeprefix('95 %: ').capitalize()}." for note in notes)
    text = f"Intervals (95 %) rest on: {text}" if notes else "No intervals."
    if missing:
        text += f" Without one: {'; '.join(missing)}."
    if vessel.trend_points_per_layer is not None and vessel.trend is not None:
        text += (
            f" From the bottom up confluency changes by {vessel.trend_points_per_layer:+.1f} points a layer"
            f" (95 %: {vessel.trend.low:+.1f} to {vessel.trend.high:+.1f})."
        )
    return text


def _table_rows(layers: Sequence[LayerEntry]) -> Iterable[TableRow]:
    """Yield a row per layer; neighbouring layers without any field and of one state and reason share one."""
    i = 0
    while i < len(layers):
        group = [layers[i]]
        while i + len(group) < len(layers) and _is_alike(layers[i], layers[i + len(group)]):
            group.append(layers[i + len(group)])
        yield _table_row(group)
        i += len(group)


def _is_alike(a: LayerEntry, b: LayerEntry) -> bool:
    said = [(one.state, one.reason, percent(one.confluency_percent), _interval(one)) for one in (a, b)]
    return not a.fields and not b.fields and said[0] == said[1]


def _table_row(group: Sequence[LayerEntry]) -> TableRow:
    entry = group[0]
    scored = entry.scored
    low, high = (scored[0].confluency_percent, scored[-1].confluency_percent) if scored else (None, None)
    return TableRow(
        layers=number_ranges(e.layer for e in group),
        state=STATE_WORDS[entry.state],
        reason=entry.reason,
        confluency=percent(entry.confluency_percent),
        interval=_interval(entry),
        fields=_field_counts(entry),
        sd="–" if entry.sd_points is None else f"{entry.sd_points:.1f} points",
        extremes="–" if low is None or high is None else f"{low:.1f} – {high:.1f} %",
        area="–" if entry.judgeable_area_mm2 is None else f"{entry.judgeable_area_mm2:.2f} mm²",
    )


def _interval(entry: LayerEntry) -> str:
    return "–" if entry.interval is None else f"{entry.interval.low:.1f} – {entry.interval.high:.1f} %"


def _field_counts(entry: LayerEntry) -> str:
    if not entry.fields:
        return "0"
    return (
        str(len(entry.scored))
        if len(entry.scored) == len(entry.fields)
        else f"{len(entry.scored)} of {len(entry.fields)}"
    )


def _notices(content: RunContent) -> list[str]:
    """Return what a reader has to know before the numbers."""
    notices = []
    if content.state != "complete":
        notices.append(f"This run is {content.state}, not complete: the page shows what was done so far.")
    unverified = sorted({vessel.type_name for vessel in content.vessels if not vessel.is_verified})
    if unverified:
        notices.append(
            f"Vessel data of {', '.join(unverified)} are from memory, not verified against the maker's sheet: "
            "check layers and areas before relying on them."
        )
    without_size = [f for f in content.fields if f.status == "scored" and f.pixel_size_um is None]
    if without_size:
        notices.append(
            f"{count(len(without_size), 'field')} without a pixel size: confluency only, no areas or sizes; "
            "state pixel_size_um in the manifest to get them."
        )
    return notices
