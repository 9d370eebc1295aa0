"""What a rule file may hold: a complete rule set, or an overlay that changes another; and errors in plain lines."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from msc_vision.decision.rules import (
    AcceptedModel,
    Approval,
    Count,
    Criterion,
    Number,
    Part,
    RuleSet,
    Severity,
    Source,
    Status,
)
from msc_vision.errors import InvalidDataError

LIMIT_BYTES = 1_000_000
"""No rule file is larger; a larger one is refused before it is parsed."""
DEEPEST = 20
"""Levels within each other that a rule file or a case may have."""
_SHARES = frozenset({"confluency_percent", "measured_percent", "known_percent"})
"""Percentages for which a limit below 1 % can only be a share by mistake."""
_BOOLEANS = re.compile(r"true|True|TRUE|false|False|FALSE")


class RuleFileError(InvalidDataError):
    """A rule file cannot be used.

    Attributes
    ----------
    complaints : tuple of str
        One line each, with file, criterion and key.
    """

    def __init__(self, complaints: Sequence[str]) -> None:
        self.complaints = tuple(complaints)
        super().__init__("; ".join(self.complaints))


Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3)]

# --- the format ------------------------------------------------------------------------------------------------------


class Pin(Part):
    """Which text of the extended rule set is meant; another one is refused."""

    version: str | None = None
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="as `msc-vision rules show` prints it")

    @model_validator(mode="after")
    def _pins_something(self) -> Self:
        if self.version is None and self.sha256 is None:
            raise ValueError("pin: give version, sha256 or both")
        return self


class CoverageChange(Part):
    """New values of what must have been seen; what is not given stays."""

    measured_percent: Number | None = None
    fields: Count | None = None


class CriterionChange(Part):
    """New values of a criterion's keys; what is not given stays. Another metric is another criterion."""

    low: Number | None = Field(None, description="null: no least value")
    high: Number | None = Field(None, description="null: no greatest value")
    allowed: tuple[str, ...] | None = None
    probability: Number | None = None
    coverage: CoverageChange | None = None
    severity: Severity | None = None
    source: Source | None = Field(None, description="as a whole; needed when what is asked for changes")
    message: str | None = None


class OverrideEntry(Part):
    """What to do with a criterion of the extended rule set, and why."""

    set: CriterionChange | None = None
    remove: Literal[True] | None = None
    reason: Reason = Field(description="why; a reader of every record can see it")

    @model_validator(mode="after")
    def _does_one_thing(self) -> Self:
        if (self.set is None) == (self.remove is None):
            raise ValueError("give either set or remove: true")
        return self


class ModelsEntry(Part):
    """Another list of networks, and why."""

    set: tuple[AcceptedModel, ...]
    reason: Reason


class Overlay(Part):
    """A rule set that says only what it changes of another."""

    schema_version: Literal[1] = 1
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    version: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,31}$")
    extends: str = Field(min_length=1, description="id of a rule set, or a YAML file relative to this one")
    pin: Pin | None = Field(None, description="which text of it; an approved overlay has to give sha256")
    status: Status = Field("draft", description="a draft unless it has an approval of its own")
    title: str = Field(min_length=1)
    description: str = ""
    approval: Approval | None = None
    models: ModelsEntry | None = None
    overrides: dict[str, OverrideEntry] = Field({}, description="by criterion: set or remove, and reason")
    add: tuple[Criterion, ...] = ()

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if (self.status == "approved") != (self.approval is not None):
            raise ValueError("an approved rule set says who approved it (approval: by, on, document); a draft does not")
        if self.status == "approved" and (self.pin is None or self.pin.sha256 is None):
            raise ValueError("an approved overlay pins what it extends (pin: sha256), else it could change unseen")
        return self


def rule_file_schema() -> dict[str, Any]:
    """Return the JSON Schema of a rule file, for editors and other programs."""
    schema = TypeAdapter(RuleSet | Overlay).json_schema()
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Rule file of msc-vision"}
    return head | schema


def parse_rule_file(content: Mapping[str, Any], where: str) -> RuleSet | Overlay:
    """Return what a rule file says: an overlay if it extends another set and lists no criteria.

    Raises
    ------
    RuleFileError
        With a line for everything that is wrong.
    """
    kind: type[RuleSet | Overlay] = Overlay if "extends" in content and "criteria" not in content else RuleSet
    try:
        return kind.model_validate(content)
    except ValidationError as err:
        raise RuleFileError(tuple(problem_lines(err, content, where))) from err


def check_shares(rules: RuleSet, where: str) -> RuleSet:
    """Return a rule set as it is, or refuse one in which a share of 0 to 1 stands for percent.

    Raises
    ------
    RuleFileError
        With a line for each such limit.
    """
    complaints = [
        f"{where}: criterion {one.id}: {name} is {limit:g} %: percent go from 0 to 100; is {100 * limit:g} meant?"
        for one in rules.criteria
        for name, limit in (("low", one.low), ("high", one.high))
        if one.metric in _SHARES and limit is not None and 0 < limit < 1
    ]
    if complaints:
        raise RuleFileError(complaints)
    return rules


# --- YAML ------------------------------------------------------------------------------------------------------------


class StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # a class chosen at import
    """A safe loader that refuses a key given twice, and takes only true and false for truth values.

    YAML 1.1 takes ``on`` and ``no`` for true and false, and would keep the last of two equal keys without a word.
    """

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {
        first: [(tag, rule) for tag, rule in rules if tag != "tag:yaml.org,2002:bool"]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping of a node, or refuse it."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key has to be a word", key.start_mark)
            if key.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, "merging (<<) is not taken", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


StrictLoader.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOLEANS, list("tTfF"))


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds.

    Raises
    ------
    RuleFileError
        If it cannot be read, is too large, is no YAML, has a key twice, or is no mapping; with the line.
    """
    try:
        if path.stat().st_size > LIMIT_BYTES:
            raise RuleFileError((f"{path}: larger than {LIMIT_BYTES:,} bytes, which no such file is.",))
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        raise RuleFileError((f"{path}: cannot be read as a UTF-8 text file: {' '.join(str(err).split())}.",)) from err
    return yaml_mapping(text, str(path))


def yaml_mapping(text: str, where: str) -> dict[str, Any]:
    """Return the mapping that a YAML text holds; ``where`` names it in errors.

    Raises
    ------
    RuleFileError
        As `read_yaml`.
    """
    try:
        _check_events(text)
        content = yaml.load(text, Loader=StrictLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as err:  # ValueError: a date such as 2026-02-31
        mark = getattr(err, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark is not None else ""
        problem = getattr(err, "problem", None) or " ".join(str(err).split())
        raise RuleFileError((f"{where}: {line}not readable as YAML: {problem}.",)) from err
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise RuleFileError((f"{where}: has to hold keys with values, such as `id: site-12`.",))
    return content


def _check_events(text: str) -> None:
    """Refuse what makes a small text very large or very deep, before anything is built of it."""
    depth = 0
    for event in yaml.parse(text, Loader=StrictLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        is_reference = isinstance(event, yaml.AliasEvent)
        if is_reference or depth > DEEPEST:
            problem = "references (*name) are not taken" if is_reference else f"more than {DEEPEST} levels"
            mark: Any = event.start_mark
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def rule_set_yaml(rules: RuleSet) -> str:
    """Return a complete rule set as YAML that reads back as the same."""
    content = rules.model_dump(mode="json", exclude_defaults=True)
    content = {"schema_version": rules.schema_version} | content
    for criterion, dumped in zip(rules.criteria, content["criteria"], strict=True):
        dumped["probability"] = criterion.probability  # what decides is said, also where it is usual
    content |= {key: _dated(content[key]) for key in ("approval", "criteria") if key in content}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)


def _dated(value: Any) -> Any:
    """Return dates as YAML writes them, without quotes, where a key says that it is one."""
    if isinstance(value, dict):
        return {
            key: date.fromisoformat(one) if key in ("in_force", "on") and isinstance(one, str) else _dated(one)
            for key, one in value.items()
        }
    return [_dated(one) for one in value] if isinstance(value, list) else value


# --- errors ----------------------------------------------------------------------------------------------------------


def problem_lines(err: ValidationError, content: Any, where: str) -> Iterator[str]:
    """Yield a line for everything that pydantic found: file, criterion, key, what is wrong, what was there."""
    for problem in err.errors(include_url=False):
        place, key = _place(problem["loc"], content)
        yield f"{where}: {place}{_told(problem, key)}."


def _place(loc: Sequence[int | str], content: Any) -> tuple[str, str]:
    """Return the criterion (or case) that a location is in, and the key within it."""
    steps = list(loc)
    if len(steps) >= 2 and isinstance(steps[1], int) and steps[0] in ("criteria", "add", "cases"):
        entry = content[steps[0]][steps[1]] if isinstance(content.get(steps[0]), Sequence) else None
        label = "case" if steps[0] == "cases" else "criterion"
        named = entry.get("name" if steps[0] == "cases" else "id") if isinstance(entry, Mapping) else None
        return f"{label} {named if isinstance(named, str) else f'number {steps[1] + 1}'}: ", _dotted(steps[2:])
    if len(steps) >= 2 and steps[0] == "overrides":
        return f"override of {steps[1]}: ", _dotted(steps[2:])
    return "", _dotted(steps)


def _dotted(steps: Sequence[int | str]) -> str:
    return ".".join(f"number {one + 1}" if isinstance(one, int) else one for one in steps)


def _told(problem: Any, key: str) -> str:
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key!r}"
    if problem["type"] == "missing":
        return f"{key} is missing"
    prefix = f"{key}: " if key else ""
    if problem["type"] == "value_error":
        return f"{prefix}{problem['ctx']['error']}"
    text = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{prefix}{text}, got {_short(problem['input'])}"


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}…"
