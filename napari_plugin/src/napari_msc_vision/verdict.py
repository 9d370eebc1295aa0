"""A decision record as the dock shows it: the verdict, why, what would change it, what was before. No Qt here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msc_vision.decision.explain import explain
from msc_vision.review.events import ReviewEvent
from msc_vision.review.reasons import reason_words
from msc_vision.service.board.criteria import CriterionRow, Doubt, criterion_rows, doubts_of
from msc_vision.service.board.words import QUARANTINE, TRIAL, VERDICTS, Sign, exact, plain_action

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature: who, when, what it means, and how the person was known."""

    name: str
    at: str
    meaning: str
    how: str

    @property
    def words(self) -> str:
        """The signature as one line."""
        return f"{self.name}, {exact(self.at)}: {self.meaning} ({self.how})"


@dataclass(frozen=True, slots=True)
class VerdictView:
    """A record for the eye.

    Attributes
    ----------
    decision_id, record_sha256 : str
    sign : Sign
        Word and shape of the verdict.
    action : str
    headline : str
        When, by which rules, for what.
    summary : str
    said : str
        What a person said that led to it; empty: nobody did.
    change : str
        What differs from the record before; empty: there is none.
    rows : tuple of CriterionRow
        Every criterion, the worst first.
    changes : tuple of str
        What would change the verdict.
    doubts : tuple of Doubt
        What a person may settle.
    is_draft : bool
        Made with a draft rule set, which cannot be signed.
    """

    decision_id: str
    record_sha256: str
    sign: Sign
    action: str
    headline: str
    summary: str
    said: str
    change: str
    rows: tuple[CriterionRow, ...]
    changes: tuple[str, ...]
    doubts: tuple[Doubt, ...]
    is_draft: bool


def verdict_view(record: Record, before: Record | None = None) -> VerdictView:
    """Return a record for the eye; ``before`` is the one that it is compared with."""
    found = explain(record)
    quality, rules = record["quality"], record["provenance"]["rule_set"]
    purpose = "for production" if quality["purpose"] == "production" else "trial, not for production"
    return VerdictView(
        decision_id=record["decision_id"],
        record_sha256=record["record_sha256"],
        sign=sign_of(record),
        action=plain_action(record["recommended_action"]),
        headline=f"{exact(record['created_at'])} · {rules['id']} {rules['version']} · {purpose}",
        summary=found.summary,
        said=_said(record["review"]),
        change="" if before is None else change_words(before, record),
        rows=criterion_rows(record),
        changes=found.changes,
        doubts=doubts_of(record),
        is_draft=quality["rule_set_status"] != "approved",
    )


def sign_of(record: Record) -> Sign:
    """Return the word and the shape of a record's verdict."""
    if record["recommended_action"] == "quarantine":
        return QUARANTINE
    if record["verdict"] == "GO" and record["quality"]["purpose"] != "production":
        return TRIAL
    return VERDICTS[record["verdict"]]


_ACTIONS = {"settle": "settled what was in doubt", "hold": "held it for review", "reject": "rejected the vessel"}


def _said(review: Mapping[str, Any] | None) -> str:
    if review is None:
        return ""
    why = ": ".join(filter(None, (reason_words(review["reason_code"]), review["reason"])))
    return f"{review['reviewer']} {_ACTIONS[review['action']]} ({why})."


def change_words(before: Record, now: Record) -> str:
    """Return what differs between two records of a vessel, as one line."""
    first, last = sign_of(before).word, sign_of(now).word
    parts = [f"verdict {first} → {last}" if first != last else f"verdict still {last}"]
    values = [one["metrics"].get("confluency_percent") for one in (before, now)]
    if None not in values and round(values[0], 1) != round(values[1], 1):
        parts.append(f"confluency {values[0]:.1f} → {values[1]:.1f} %")
    outcomes = [{(one["id"], one["layer"]): one["outcome"] for one in each["criteria"]} for each in (before, now)]
    moved = sorted({place[0] for place, was in outcomes[0].items() if outcomes[1].get(place, was) != was})
    if moved:
        parts.append(f"other outcome: {', '.join(moved)}")
    return f"Against the record before: {'; '.join(parts)}."


def superseded_ids(records: Sequence[Record]) -> frozenset[str]:
    """Return the ids of records that a later one replaces."""
    return frozenset(one["supersedes"] for one in records if one["supersedes"] is not None)


def local_signatures(events: Sequence[ReviewEvent], decision_id: str) -> tuple[Signed, ...]:
    """Return the signatures of a record among the events about its vessel, the first one first."""
    found = []
    for one in events:
        after = one.after or {}
        if one.action == "signed" and after.get("decision_id") == decision_id:
            found.append(Signed(one.reviewer.name, one.at, str(after.get("meaning", "")), one.reviewer.identified_by))
    return tuple(found)
