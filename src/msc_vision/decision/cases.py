"""Cases that say in a biologist's words what a rule set has to answer, and run as its tests."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from msc_vision.decision.actions import read_action, recommend
from msc_vision.decision.described import evidence_of
from msc_vision.decision.judgement import Judgement, Outcome, Purpose, Request, Review, Settlement, Verdict, judge
from msc_vision.decision.library import load_rules
from msc_vision.decision.rule_file import RuleFileError, problem_lines, read_yaml
from msc_vision.decision.rules import Part, RuleSet
from msc_vision.errors import InvalidArgumentError
from msc_vision.resources import resource_path
from msc_vision.vessels import load_catalogue

AS_OF = datetime(2026, 11, 22, 8, tzinfo=UTC)
"""When the decision of a case is asked for, unless it says otherwise."""
_WORST_FIRST: tuple[Outcome, ...] = ("not met", "undetermined", "met")


class Ask(Part):
    """How the decision is asked for."""

    purpose: Purpose = Field("production", description="production or trial; a draft gives GO in a trial only")
    at: datetime = Field(AS_OF, description="moment of the decision, with its zone")
    type: str | None = Field(None, description="vessel type that the caller believes in")
    batch: str | None = Field(None, description="batch that the caller believes in")
    passage: int | None = Field(None, description="passage that the caller believes in")
    settled: dict[str, Literal["met", "not met"]] = Field({}, description="answers of a reviewer, by criterion")
    review: Literal["hold", "reject"] | None = Field(None, description="what else a reviewer said")


class Expect(Part):
    """What has to come of it."""

    verdict: Verdict
    criteria: dict[str, Outcome] = Field(
        {}, description="outcome by criterion: the worst of its layers, or of one (layer-overgrown on layer 3)"
    )
    action: str | None = Field(None, description="recommended action: its kind (wait, image, …) or its whole text")


class Case(Part):
    """One vessel and what the rule set has to say of it."""

    name: str = Field(min_length=10, description="a sentence, such as `95 % on layer 3 is NO_GO`")
    vessel: dict[str, Any] = Field({}, description="what differs from the usual vessel; see docs/rules.md")
    ask: Ask | None = Field(None, description="how it is asked for, if otherwise than usually")
    expect: Expect


class CaseFile(Part):
    """Cases of one rule set."""

    rules: str = Field(description="id of a rule set, or a YAML file relative to this one")
    usual: dict[str, Any] = Field({}, description="the vessel that every case begins with")
    ask: Ask = Field(Ask(), description="how decisions are asked for usually")
    cases: tuple[Case, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What came of a case; no difference: it passed."""

    name: str
    expected: Verdict
    verdict: Verdict
    action: str
    differences: tuple[str, ...]


def read_cases(path: Path) -> CaseFile:
    """Return the cases of a YAML file.

    Raises
    ------
    RuleFileError
        With a line for everything that is wrong.
    """
    content = read_yaml(path)
    try:
        found = CaseFile.model_validate(content)
    except ValidationError as err:
        raise RuleFileError(tuple(problem_lines(err, content, str(path)))) from err
    names = [case.name for case in found.cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RuleFileError(tuple(f"{path}: two cases are called {name!r}." for name in twice))
    return found


def rules_of_cases(path: Path, cases: CaseFile, folders: Sequence[Path] = ()) -> RuleSet:
    """Return the rule set that cases are about."""
    beside = path.parent / cases.rules
    return load_rules(beside if beside.is_file() else cases.rules, folders)


def find_cases(name_or_path: str, rules: RuleSet) -> Path:
    """Return the file of the cases of a rule set: ``cases/NAME.yaml`` beside its file, or as shipped.

    Raises
    ------
    InvalidArgumentError
        If there is none.
    """
    beside = Path(name_or_path).parent / "cases" / f"{rules.id}.yaml"
    shipped = resource_path("pipelines/rules/cases") / f"{rules.id}.yaml"
    for path in (beside, shipped):
        if path.is_file():
            return path
    raise InvalidArgumentError(
        f"There are no cases for {rules.id}: looked for {beside} and {shipped}; give --cases FILE."
    )


def run_cases(cases: CaseFile, rules: RuleSet, where: str) -> tuple[CaseResult, ...]:
    """Return what a rule set says to every case.

    Raises
    ------
    RuleFileError
        If a case has words that are not understood; with a line for each such case.
    """
    results: list[CaseResult] = []
    complaints: list[str] = []
    layers_of_type = _layers_of_type()
    for case in cases.cases:
        try:
            results.append(_run(case, cases, rules, layers_of_type))
        except InvalidArgumentError as err:
            complaints.append(f"{where}: case {case.name}: {str(err).rstrip('.')}.")
    if complaints:
        raise RuleFileError(complaints)
    return tuple(results)


def _layers_of_type() -> Callable[[str], int]:
    catalogue = load_catalogue()
    return lambda name: catalogue.get(name).layers


def _run(case: Case, cases: CaseFile, rules: RuleSet, layers_of_type: Callable[[str], int]) -> CaseResult:
    ask = cases.ask if case.ask is None else cases.ask.model_copy(update=_given(case.ask))
    vessel = {**cases.usual, **case.vessel}
    evidence = evidence_of(vessel, rules, ask.at, layers_of_type)
    judgement = judge(evidence, rules, _request(ask))
    action = recommend(evidence, rules, judgement, ask.at).text
    return CaseResult(
        case.name, case.expect.verdict, judgement.verdict, action, tuple(_differences(case.expect, judgement, action))
    )


def _given(ask: Ask) -> dict[str, Any]:
    return {name: getattr(ask, name) for name in ask.model_fields_set}


def _request(ask: Ask) -> Request:
    review = None
    if ask.settled or ask.review:
        settles = tuple(Settlement(*_criterion_and_layer(name), outcome) for name, outcome in ask.settled.items())
        at = ask.at.isoformat()
        review = Review("a reviewer", at, ask.review or "settle", "case", "as the case says.", settles)
    return Request(ask.at, ask.purpose, ask.type, ask.batch, ask.passage, review=review)


def _criterion_and_layer(name: str) -> tuple[str, int | None]:
    criterion, _, layer = name.partition(" on layer ")
    if layer and not layer.isdecimal():
        raise InvalidArgumentError(f"{name!r}: write such as `layer-overgrown on layer 3`")
    return criterion, int(layer) if layer else None


def _differences(expect: Expect, judgement: Judgement, action: str) -> list[str]:
    found = [] if judgement.verdict == expect.verdict else [_unlike("verdict", expect.verdict, judgement.verdict)]
    if judgement.verdict != expect.verdict:
        found += [f"{one.id}: {one.message}" for one in judgement.results if one.outcome != "met"][:5]
    for name, outcome in expect.criteria.items():
        outcomes = _outcomes(judgement).get(_criterion_and_layer(name))
        if outcomes is None:
            found.append(f"{name}: there is no such criterion")
        elif outcomes != outcome:
            found.append(_unlike(name, outcome, outcomes))
    if expect.action is not None and expect.action not in (action, read_action(action).kind):
        found.append(_unlike("action", expect.action, action))
    return found


def _unlike(what: str, expected: str, found: str) -> str:
    return f"{what}: expected {expected}, got {found}"


def _outcomes(judgement: Judgement) -> Mapping[tuple[str, int | None], Outcome]:
    """Return the outcome of every criterion on every layer, and the worst of its layers."""
    found: dict[tuple[str, int | None], Outcome] = {}
    for one in judgement.results:
        found[one.id, one.layer] = one.outcome
        joint = (found.get((one.id, None), one.outcome), one.outcome)
        found[one.id, None] = min(joint, key=_WORST_FIRST.index)
    return found
