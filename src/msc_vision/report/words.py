"""Numbers as sentences that an operator can read aloud."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from msc_vision.report.content import FieldEntry, LayerEntry, Range, RunContent, VesselEntry
from msc_vision.statistics.settings import DOUBTS

STATE_WORDS = {
    "measured": "measured",
    "measured-degraded": "measured, degraded",
    "inferred": "inferred, not seen",
    "unobservable": "out of the microscope's reach",
    "missing": "no usable image",
}


def percent(value: float | None) -> str:
    """Return a confluency with its unit; a dash when there is none."""
    return "–" if value is None else f"{value:.1f} %"


def count(n: int, noun: str) -> str:
    """Return ``1 field``, ``2 fields``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def rounded(value: float) -> str:
    """Return a figure with three digits that count, thousands apart: ``10,100``, ``12.3``."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"


def number_ranges(numbers: Iterable[int]) -> str:
    """Return ``1-3, 5`` for 1, 2, 3, 5."""
    ranges: list[list[int]] = []
    for n in sorted(set(numbers)):
        if ranges and n == ranges[-1][1] + 1:
            ranges[-1][1] = n
        else:
            ranges.append([n, n])
    return ", ".join(f"{low}" if low == high else f"{low}-{high}" for low, high in ranges)


def named_layers(layers: Sequence[LayerEntry]) -> str:
    """Return ``layer 2`` or ``layers 4-12``."""
    return f"layer{'s' if len(layers) > 1 else ''} {number_ranges(entry.layer for entry in layers)}"


def vessel_sentence(vessel: VesselEntry) -> str:
    """Return what was found about one vessel, with every layer that has no measurement named."""
    measured = vessel.measured
    if not measured:
        text = (
            f"No layer of {vessel.n_layers} could be measured." if vessel.n_layers > 1 else "Nothing could be measured."
        )
    elif vessel.n_layers == 1:
        fields = count(len(measured[0].scored), "field")
        text = f"{percent(vessel.confluency_percent)} confluent{_between(vessel.interval)}, from {fields}."
    elif vessel.confluency_percent is None:
        text = (
            f"Undetermined as a whole: {percent(vessel.measured_confluency_percent)} confluent over"
            f" {named_layers(measured)} ({len(measured)} of {vessel.n_layers} measured,"
            f" {count(_n_scored(measured), 'field')})."
        )
    else:
        text = (
            f"{percent(vessel.confluency_percent)} confluent{_between(vessel.interval)}: {named_layers(measured)} "
            f"measured ({count(_n_scored(measured), 'field')}){_inferred(vessel)}."
        )
    sentences = [text, *_unmeasured_sentences(vessel), *_window_sentences(vessel), *_earlier_sentences(vessel)]
    if measured and vessel.interval is None and vessel.n_layers == 1 and vessel.layers[0].interval_note:
        sentences.insert(1, f"No interval: {vessel.layers[0].interval_note}.")
    return " ".join(sentences)


def _between(interval: Range | None) -> str:
    return "" if interval is None else f" (95 %: {interval.low:.0f} – {interval.high:.0f} %)"


def _inferred(vessel: VesselEntry) -> str:
    return f", {named_layers(vessel.inferred)} inferred from {_basis(vessel)}" if vessel.inferred else ""


def _basis(vessel: VesselEntry) -> str:
    """Return what unseen layers are inferred from, as the note of the vessel's interval says it."""
    basis = vessel.interval_note.removeprefix("95 %: ").split(", and a method error")[0]
    return f"the {basis}" if basis else "them"


def _window_sentences(vessel: VesselEntry) -> list[str]:
    """Return which share of the area lies within the window, for vessels of several layers."""
    share, around, window = vessel.area_in_window_percent, vessel.area_in_window, vessel.window
    if share is None or around is None or window is None or vessel.n_layers == 1:
        return []
    return [
        f"{share:.0f} % of the area ({around.low:.0f} – {around.high:.0f} %) is on layers within"
        f" {window.low:g} – {window.high:g} %."
    ]


def _earlier_sentences(vessel: VesselEntry) -> list[str]:
    """Return what was left out because the vessel was imaged again later."""
    n_earlier = sum(len(entry.earlier) for entry in vessel.layers)
    verb = "is" if n_earlier == 1 else "are"
    return [f"{count(n_earlier, 'field')} of earlier time points {verb} left out."] if n_earlier else []


def _n_scored(layers: Sequence[LayerEntry]) -> int:
    return sum(len(entry.scored) for entry in layers)


def _unmeasured_sentences(vessel: VesselEntry) -> list[str]:
    """Return a sentence for each kind of layer without a measurement; single-layer vessels need none."""
    if vessel.n_layers == 1:
        return []
    sentences = []
    for state, words in STATE_WORDS.items():
        layers = [entry for entry in vessel.layers if entry.state == state and entry.confluency_percent is None]
        if layers:
            verb = "have" if len(layers) > 1 else "has"
            tail = f"{verb} no usable image" if state == "missing" else f"{'are' if len(layers) > 1 else 'is'} {words}"
            sentences.append(f"{named_layers(layers).capitalize()} {tail}.")
    if sentences and vessel.measured:
        note = vessel.interval_note.removeprefix("undetermined: ")
        sentences.append(f"Nothing is said about them: {note}." if note else "Nothing is said about them.")
    return sentences


def trouble_sentence(content: RunContent) -> str:
    """Return how many fields have a result and how many do not."""
    n_failed = sum(f.status == "failed" for f in content.troubled)
    n_rejected = len(content.troubled) - n_failed
    n = len(content.fields)
    if not content.troubled:
        return f"All {count(n, 'field')} scored." if n != 1 else "The one field was scored."
    parts = []
    if n_failed:
        parts.append(f"{count(n_failed, 'field')} failed")
    if n_rejected:
        parts.append(f"{count(n_rejected, 'field')} could not be judged")
    return f"{n - len(content.troubled)} of {count(n, 'field')} scored; {' and '.join(parts)}: not counted as empty."


def doubts(content: RunContent) -> tuple[tuple[FieldEntry, str], ...]:
    """Return the scored fields whose number a person should look at, and why, the most serious first."""
    found = [(f, flag) for flag in DOUBTS for f in content.fields if f.status == "scored" and flag in f.flags]
    return tuple((field, DOUBTS[flag]) for field, flag in found)


def shown_reason(field: FieldEntry) -> str:
    """Return why a field has no result, without the path that stands before it anyway."""
    reason = field.reason or "no reason was recorded"
    return reason if field.image is None else reason.removeprefix(f"{field.image}: ")


def plain_time(stamp: str | None) -> str | None:
    """Return an ISO 8601 time as people read it, with its zone: ``2026-11-22 02:12 UTC``."""
    if stamp is None:
        return None
    moment = datetime.fromisoformat(stamp)
    zone = "UTC" if moment.utcoffset() == timedelta(0) else f"UTC{moment:%z}"
    return f"{moment:%Y-%m-%d %H:%M} {zone}"
