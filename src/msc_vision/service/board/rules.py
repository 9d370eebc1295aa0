"""Rule sets as people read them: limits with units and sources, placeholders marked."""

from dataclasses import dataclass

from msc_vision.decision.metrics import METRICS
from msc_vision.decision.rules import Criterion, RuleSet

_LEVELS = {"vessel": "the vessel", "layer": "every layer", "batch": "the batch"}
_ORIGINS = {"shipped": "ships with msc-vision", "folder": "folder of the site", "store": "added to this service"}


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A criterion in words."""

    id: str
    asks: str
    meaning: str
    limit: str
    probability: str
    coverage: str
    severity: str
    source: str
    is_placeholder: bool
    message: str


@dataclass(frozen=True, slots=True)
class RuleSetView:
    """A rule set in words."""

    id: str
    version: str
    name: str
    status: str
    origin: str
    title: str
    description: str
    sha256: str
    approval: str
    extends: str
    overrides: tuple[tuple[str, str, str], ...]
    models: tuple[str, ...]
    rows: tuple[RuleRow, ...]
    n_placeholders: int


def rule_set_view(rules: RuleSet, origin: str) -> RuleSetView:
    """Return a rule set in words."""
    approval = rules.approval
    rows = tuple(_row(one) for one in rules.criteria)
    return RuleSetView(
        id=rules.id,
        version=rules.version,
        name=f"{rules.id}@{rules.version}",
        status=rules.status,
        origin=_ORIGINS.get(origin, origin),
        title=rules.title,
        description=rules.description,
        sha256=rules.sha256,
        approval="" if approval is None else f"by {approval.by} on {approval.on} ({approval.document})",
        extends=rules.extends or "",
        overrides=tuple(
            (
                one.criterion,
                ", ".join(f"{name}: {change}" for name, change in one.changed.items()) or "removed",
                one.reason,
            )
            for one in rules.overrides
        ),
        models=tuple(one.id if one.sha256 is None else f"{one.id} ({one.sha256[:12]}…)" for one in rules.models),
        rows=rows,
        n_placeholders=sum(row.is_placeholder for row in rows),
    )


def _row(one: Criterion) -> RuleRow:
    asked = METRICS[one.metric]
    return RuleRow(
        id=one.id,
        asks=f"{asked.label} of {_LEVELS[one.level]}",
        meaning=asked.meaning,
        limit=_limit(one),
        probability=f"{one.probability:g}" if asked.kind == "estimate" else "as it is",
        coverage=_coverage(one),
        severity=one.severity,
        source=str(one.source),
        is_placeholder=one.source.placeholder,
        message=one.message,
    )


def _limit(one: Criterion) -> str:
    if one.allowed:
        return ", ".join(one.allowed)
    if one.low is not None and one.high is not None:
        return f"{one.low:g} to {one.high:g} {one.unit}"
    return f"at least {one.low:g} {one.unit}" if one.low is not None else f"at most {one.high:g} {one.unit}"


def _coverage(one: Criterion) -> str:
    parts = []
    if one.coverage.measured_percent > 0:
        parts.append(f"{one.coverage.measured_percent:g} % of the area measured")
    if one.coverage.fields > 0:
        parts.append(f"{one.coverage.fields} fields{' on the layer' if one.level == 'layer' else ''}")
    return ", ".join(parts)
