"""How many cells there are on an area, where they can be counted, and how many to a point of confluency."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from msc_vision.errors import InvalidArgumentError
from msc_vision.morphology.feature import Feature

MM2_PER_CM2 = 100.0
DensityState = Literal["counted", "calibrated", "not known"]

DENSITY_FEATURES = (
    Feature(
        "density_per_cm2",
        "field",
        "1/cm²",
        "Cells on an area; only where cells can be told apart.",
        "cells, those on the border counted half, over the judged area",
        "own; half of the cells that a straight border cuts have their centre inside",
    ),
    Feature(
        "cells_per_covered_cm2",
        "field",
        "1/cm²",
        "Cells on a covered area: it falls as cells spread or age.",
        "density_per_cm2 over the covered share",
        "own; Oja et al. 2018: spread area grows 4.8-fold from passages 1-3 to 6-9",
    ),
)


class DensitySettings(BaseModel):
    """Where counts of cells are trusted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    counted_up_to_percent: float = Field(
        60.0, gt=0, le=100, description="confluency up to which cells are counted; above, only a calibration tells"
    )


class DensityCalibration(BaseModel):
    """Confluency to cells for one bank, passage range and medium, from a lab's own counts.

    Straight lines between the points; nothing is said outside of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bank: str
    medium: str
    passage_from: int = Field(ge=0)
    passage_to: int = Field(ge=0)
    source: str = Field(min_length=3, description="who counted what, and how")
    confluency_percent: tuple[float, ...] = Field(min_length=2)
    density_per_cm2: tuple[float, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _points_rise(self) -> "DensityCalibration":
        if len(self.confluency_percent) != len(self.density_per_cm2):
            raise ValueError("confluency_percent and density_per_cm2 need as many points each")
        rising = all(a < b for a, b in zip(self.confluency_percent, self.confluency_percent[1:], strict=False))
        if not rising or not all(0 <= one <= 100 for one in self.confluency_percent):
            raise ValueError("confluency_percent has to rise and lie within 0 to 100")
        if min(self.density_per_cm2) < 0:
            raise ValueError("density_per_cm2 cannot be below 0")
        return self

    def refusal(self, bank: str | None, medium: str | None, passage: int | None) -> str | None:
        """Return why this calibration does not hold for a culture, None where it does."""
        for name, wanted, found in (("bank", self.bank, bank), ("medium", self.medium, medium)):
            if found != wanted:
                return f"the calibration is of {name} {wanted!r}, the culture of {found!r}"
        if passage is None or not self.passage_from <= passage <= self.passage_to:
            return f"the calibration is of passages {self.passage_from} to {self.passage_to}, the culture of {passage}"
        return None

    def density(self, confluency_percent: float) -> float | None:
        """Return cells per cm² at a confluency, None outside of the calibrated range."""
        if not self.confluency_percent[0] <= confluency_percent <= self.confluency_percent[-1]:
            return None
        return float(np.interp(confluency_percent, self.confluency_percent, self.density_per_cm2))


def load_calibration(path: Path) -> DensityCalibration:
    """Read a calibration from YAML.

    Raises
    ------
    InvalidArgumentError
        If it is missing, no YAML, or says something impossible.
    """
    try:
        return DensityCalibration.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as err:
        raise InvalidArgumentError(f"{path}: the calibration cannot be read: {err.strerror or err}.") from err
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise InvalidArgumentError(f"{path}: the calibration is no YAML: {' '.join(str(err).split())}.") from err
    except ValidationError as err:
        said = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg']}" for one in err.errors())
        raise InvalidArgumentError(f"{path}: {said}.") from err


@dataclass(frozen=True, slots=True)
class Density:
    """Cells per cm² and how that is known; None with a reason where it is not."""

    state: DensityState
    per_cm2: float | None
    reason: str | None = None


def field_density(
    touches_border: NDArray[np.bool_],
    confluency_percent: float,
    judgeable_area_mm2: float | None,
    settings: DensitySettings,
) -> dict[str, float]:
    """Return the figures of `DENSITY_FEATURES` of one field; NaN where cells cannot be counted.

    Parameters
    ----------
    touches_border : (n,) bool array
        An entry per cell.
    confluency_percent : float
    judgeable_area_mm2 : float or None
    settings : DensitySettings
    """
    names = [feature.name for feature in DENSITY_FEATURES]
    if not judgeable_area_mm2 or confluency_percent > settings.counted_up_to_percent:
        return dict.fromkeys(names, math.nan)
    n_cells = touches_border.size - 0.5 * int(np.count_nonzero(touches_border))
    per_cm2 = n_cells / judgeable_area_mm2 * MM2_PER_CM2
    per_covered = per_cm2 / (confluency_percent / 100) if confluency_percent > 0 else math.nan
    return dict(zip(names, (per_cm2, per_covered), strict=True))


def area_density(
    counted_per_cm2: Sequence[float], confluency_percent: Sequence[float], calibration: DensityCalibration | None
) -> Density:
    """Return the mean density of some fields: counted in each, or each calibrated; fields are never mixed.

    Parameters
    ----------
    counted_per_cm2 : sequence of float
        Of each field; NaN where its cells cannot be counted.
    confluency_percent : sequence of float
        Of the same fields.
    calibration : DensityCalibration or None
        One that holds for the culture.
    """
    if not counted_per_cm2:
        return Density("not known", None, "no field was scored")
    if all(math.isfinite(one) for one in counted_per_cm2):
        return Density("counted", math.fsum(counted_per_cm2) / len(counted_per_cm2))
    if calibration is None:
        return Density("not known", None, "cells cannot be told apart in every field, and there is no calibration")
    found = [calibration.density(one) for one in confluency_percent]
    known = [one for one in found if one is not None]
    if len(known) < len(found):
        return Density("not known", None, "some fields lie outside of the calibrated confluencies")
    return Density("calibrated", math.fsum(known) / len(known))
