"""May a decision record in a run folder be signed? The service asks the same of the records in its store."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msc_vision.batch.decisions import read_decision, saved_decisions
from msc_vision.decision.record import MEANINGS
from msc_vision.errors import InvalidArgumentError
from msc_vision.review.events import Deed, Target


def signature_of(run: Path, decision_id: str, record_sha256: str, meaning: str) -> Deed:
    """Return the signing of a record as an event keeps it.

    Parameters
    ----------
    run : Path
    decision_id, record_sha256 : str
        Of the record that the person read.
    meaning : str
        One of `MEANINGS`.

    Raises
    ------
    InvalidArgumentError
        If there is no such record, it is not the one that was read, it was superseded, or made with a draft rule set.
    InvalidDataError
        If a record in the folder was altered.
    """
    if meaning not in MEANINGS:
        raise InvalidArgumentError(f"A signature means one of {', '.join(MEANINGS)}; got {meaning[:80]!r}.")
    records = [read_decision(path) for path in saved_decisions(run)]
    record = next((one for one in records if one["decision_id"] == decision_id), None)
    if record is None:
        raise InvalidArgumentError(f"{run} holds no decision {decision_id}.")
    if record["record_sha256"] != record_sha256:
        raise InvalidArgumentError("The record is not the one that was shown: its sha256 differs. Read it, then sign.")
    later = next((one["decision_id"] for one in records if one["supersedes"] == decision_id), None)
    if later is not None:
        raise InvalidArgumentError(f"The decision was superseded by {later}; sign that one.")
    if (status := _status(record)) != "approved":
        raise InvalidArgumentError(
            f"The decision was made with a {status} rule set; only decisions by approved ones are signed."
        )
    said = {name: record[name] for name in ("decision_id", "record_sha256", "verdict")}
    return Deed("signed", Target(record["context"]["vessel_id"]), after={**said, "meaning": meaning})


def _status(record: Mapping[str, Any]) -> str:
    return str(record["quality"]["rule_set_status"])
