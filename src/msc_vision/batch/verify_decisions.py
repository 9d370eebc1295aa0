"""Check the decision records in a run folder: their form, their hashes, what they supersede, and that they replay."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msc_vision.batch.decisions import (
    DECISIONS_NAME,
    PRIORS_NAME,
    RULES_NAME,
    read_decision,
    read_saved_rules,
    rules_path,
    saved_decisions,
)
from msc_vision.batch.outlooks import prior_sha256
from msc_vision.batch.replay import replay_record
from msc_vision.errors import InvalidArgumentError, InvalidDataError
from msc_vision.records import Complaint
from msc_vision.vessels import Catalogue

_OWN = re.compile(r"[0-9a-f]{32}\.json")


def verify_decisions(run: Path, run_id: str, catalogue: Catalogue | None = None) -> Iterator[Complaint]:
    """Return everything that is wrong with the decision records of a run folder.

    Parameters
    ----------
    run : Path
    run_id : str
        Of its run.json; every record has to name it.
    catalogue : Catalogue, optional
        Vessel types, for the forecasts of records that rest on some.
    """
    records: dict[str, Mapping[str, Any]] = {}
    for path in saved_decisions(run):
        name = f"{DECISIONS_NAME}/{path.name}"
        try:
            record = read_decision(path)
        except InvalidDataError as err:
            yield Complaint("error", str(err).removeprefix(f"{path}: "), path=name)
            continue
        records[record["decision_id"]] = record
        yield from _check_one(run, run_id, path, record, catalogue)
    yield from _check_chain(records)
    yield from _check_beside(run)


def _check_one(
    run: Path, run_id: str, path: Path, record: Mapping[str, Any], catalogue: Catalogue | None
) -> Iterator[Complaint]:
    name = f"{DECISIONS_NAME}/{path.name}"
    if path.stem != record["decision_id"]:
        yield Complaint("error", f"It is named otherwise than its decision_id, {record['decision_id']}.", path=name)
    if record["context"]["run_id"] != run_id:
        yield Complaint("error", "It is the record of another run.", path=name)
    try:
        rules = read_saved_rules(rules_path(run, record["provenance"]["rule_set"]["sha256"]))
    except InvalidDataError as err:
        yield Complaint("error", f"It cannot be replayed: {err}", path=name)
        return
    found = replay_record(record, run, rules, catalogue=catalogue)
    for line in found.differences:
        yield Complaint("error", f"It does not hold: {line}", path=name)
    for line in found.notes:
        yield Complaint("warning", line, path=name)


def _check_chain(records: Mapping[str, Mapping[str, Any]]) -> Iterator[Complaint]:
    """Check that reviews and later records name what they supersede, and that each is superseded once."""
    superseded: dict[str, str] = {}
    for decision, record in records.items():
        name, before = f"{DECISIONS_NAME}/{decision}.json", record["supersedes"]
        if record["review"] is not None and before is None:
            yield Complaint("error", "It holds a review, but does not say which record was reviewed.", path=name)
        if before is None:
            continue
        if before not in records:
            yield Complaint("warning", f"The record that it supersedes, {before}, is not in this folder.", path=name)
        elif records[before]["context"]["vessel_id"] != record["context"]["vessel_id"]:
            yield Complaint("error", f"It supersedes {before}, which is of another vessel.", path=name)
        if before in superseded:
            yield Complaint("error", f"{before} is superseded twice: here and by {superseded[before]}.", path=name)
        superseded[before] = decision


def _check_beside(run: Path) -> Iterator[Complaint]:
    """Check what is kept for replaying, and name what does not belong there."""
    folder = run / DECISIONS_NAME
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.name not in (RULES_NAME, PRIORS_NAME) and not _OWN.fullmatch(path.name):
            yield Complaint("warning", "It is no decision record.", path=f"{DECISIONS_NAME}/{path.name}")
    for path in sorted((folder / RULES_NAME).glob("*.json")):
        try:
            read_saved_rules(path)
        except InvalidDataError as err:
            name = f"{DECISIONS_NAME}/{RULES_NAME}/{path.name}"
            yield Complaint("error", str(err).removeprefix(f"{path}: "), path=name)
    for path in sorted((folder / PRIORS_NAME).glob("*.yaml")):
        if _sha256_or_none(path) != path.stem:
            name = f"{DECISIONS_NAME}/{PRIORS_NAME}/{path.name}"
            yield Complaint("error", "It was altered: it does not have the hash that it is named by.", path=name)


def _sha256_or_none(path: Path) -> str | None:
    try:
        return prior_sha256(path)
    except InvalidArgumentError:
        return None
