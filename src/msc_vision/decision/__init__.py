"""From evidence to a traceable verdict: rule sets, judgement, decision records."""

from msc_vision.decision.evidence import Evidence, Input, LayerSampling, Outlook, Place, Reading
from msc_vision.decision.explain import Explanation, explain
from msc_vision.decision.judgement import Judgement, Request, Result, Review, Settlement, judge
from msc_vision.decision.record import (
    check_record,
    decision_id,
    decision_record,
    parse_record,
    record_schema,
    record_sha256,
    record_text,
)
from msc_vision.decision.rules import Criterion, RuleSet

__all__ = [
    "Criterion",
    "Evidence",
    "Explanation",
    "Input",
    "Judgement",
    "LayerSampling",
    "Outlook",
    "Place",
    "Reading",
    "Request",
    "Result",
    "Review",
    "RuleSet",
    "Settlement",
    "check_record",
    "decision_id",
    "decision_record",
    "explain",
    "judge",
    "parse_record",
    "record_schema",
    "record_sha256",
    "record_text",
]
