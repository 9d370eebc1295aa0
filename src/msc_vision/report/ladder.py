"""The stack of layers as a drawing: where each bar, dot and word goes; the template only writes them down."""

from dataclasses import dataclass

from msc_vision.report.content import FieldEntry, LayerEntry, VesselEntry
from msc_vision.report.words import STATE_WORDS, count, number_ranges, percent
from msc_vision.statistics.rollup import MEASURED

ROW_PX = 30
FOLDED_ROW_PX = 26
FOLD_FROM = 3  # so many neighbouring layers without any field share one row
LABEL_PX, TEXT_PX, BAR_PX = 100, 400, 380
DOT_ROWS = 4


@dataclass(frozen=True, slots=True)
class Dot:
    """One scored field."""

    x: float
    y: float
    title: str


@dataclass(frozen=True, slots=True)
class Rung:
    """One row of the drawing: a layer, or several neighbouring ones that look the same."""

    y: float
    height: float
    label: str
    state: str
    text: str
    bar_px: float | None = None
    is_seen: bool = True
    interval: tuple[float, float] | None = None
    dots: tuple[Dot, ...] = ()

    @property
    def middle(self) -> float:
        """Where the text stands."""
        return self.y + self.height / 2


@dataclass(frozen=True, slots=True)
class Ladder:
    """The drawing of a vessel, top layer first as in the incubator."""

    rungs: tuple[Rung, ...]
    height: float
    label_px: int = LABEL_PX
    bar_px: int = BAR_PX
    text_px: int = TEXT_PX
    window_px: tuple[float, float] | None = None

    @property
    def width(self) -> int:
        """Width of the whole drawing."""
        return self.label_px + self.bar_px + self.text_px


def draw_ladder(vessel: VesselEntry) -> Ladder:
    """Return the drawing of a vessel's layers."""
    rungs = []
    y = 0.0
    for group in _fold(vessel.layers[::-1]):
        rung = _rung(group, y)
        rungs.append(rung)
        y += rung.height
    window = None if vessel.window is None else (_to_px(vessel.window.low), _to_px(vessel.window.high))
    return Ladder(tuple(rungs), y, window_px=window)


def _fold(layers: tuple[LayerEntry, ...]) -> list[tuple[LayerEntry, ...]]:
    """Group neighbouring layers without any field and of one state, when there are enough of them."""
    groups: list[list[LayerEntry]] = []
    for entry in layers:
        is_alike = groups and _is_alike(groups[-1][0], entry)
        if is_alike:
            groups[-1].append(entry)
        else:
            groups.append([entry])
    folded: list[tuple[LayerEntry, ...]] = []
    for group in groups:
        folded.extend([tuple(group)] if len(group) >= FOLD_FROM else [(entry,) for entry in group])
    return folded


def _is_alike(one: LayerEntry, other: LayerEntry) -> bool:
    """Return whether two layers without any field look the same in the drawing."""
    if one.fields or other.fields or one.state != other.state:
        return False
    levels = [None if entry.confluency_percent is None else round(entry.confluency_percent) for entry in (one, other)]
    return levels[0] == levels[1]


def _rung(group: tuple[LayerEntry, ...], y: float) -> Rung:
    entry = group[0]
    label = f"layers {number_ranges(e.layer for e in group)}" if len(group) > 1 else f"layer {entry.layer}"
    height = FOLDED_ROW_PX if len(group) > 1 else ROW_PX
    if entry.confluency_percent is None:
        return Rung(y, height, label, entry.state, _text_without_value(entry))
    interval = None if entry.interval is None else (_to_px(entry.interval.low), _to_px(entry.interval.high))
    return Rung(
        y=y,
        height=height,
        label=label,
        is_seen=entry.state in MEASURED,
        state=entry.state,
        text=_text_with_value(entry),
        bar_px=_to_px(entry.confluency_percent),
        interval=interval,
        dots=tuple(_dot(f, i, y) for i, f in enumerate(entry.scored)),
    )


def _text_without_value(entry: LayerEntry) -> str:
    return f"{STATE_WORDS[entry.state]}{_trouble(entry)}"


def _text_with_value(entry: LayerEntry) -> str:
    if entry.state == "inferred":
        each = "" if entry.interval is None else f", each {entry.interval.low:.0f} – {entry.interval.high:.0f} %"
        return f"{percent(entry.confluency_percent)} · inferred, not seen{each}{_trouble(entry)}"
    around = "" if entry.interval is None else f" ({entry.interval.low:.0f} – {entry.interval.high:.0f})"
    fields = count(len(entry.scored), "field")
    degraded = ", degraded" if entry.state == "measured-degraded" else ""
    return f"{percent(entry.confluency_percent)}{around} · {fields}{degraded}{_trouble(entry)}"


def _trouble(entry: LayerEntry) -> str:
    parts = [f"{n} {word}" for n, word in ((entry.n_failed, "failed"), (entry.n_rejected, "not judgeable")) if n]
    return f" · {', '.join(parts)}" if parts else ""


def _dot(entry: FieldEntry, index: int, y: float) -> Dot:
    """Return the mark of one field; neighbours in value stand on different heights so that they stay apart."""
    step = ROW_PX / (DOT_ROWS + 1)
    return Dot(
        x=_to_px(entry.confluency_percent or 0.0),
        y=y + step * (1 + index % DOT_ROWS),
        title=f"{entry.name}: {percent(entry.confluency_percent)}",
    )


def _to_px(value: float) -> float:
    return min(max(value, 0.0), 100.0) / 100 * BAR_PX
