"""Replay a decision record from its inputs: the same evidence, rules and moment have to give the same record."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from msc_vision.batch.decisions import decide, prior_path
from msc_vision.batch.outlooks import HISTORY, PRIOR, prior_sha256
from msc_vision.batch.store import FIELDS_NAME, file_sha256
from msc_vision.decision.judgement import Request, Review, Settlement
from msc_vision.decision.record import check_record, record_sha256
from msc_vision.decision.rules import RuleSet
from msc_vision.errors import InvalidDataError, MscVisionError
from msc_vision.review.log import REVIEWS_NAME
from msc_vision.vessels import Catalogue

Record = Mapping[str, Any]
_EVENT = re.compile(rf"({HISTORY}/[0-9a-f]+/)?{REVIEWS_NAME}/[^/]+\.json")
_SHOWN = ("outcome", "observed", "interval", "limit", "probability", "message")
_PARTS = ("context", "metrics", "coverage", "quality", "review", "supersedes")


@dataclass(frozen=True, slots=True)
class Replay:
    """Whether a record still holds.

    Attributes
    ----------
    holds : bool
        The same comes out, to the last digit.
    differences : tuple of str
        What does not; sentences. Empty if it holds.
    notes : tuple of str
        What differs without changing the outcome; sentences.
    """

    holds: bool
    differences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def replay_record(
    record: Record,
    run: Path,
    rules: RuleSet,
    *,
    history: Sequence[Path] | None = None,
    prior: Path | None = None,
    catalogue: Catalogue | None = None,
) -> Replay:
    """Judge the vessel of a record again, at the record's own moment, with the reviews that it names.

    What was reviewed since does not count, and changes nothing.

    Earlier runs that it rests on are looked for in ``history``, the prior in ``prior`` and in the run folder, both by
    their hashes.

    Parameters
    ----------
    record : mapping
        As `decision_record` returns it.
    run : Path
        Run folder that it was made from.
    rules : RuleSet
        That it was judged by.
    history : sequence of Path, optional
        None: the folders beside the run folder.
    prior : Path, optional
    catalogue : Catalogue, optional
    """
    if complaints := check_record(record):
        return Replay(False, tuple(one.message for one in complaints))
    found = [*_other_rules(record, rules)]
    try:
        past = _history(record, run, history)
        growth = _prior(record, run, prior)
        again = decide(
            run,
            rules,
            request_of(record),
            record["context"]["vessel_id"],
            history=past,
            prior=growth,
            catalogue=catalogue,
            reviews=reviews_of(record),
        )
    except MscVisionError as err:
        return Replay(False, (*found, str(err)))
    again, notes = _with_version_of(record, again)
    if again["record_sha256"] == record["record_sha256"]:
        return Replay(not found, tuple(found), notes)
    return Replay(False, (*found, *(_differences(record, again) or ("The record differs.",))), notes)


def request_of(record: Record) -> Request:
    """Return the request that led to a record."""
    context, quality = record["context"], record["quality"]
    expected = quality["expected"]
    return Request(
        as_of=datetime.fromisoformat(record["created_at"]),
        purpose=quality["purpose"],
        vessel_type=expected["vessel_type"],
        batch=expected["batch"],
        passage=expected["passage"],
        supervisory_job_id=context["supervisory_job_id"],
        supervisory_task_id=context["supervisory_task_id"],
        supersedes=record["supersedes"],
        review=review_of(record["review"]),
    )


def review_of(content: Mapping[str, Any] | None) -> Review | None:
    """Return the review in a record."""
    if content is None:
        return None
    settles = tuple(Settlement(one["criterion"], one["layer"], one["outcome"]) for one in content["settles"])
    return Review(**{**content, "settles": settles})


def reviews_of(record: Record) -> frozenset[str]:
    """Return the names of the review events that a record rests on, those of earlier runs among them."""
    names = (str(one["path"]) for one in record["provenance"]["inputs"])
    return frozenset(name for name in names if _EVENT.fullmatch(name))


# --- inputs ----------------------------------------------------------------------------------------------------------


def _history(record: Record, run: Path, given: Sequence[Path] | None) -> tuple[Path, ...]:
    """Return the earlier runs that a record rests on, found by the hash of their fields."""
    wanted = {
        one["sha256"]: one["path"]
        for one in record["provenance"]["inputs"]
        if one["path"].startswith(f"{HISTORY}/") and one["path"].endswith(FIELDS_NAME)
    }
    if not wanted:
        return ()
    found: dict[str, Path] = {}
    for folder in _beside(run) if given is None else given:
        sha256 = _sha256_if_there(folder / FIELDS_NAME)
        if sha256 is not None and sha256 in wanted:
            found.setdefault(sha256, folder)
    missing = sorted(path for sha256, path in wanted.items() if sha256 not in found)
    if missing:
        where = f"beside {run.name}" if given is None else "that was named"
        raise InvalidDataError(f"Input {missing[0]} is missing: no run folder {where} has it; name it with --history.")
    return tuple(found.values())


def _beside(run: Path) -> tuple[Path, ...]:
    place = run.absolute()
    try:
        return tuple(one for one in sorted(place.parent.iterdir()) if one.is_dir() and one != place)
    except OSError:
        return ()  # then the input is said to be missing


def _prior(record: Record, run: Path, given: Path | None) -> Path | None:
    wanted = next((one["sha256"] for one in record["provenance"]["inputs"] if one["path"] == PRIOR), None)
    if wanted is None:
        return None
    for path in (given, prior_path(run, wanted)):
        if path is not None and path.is_file() and prior_sha256(path) == wanted:
            return path
    raise InvalidDataError(f"Input {PRIOR} is missing: no file with its hash is kept in {run.name}; name it.")


def _sha256_if_there(path: Path) -> str | None:
    try:
        return file_sha256(path) if path.is_file() else None
    except OSError:
        return None  # then the input is said to be missing


# --- differences -----------------------------------------------------------------------------------------------------


def _other_rules(record: Record, rules: RuleSet) -> Iterator[str]:
    stated = record["provenance"]["rule_set"]
    if stated["sha256"] != rules.sha256:
        yield (
            f"It was judged by rule set {stated['id']} {stated['version']} ({stated['sha256'][:12]}), not by"
            f" {rules.id} {rules.version} ({rules.sha256[:12]})."
        )


def _with_version_of(record: Record, again: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a replayed record with the version of the original: a new version that decides alike changes nothing."""
    before, now = record["provenance"]["software"]["version"], again["provenance"]["software"]["version"]
    if before == now:
        return again, ()
    software = again["provenance"]["software"] | {"version": before}
    again = again | {"provenance": again["provenance"] | {"software": software}}
    again["record_sha256"] = record_sha256(again)
    return again, (f"It was made with version {before} and replayed with {now}.",)


def _differences(before: Record, after: Record) -> tuple[str, ...]:
    return (
        *_inputs(before["provenance"], after["provenance"]),
        *_settings(before["provenance"], after["provenance"]),
        *_criteria(before["criteria"], after["criteria"]),
        *_words("The verdict", before["verdict"], after["verdict"]),
        *_words("The recommended action", before["recommended_action"], after["recommended_action"]),
        *(line for part in _PARTS for line in _part(part, before[part], after[part])),
    )


def _inputs(before: Record, after: Record) -> Iterator[str]:
    was = {one["path"]: one["sha256"] for one in before["inputs"]}
    now = {one["path"]: one["sha256"] for one in after["inputs"]}
    for path in sorted(was.keys() | now.keys()):
        if path not in now:
            yield f"Input {path} is missing."
        elif path not in was:
            yield f"Input {path} was not there."
        elif was[path] != now[path]:
            yield f"Input {path} has another sha256: {now[path][:12]}, it was {was[path][:12]}."


def _settings(before: Record, after: Record) -> Iterator[str]:
    for name, label in (("settings_sha256", "The settings"), ("model", "The network"), ("software", "The software")):
        if before[name] != after[name]:
            yield f"{label} differ from what the record states: {_told(after[name])}, it was {_told(before[name])}."


def _criteria(before: Sequence[Record], after: Sequence[Record]) -> Iterator[str]:
    was = {(one["id"], one["layer"]): one for one in before}
    now = {(one["id"], one["layer"]): one for one in after}
    for key in dict.fromkeys((*was, *now)):
        name = key[0] if key[1] is None else f"{key[0]} on layer {key[1]}"
        if key not in now or key not in was:
            yield f"Criterion {name} {'is gone' if key not in now else 'is new'}."
        elif was[key] != now[key]:
            changed = [one for one in _SHOWN if was[key][one] != now[key][one]]
            told = "; ".join(f"{one} {_told(now[key][one])}, was {_told(was[key][one])}" for one in changed[:2])
            yield f"Criterion {name} came out differently: {told or 'its source or unit changed'}."


def _words(label: str, before: object, after: object) -> Iterator[str]:
    if before != after:
        yield f"{label} is {_told(after)}, it was {_told(before)}."


def _part(name: str, before: object, after: object) -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        left_out = {"run_id"} if name == "context" else set()
        keys = sorted((before.keys() | after.keys()) - left_out)
        changed = [key for key in keys if before.get(key) != after.get(key)]
        if changed:
            yield f"In {name}, {', '.join(changed)} differ."
    elif before != after:
        yield f"The part {name} differs."


def _told(value: object) -> str:
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= 120 else f"{text[:119]}…"
