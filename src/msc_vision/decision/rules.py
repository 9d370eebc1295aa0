"""Rule sets as they are judged by: criteria with limits, sources and the probability they ask for."""

import re
from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from msc_vision.decision.metrics import METRICS, Level, Metric
from msc_vision.io.sealed import canonical_sha256

Severity = Literal["critical", "major", "minor"]
"""What a criterion that is not met asks for: ``critical`` to set the vessel apart (quarantine), the others that a
person looks at it or that one waits; ``minor`` ones are named last."""
Status = Literal["draft", "approved"]
DEFAULT_PROBABILITY = 0.95
Number = Annotated[float, Field(strict=True)]
"""A number and nothing that only looks like one: neither ``"70"`` nor ``true``."""
Count = Annotated[int, Field(strict=True)]
_LAID_OVER = re.compile(r"[a-z0-9-]+ [0-9A-Za-z.+-]+ sha256:[0-9a-f]{64}")


class Part(BaseModel):
    """A frozen part of a rule set that knows no unknown key."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Source(Part):
    """Where a limit stands."""

    document: str = Field(min_length=1, description="name and version of the document, such as SOP-123 v4")
    section: str = Field(min_length=1, description="section or table in it")
    in_force: date | None = Field(None, description="date from which it is in force; none for a placeholder")
    placeholder: bool = Field(False, description="true: nobody has set this limit; it stands for the real one")

    @model_validator(mode="after")
    def _real_sources_have_a_date(self) -> Self:
        if not self.placeholder and self.in_force is None:
            raise ValueError(f"{self.document}: say from which date it is in force (in_force), or placeholder: true")
        return self

    def __str__(self) -> str:
        """Return the source as a reader cites it."""
        tail = "placeholder" if self.placeholder else f"in force {self.in_force}"
        return f"{self.document}, {self.section} ({tail})"


class Coverage(Part):
    """What must have been seen before a criterion can be judged at all."""

    measured_percent: Number = Field(0.0, ge=0, le=100, description="least share of the culture area that was measured")
    fields: Count = Field(0, ge=0, description="fewest scored fields: of the vessel, or of each measured layer")


class Criterion(Part):
    """One thing that has to hold."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$", description="short name, such as confluency-window")
    metric: str = Field(description="what is asked of; `msc-vision rules metrics` lists all")
    level: Level = Field("vessel", description="vessel, layer (every layer by itself, also those nobody saw), or batch")
    low: Number | None = Field(None, description="least value allowed")
    high: Number | None = Field(None, description="greatest value allowed")
    allowed: tuple[str, ...] = Field((), description="words allowed, of a category")
    unit: str = Field(description="of the limits; has to be the metric's own")
    probability: Number = Field(
        DEFAULT_PROBABILITY,
        gt=0.5,
        lt=1,
        description="met only if the truth lies within the limits at least this surely; not met if it lies beyond them"
        " at least this surely; else undetermined",
    )
    coverage: Coverage = Field(Coverage(), description="what must have been seen")
    severity: Severity = Field(description="critical, major or minor")
    source: Source
    message: str = Field(min_length=1, description="what it is for, in one sentence")

    @model_validator(mode="after")
    def _fits_its_metric(self) -> Self:
        known = METRICS.get(self.metric)
        if known is None:
            raise ValueError(f"no metric is called {self.metric!r}; there are {', '.join(METRICS)}")
        if self.unit != known.unit:
            raise ValueError(f"{self.metric} is in {known.unit or 'words (unit: an empty text)'}, not in {self.unit!r}")
        if self.level not in known.levels:
            raise ValueError(f"{self.metric} is known of {' and '.join(known.levels)}, not of the {self.level}")
        if known.kind == "category":
            self._check_words(known.words)
        else:
            self._check_limits(known)
        return self

    def _check_words(self, words: tuple[str, ...]) -> None:
        has_limits = self.low is not None or self.high is not None
        if has_limits or not self.allowed or not set(self.allowed) <= set(words):
            raise ValueError(f"{self.metric} is a word: allow some of {', '.join(words)}, and no low or high")

    def _check_limits(self, known: Metric) -> None:
        low, high = self.low, self.high
        if self.allowed or (low is None and high is None):
            raise ValueError(f"{self.metric} is a number: give low, high or both, and no allowed words")
        if known.kind == "time" and (low is not None or high is None):
            raise ValueError(f"{self.metric} counts the hours since a moment: give high, the most allowed, and no low")
        if low is not None and high is not None and low > high:
            raise ValueError(f"low is {low:g}, above high {high:g}: nothing can lie between them")
        for name, limit in (("low", low), ("high", high)):
            if limit is not None and (limit < 0 or (known.unit == "%" and limit > 100)):
                raise ValueError(f"{name} is {limit:g}, which {self.metric} ({known.unit}) can never be")


class AcceptedModel(Part):
    """A network, or a recipe without one, that decisions may rest on."""

    id: str = Field(description="id of the network; `none` for recipes without one")
    sha256: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="of its weights and config, as run.json names it; none: any of that id",
    )


class Approval(Part):
    """Who put a rule set in force."""

    by: str = Field(min_length=1)
    on: date
    document: str = Field(min_length=1, description="where the approval is filed")


class Change(Part):
    """A key of a criterion as it was and as it is."""

    old: Any
    new: Any


class Override(Part):
    """What a site changed of the rule set that it extends, and why; kept so that a reader sees it."""

    criterion: str = Field(description="id of the criterion; `models` for the list of networks")
    by: str = Field(description="id and version of the rule set that changed it")
    reason: str = Field(min_length=3)
    changed: dict[str, Change] = Field(description="old and new value of every key that was changed")
    removed: Criterion | None = Field(None, description="the criterion as it was, if it was removed")


class RuleSet(Part):
    """A rule set, complete: overlays are already laid over what they extend."""

    schema_version: Literal[1] = 1
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    version: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,31}$")
    status: Status = Field(description="a draft gives no GO in production, and its records cannot be signed")
    title: str = Field(min_length=1)
    description: str = ""
    approval: Approval | None = None
    models: tuple[AcceptedModel, ...] = Field(
        description="networks that decisions may rest on; none: no decision is GO"
    )
    criteria: tuple[Criterion, ...]
    extends: str | None = Field(None, description="id, version and sha256 of the rule set that this one was laid over")
    overrides: tuple[Override, ...] = ()

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.extends is not None and not _LAID_OVER.fullmatch(self.extends):
            raise ValueError(
                f"extends {self.extends!r} and lists criteria of its own: an overlay changes those of its base under"
                " overrides, and lists new ones under add"
            )
        names = [one.id for one in self.criteria]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"criteria are there twice: {', '.join(twice)}")
        if (self.status == "approved") != (self.approval is not None):
            raise ValueError("an approved rule set says who approved it (approval: by, on, document); a draft does not")
        placeholders = [one.id for one in self.criteria if one.source.placeholder]
        if self.status == "approved" and placeholders:
            raise ValueError(f"limits are placeholders, so it cannot be approved: {', '.join(placeholders)}")
        return self

    @property
    def sha256(self) -> str:
        """Of its whole content, whatever the order of keys."""
        return canonical_sha256(self.model_dump(mode="json"))
