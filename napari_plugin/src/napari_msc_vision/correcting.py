"""What the correct dock says, as plain words and numbers: figures before and now, what changed, what was found.

No Qt and no napari here; every figure comes from the library.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import get_args

from msc_vision.batch.reviewed import RunFigures
from msc_vision.findings.contamination import SignName
from msc_vision.findings.surface import SurfaceKind
from msc_vision.records import FieldScore
from msc_vision.review.state import FieldReview
from msc_vision.statistics.rollup import LayerEstimate
from napari_msc_vision.convert import Finding
from napari_msc_vision.session import ReviewSession

Range = tuple[float, float]
NOTHING = "–"
_ACTIONS = {
    "looked": "looked at",
    "accepted": "accepted",
    "rejected": "rejected",
    "re-image": "to be imaged again",
    "reopened": "opened again",
    "finding-added": "finding added",
    "finding-dismissed": "finding dismissed",
    "kept-for-training": "kept for training",
}
_KIND_WORDS = {
    "haze": "haze: the medium is turbid",
    "dots": "dots: as bacteria look",
    "budding": "budding bodies: as yeast looks",
    "filaments": "filaments: as mould looks",
    "rolled edge": "rolled edge: the layer comes off",
    "scratch": "scratch",
    "bright scratch": "bright scratch",
    "bubble": "bubble",
    "wall": "wall of the vessel",
}
FINDING_KINDS: tuple[str, ...] = (*get_args(SignName), *get_args(SurfaceKind))
"""What a reviewer may add; the first four are signs of contamination, which the verdict follows."""


@dataclass(frozen=True, slots=True)
class FigureRow:
    """One figure: ``about`` field, layer or vessel; what it is; as the run found it, and now."""

    about: str
    name: str
    before: str
    now: str

    @property
    def is_changed(self) -> bool:
        """Whether the review changed it, as far as it is shown."""
        return self.before != self.now


def figure_rows(session: ReviewSession) -> tuple[FigureRow, ...]:
    """Return the figures of the open field, of its layer and of its vessel; none while no field is open."""
    key, score = session.current, session.score
    if key is None or score is None:
        return ()
    row, original = session.row(key), session.run.original
    field = f"Field {row.field}" if row.field else "Field"
    return (
        *score_rows(original.fields[key].score, score, field),
        *_layer_rows(original, session.figures, row.vessel_id, row.layer),
        *_vessel_rows(original, session.figures, row.vessel_id),
    )


def score_rows(before: FieldScore, now: FieldScore, about: str = "Field") -> tuple[FigureRow, ...]:
    """Return the figures of a field by two scores, each as text with its unit."""
    counts = (before.n_objects, now.n_objects)
    aggregates = tuple(one.findings.get("n_aggregates") for one in (before, now))
    rows = [
        FigureRow(about, "Confluency", percent(before.confluency_percent), percent(now.confluency_percent)),
        FigureRow(about, "Cells", *(NOTHING if one is None else f"{one}" for one in counts)),
        FigureRow(about, "Judgeable", percent(before.judgeable_percent), percent(now.judgeable_percent)),
        FigureRow(about, "Aggregates", *(NOTHING if one is None else f"{one:.0f}" for one in aggregates)),
    ]
    if "scored" not in (before.status, now.status) or before.status != now.status:
        rows.insert(0, FigureRow(about, "State", before.status, now.status))
    return tuple(rows)


def _layer_rows(original: RunFigures, now: RunFigures, vessel_id: str, layer: int) -> tuple[FigureRow, ...]:
    pair = [_layer_of(figures, vessel_id, layer) for figures in (original, now)]
    words = [NOTHING if one is None else with_interval(one.confluency_percent, one.confluency_interval) for one in pair]
    return (FigureRow(f"Layer {layer}", "Confluency", *words),)


def _layer_of(figures: RunFigures, vessel_id: str, layer: int) -> LayerEstimate | None:
    return next((one for one in figures.vessel(vessel_id).layers if one.layer == layer), None)


def _vessel_rows(original: RunFigures, now: RunFigures, vessel_id: str) -> tuple[FigureRow, ...]:
    pair = [figures.vessel(vessel_id) for figures in (original, now)]
    about = f"Vessel {vessel_id}"
    words = [with_interval(one.confluency_percent, one.confluency_interval) for one in pair]
    means = [percent(one.measured_confluency_percent) for one in pair]
    is_known = any(one.confluency_percent is not None for one in pair)
    rows = [FigureRow(about, "Confluency", *words) if is_known else FigureRow(about, "Measured layers", *means)]
    low, high = pair[1].window_percent
    if any(one.in_window_probability is not None for one in pair):
        chances = [percent(_times_100(one.in_window_probability)) for one in pair]
        rows.append(FigureRow(about, f"Within {low:g} to {high:g} %", *chances))
    return tuple(rows)


def percent(value: float | None) -> str:
    """Return a percentage as text."""
    return NOTHING if value is None else f"{value:.1f} %"


def with_interval(value: float | None, interval: Range | None) -> str:
    """Return a percentage with its 95 % interval as text."""
    if value is None:
        return NOTHING
    return f"{value:.1f} %" if interval is None else f"{value:.1f} % ({interval[0]:.0f} to {interval[1]:.0f})"


def _times_100(share: float | None) -> float | None:
    return None if share is None else 100 * share


def changes(review: FieldReview) -> tuple[str, ...]:
    """Return what was done to a field, the last first: time of day, who, what."""
    said = []
    for event in reversed(review.events):
        if event.action == "edited":
            what = str((event.after or {}).get("tool", "corrected"))
        elif event.action in _ACTIONS:
            what = _ACTIONS[event.action] + ("" if not event.reason_code else f" ({event.reason_code})")
        else:
            continue
        at = datetime.fromisoformat(event.at).astimezone()
        said.append(f"{at:%d %b %H:%M:%S}   {event.reviewer.name}   {what}")
    return tuple(said)


def kind_words(kind: str) -> str:
    """Return what a kind of finding means."""
    return _KIND_WORDS.get(kind, kind)


def finding_words(finding: Finding) -> str:
    """Return one line for a finding: what, who, where it lies."""
    y0, _, x0, _ = finding.box_px
    by = "found by the run" if finding.found_by == "run" else f"added by {finding.found_by}"
    gone = ", dismissed" if finding.is_dismissed else ""
    note = f": {finding.note}" if finding.note else ""
    return f"{finding.kind} ({by}{gone}), row {y0}, column {x0}{note}"


def brush_words(size_px: int, size_um: float | None) -> str:
    """Return the size of the brush as text."""
    return f"{size_px} px (size in µm unknown)" if size_um is None else f"{size_um:.0f} µm · {size_px} px"


def state_words(session: ReviewSession) -> str:
    """Return whether every figure is of what is on the screen."""
    if session.current is None:
        return "Open a field in the navigator."
    if session.is_measured:
        return "All figures are of the masks on the screen."
    return "Being measured again; shapes and signs are of before …"


def differences(rows: Sequence[FigureRow]) -> str:
    """Return the figures that differ, one a line."""
    found = [f"{row.name}: {row.before} → {row.now}" for row in rows if row.is_changed]
    return "\n".join(found) or "No figure differs."
