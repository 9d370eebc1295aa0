"""What the roll-up of fields to layers and vessels is told beforehand."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, model_validator

from msc_vision.flags import FLAG_WORDS, Flag

DOUBTFUL = frozenset({"bare-or-full", "methods-disagree", "strange", "unsure", "focus-unknown"})
"""Flags of a scored field whose confluency a person has to look at before it is relied on."""

_NO_DOUBT: frozenset[Flag] = frozenset({"blank", "out-of-focus", "uneven-light", "partly-masked"})
"""The first two are refused fields, which have no figure; the others are taken into account."""

DOUBTS: Mapping[str, str] = {flag: words for flag, words in FLAG_WORDS.items() if flag not in _NO_DOUBT}
"""What a person should look at, by the flag that a scored field carries; most serious first."""


class SamplingSettings(BaseModel):
    """Settings of the roll-up."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    least_reached_percent: float = Field(
        60.0, ge=0, le=100, description="share of a layer that its fields have to stand for; below, they are a patch"
    )
    method_error_points: float = Field(
        10.0,
        ge=0,
        le=50,
        description="error that all fields of a vessel share because one method measured them: standard deviation in"
        " points at half cover, less towards 0 and 100 %",
    )
    flagged_error_points: float = Field(
        28.0, ge=0, le=50, description="the same for fields whose figure is flagged as doubtful; see `DOUBTFUL`"
    )
    method_error_source: str = Field(
        "docs/sampling.md: simulated cultures of stromal cells in phase contrast",
        min_length=3,
        description="where these figures are from: a card, or a validation of one's own",
    )
    window_percent: tuple[float, float] = Field(
        (70.0, 90.0), description="confluency at which cells are harvested; placeholder: most procedures aim at 80 %"
    )

    def method_error(self, flagged_share: float) -> float:
        """Return the method's error in points at half cover, where some share of the fields is flagged as doubtful."""
        squares = (1 - flagged_share) * self.method_error_points**2 + flagged_share * self.flagged_error_points**2
        return float(squares**0.5)

    @model_validator(mode="after")
    def _window_rises(self) -> "SamplingSettings":
        low, high = self.window_percent
        if not 0 <= low < high <= 100:
            raise ValueError(f"window_percent has to rise within 0 to 100, got {low:g} to {high:g}")
        return self
