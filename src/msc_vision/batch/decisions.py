"""Decide about a vessel of a run folder, and keep the record in it with all that it takes to replay it."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from msc_vision.batch.evidence import read_evidence
from msc_vision.batch.outlooks import prior_sha256
from msc_vision.decision.actions import windows_of
from msc_vision.decision.judgement import Request
from msc_vision.decision.record import ID_DIGITS, decision_record, parse_record, record_text
from msc_vision.decision.rules import RuleSet
from msc_vision.errors import InvalidArgumentError, InvalidDataError, OutputError
from msc_vision.io.output import output_errors, write_whole
from msc_vision.vessels import Catalogue

DECISIONS_NAME = "decisions"
RULES_NAME, PRIORS_NAME = "rules", "priors"
_ID = re.compile(rf"[0-9a-f]{{{ID_DIGITS}}}")


def decide(
    run: Path,
    rules: RuleSet,
    request: Request,
    vessel_id: str | None = None,
    *,
    history: Sequence[Path] = (),
    prior: Path | None = None,
    catalogue: Catalogue | None = None,
    reviews: Collection[str] | None = None,
) -> dict[str, Any]:
    """Return the decision record of one vessel as it stands after its review.

    Forecasts are made for the windows that the rule set asks of.

    Parameters
    ----------
    run : Path
    rules : RuleSet
    request : Request
    vessel_id : str, optional
        May be left out if the run has one vessel.
    history : sequence of Path
        Earlier runs that show the vessel.
    prior : Path, optional
        How its bank grows.
    catalogue : Catalogue, optional
    reviews : collection of str, optional
        Names of the review events that count; None: all that are in the run folder.

    Raises
    ------
    InvalidArgumentError, InvalidDataError
        As `read_evidence` and `decision_record`.
    """
    evidence = read_evidence(
        run,
        vessel_id,
        windows=windows_of(rules),
        history=history,
        prior=prior,
        catalogue=catalogue,
        reviews=reviews,
    )
    return decision_record(evidence, rules, request)


def save_decision(run: Path, record: Mapping[str, Any], rules: RuleSet, prior: Path | None = None) -> Path:
    """Write a record into its run folder, with the rule set and the prior that it was made with; return its path.

    A record that is there already is left as it is: its name follows from its content.

    Raises
    ------
    OutputError
        If it cannot be written, or another content has its name.
    """
    folder = run / DECISIONS_NAME
    _write_once(rules_path(run, rules.sha256), rules.model_dump_json(indent=2).encode() + b"\n")
    if prior is not None:
        _write_once(prior_path(run, prior_sha256(prior)), prior.read_bytes())
    path = folder / f"{record['decision_id']}.json"
    _write_once(path, record_text(record).encode())
    return path


def check_superseded(run: Path, decision_id: str, vessel_id: str) -> str | None:
    """Return what to tell of a record that is to be superseded; None: it is in this folder, and all is well.

    Raises
    ------
    InvalidArgumentError
        If that is no id, or the record is of another vessel, or superseded already.
    InvalidDataError
        If a record in the folder cannot be read.
    """
    if not _ID.fullmatch(decision_id):
        raise InvalidArgumentError(f"{decision_id!r} is no decision_id: 32 digits 0-9 and a-f.")
    records = {one["decision_id"]: one for path in saved_decisions(run) for one in [read_decision(path)]}
    for later, one in records.items():
        if one["supersedes"] == decision_id:
            raise InvalidArgumentError(f"{decision_id} is superseded already, by {later}: supersede that one.")
    if decision_id not in records:
        return f"{decision_id} is not among the records of {run}, so it was not looked at."
    other = records[decision_id]["context"]["vessel_id"]
    if other != vessel_id:
        raise InvalidArgumentError(f"{decision_id} is the record of vessel {other}, not of {vessel_id}.")
    return None


def rules_path(run: Path, sha256: str) -> Path:
    """Return where a run folder keeps a rule set, complete, for replaying."""
    return run / DECISIONS_NAME / RULES_NAME / f"{sha256}.json"


def prior_path(run: Path, sha256: str) -> Path:
    """Return where a run folder keeps what was known of a bank's growth."""
    return run / DECISIONS_NAME / PRIORS_NAME / f"{sha256}.yaml"


def saved_decisions(run: Path) -> Iterator[Path]:
    """Return the files of the records in a run folder, ordered by name."""
    folder = run / DECISIONS_NAME
    return iter(sorted(folder.glob("*.json")) if folder.is_dir() else ())


def read_decision(path: Path) -> dict[str, Any]:
    """Return the record in a file.

    Raises
    ------
    InvalidDataError
        If it cannot be read, is no decision record, or was altered.
    """
    try:
        content = path.read_bytes()
    except OSError as err:
        raise InvalidDataError(f"{path}: cannot be read ({err.strerror or err}).") from err
    try:
        return parse_record(content)
    except InvalidDataError as err:
        raise InvalidDataError(f"{path}: {err}") from err


def read_saved_rules(path: Path) -> RuleSet:
    """Return a rule set as `save_decision` keeps it.

    Raises
    ------
    InvalidDataError
        If it is missing, is no rule set, or does not have the hash that it is named by.
    """
    try:
        rules = RuleSet.model_validate_json(path.read_bytes())
    except FileNotFoundError as err:
        raise InvalidDataError(f"{path}: the rule set is missing.") from err
    except (OSError, ValidationError) as err:
        raise InvalidDataError(f"{path}: cannot be read as a rule set ({' '.join(str(err).split())[:200]}).") from err
    if rules.sha256 != path.stem:
        raise InvalidDataError(f"{path}: the rule set was altered: it does not have the hash that it is named by.")
    return rules


def _write_once(path: Path, content: bytes) -> None:
    """Write a file that is named by its content; what is there already has to be the same."""
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            if path.read_bytes() != content:
                raise OutputError(f"{path} is there already with another content; check with `msc-vision verify`.")
            return
    write_whole(path, content)
