"""Drift, aggregates, visual signs of contamination and density of each layer as text for a table."""

from collections.abc import Iterable
from dataclasses import dataclass

from msc_vision.report.content import FieldEntry, LayerEntry, RunContent, VesselEntry
from msc_vision.report.words import count, rounded
from msc_vision.statistics.character import Character

NOT_MEASURED = "not measured"
LEAST_CHANCE = 0.001
"""Chances below this are not told apart: they come from a fitted curve."""


@dataclass(frozen=True, slots=True)
class Said:
    """One cell of the table: what holds, what stands behind it, and whether a person should look."""

    text: str
    detail: str | None = None
    is_alarm: bool = False


@dataclass(frozen=True, slots=True)
class CharacterRow:
    """What is said of one layer, or of the whole vessel."""

    where: str
    drift: Said
    aggregates: Said
    signs: Said
    density: Said
    is_compared: bool = False


def character_rows(vessel: VesselEntry) -> tuple[CharacterRow, ...]:
    """Return a row per layer that has a scored field, top layer first, after one of the vessel where it has several."""
    seen = [entry for entry in vessel.layers[::-1] if entry.scored]
    rows = [_row(f"layer {entry.layer}", entry.character, [entry]) for entry in seen]
    if len(seen) > 1:
        rows.insert(0, _row("measured layers", vessel.character, seen))
    return tuple(rows)


def character_sentence(vessel: VesselEntry) -> str | None:
    """Return in one line what is said of a vessel beyond confluency, None where nothing was measured."""
    if vessel.character is None or all(field.contamination is None for e in vessel.layers for field in e.scored):
        return None
    row = _row(vessel.vessel_id, vessel.character, vessel.layers)
    named = (("drift", row.drift), ("aggregates", row.aggregates), ("visual signs of contamination", row.signs))
    parts = [f"{name}: {said.text}" + (f" ({said.detail.rstrip('.')})" if said.detail else "") for name, said in named]
    return "; ".join((*parts, f"density: {row.density.text}")) + "."


def _row(where: str, found: Character | None, layers: Iterable[LayerEntry]) -> CharacterRow:
    if found is None:
        nothing = Said(NOT_MEASURED)
        return CharacterRow(where, nothing, nothing, nothing, nothing)
    was_looked = any(one.contamination is not None for entry in layers for one in entry.scored)
    return CharacterRow(
        where,
        drift_said(found),
        aggregates_said(found),
        signs_said(found, was_looked=was_looked),
        density_said(found),
        is_compared=found.drift_state == "compared",
    )


def drift_said(found: Character) -> Said:
    """Return the drift: its score with interval and chance and what changed, or why there is none."""
    if found.drift_score is None:
        is_plain = found.drift_state == "no baseline"
        return Said(found.drift_state, None if is_plain else found.drift_reason)
    score = f"{found.drift_score:.2g}"
    if found.drift_interval is not None:
        score += f" ({found.drift_interval[0]:.2g} – {found.drift_interval[1]:.2g})"
    told = "; ".join(found.drift_words)
    if found.drift_alarm and not told:
        told = "many small changes, none of which stands out by itself"
    state = "drifted" if found.drift_alarm else "no drift shown"
    parts = (told[:1].upper() + told[1:], _chance(found.drift_probability))
    return Said(f"{state}, score {score}", " ".join(f"{part}." for part in parts if part), bool(found.drift_alarm))


def _chance(probability: float | None) -> str:
    if probability is None:
        return ""
    if probability < LEAST_CHANCE:
        return f"Chance of this without drift below {LEAST_CHANCE:g}"
    return f"Chance of this without drift {probability:.2g}"


def aggregates_said(found: Character) -> Said:
    """Return how many aggregates there are and what share of the judged area they cover."""
    if found.aggregate_area_percent is None:
        return Said(NOT_MEASURED)
    if not found.aggregates_per_cm2 and not found.aggregate_area_percent:
        upper = found.aggregates_interval
        most = "" if upper is None else f"; at most {rounded(upper[1])} per cm² (95 %)"
        return Said("none found", f"in {count(found.n_fields, 'field')}{most}")
    share = f"{found.aggregate_area_percent:.2g} % of the judged area"
    if found.aggregates_per_cm2 is None:
        return Said(share, "not per cm²: no pixel size is known")
    return Said(f"{rounded(found.aggregates_per_cm2)} per cm²{_between(found.aggregates_interval)}", share)


def _between(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" ({rounded(interval[0])} – {rounded(interval[1])})"


def signs_said(found: Character, *, was_looked: bool) -> Said:
    """Return whether there are visual signs of contamination, and in how many fields."""
    if not was_looked:
        return Said(NOT_MEASURED)
    if found.contamination == "suspect":
        hazy = f"; {found.n_fields_suddenly_hazy} turned hazy since they were last pictured"
        told = f"{found.n_fields_suspect} of {count(found.n_fields, 'field')}"
        return Said("suspect", told + (hazy if found.n_fields_suddenly_hazy else ""), is_alarm=True)
    assessed = f"{found.n_fields_assessed} of {count(found.n_fields, 'field')} assessed"
    return Said(found.contamination, assessed)


def density_said(found: Character) -> Said:
    """Return cells per cm², how they were got, and how many there are to a covered area against the baseline."""
    ageing = found.spread_words or ""
    if found.density_per_cm2 is None:
        parts = (found.density_reason, ageing)
        return Said(found.density_state, ". ".join(part for part in parts if part) or None, bool(found.spread_alarm))
    is_counted = found.density_state == "counted"
    detail = "counted" if is_counted else "calibrated: read off the confluency"
    around = _between(found.density_interval) if is_counted else ""
    told = f"{detail}. {ageing}" if ageing else detail
    return Said(f"{rounded(found.density_per_cm2)} per cm²{around}", told, bool(found.spread_alarm))


def suspects(content: RunContent) -> tuple[FieldEntry, ...]:
    """Return the fields that show a visual sign of contamination, in the order of the vessels and layers."""
    return tuple(field for field in content.fields if field.contamination == "suspect")


def unassessed(content: RunContent) -> tuple[tuple[str, int], ...]:
    """Return why fields could not be assessed for signs of contamination, and how many for each reason."""
    reasons: dict[str, int] = {}
    for field in content.fields:
        if field.contamination == "not assessable":
            reason = field.contamination_note or "no reason was recorded"
            reasons[reason] = reasons.get(reason, 0) + 1
    return tuple(sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0])))
