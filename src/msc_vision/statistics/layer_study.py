"""What a site knows of how the layers of its vessels differ, from vessels in which all of them were measured."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from msc_vision.errors import InvalidArgumentError

FEWEST_VESSELS = 2


class LayerStudy(BaseModel):
    """How layers differ within a vessel type at one site, on the angle scale of confluency (see `scales.PERCENT`).

    ``offsets`` and ``between`` are in hundredths of an angle that are points at half cover: 0.05 is 5 points there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    vessel_type: str = Field(min_length=1)
    site: str | None = None
    n_vessels: int = Field(ge=FEWEST_VESSELS)
    offsets: tuple[float, ...] = Field(min_length=1, description="of each layer from the vessel's mean, layer 1 first")
    between: float = Field(gt=0, description="standard deviation of a layer around its usual offset")
    freedom: float = Field(gt=0, description="degrees of freedom of `between`")
    source: str = Field(min_length=3, description="which vessels, how measured, when")

    @model_validator(mode="after")
    def _offsets_cancel(self) -> "LayerStudy":
        if abs(sum(self.offsets)) > 1e-6 * max(1.0, max(map(abs, self.offsets)) * len(self.offsets)):
            raise ValueError("offsets have to add up to 0")
        return self

    def refusal_of_type(self, vessel_type: str, n_layers: int) -> str | None:
        """Return why this study does not hold for a vessel type of so many layers, None where it does."""
        if vessel_type != self.vessel_type:
            return f"the layer study is of {self.vessel_type}, this vessel is a {vessel_type}"
        if n_layers != len(self.offsets):
            return f"the layer study has {len(self.offsets)} offsets, a {vessel_type} has {n_layers} layers"
        return None

    def refusal_of_site(self, site: str | None) -> str | None:
        """Return why this study does not hold at a site, None where it does."""
        if self.site is None or site == self.site:
            return None
        return f"the layer study is of site {self.site}, the vessels are of {site or 'an unknown site'}"


def read_layer_study(path: Path) -> LayerStudy:
    """Read a study from YAML.

    Raises
    ------
    InvalidArgumentError
        If the file is missing or no layer study.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return LayerStudy.model_validate(content)
    except FileNotFoundError as err:
        raise InvalidArgumentError(f"{path}: no such file; `msc-vision layer-study RUN...` writes one.") from err
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
        raise InvalidArgumentError(f"{path}: cannot be read as YAML ({' '.join(str(err).split())}).") from err
    except ValidationError as err:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in err.errors())
        raise InvalidArgumentError(f"{path}: no layer study: {problems}.") from err


def study_layers(vessels: Mapping[str, Sequence[float]], vessel_type: str, site: str | None, source: str) -> LayerStudy:
    """Return what vessels in which every layer was measured say of their layers.

    Parameters
    ----------
    vessels : mapping of str to sequence of float
        Confluency percent of every layer, layer 1 first, by vessel.
    vessel_type : str
    site : str or None
    source : str

    Raises
    ------
    InvalidArgumentError
        With fewer than two vessels, or vessels of different heights.
    """
    heights = sorted({len(layers) for layers in vessels.values()})
    if len(vessels) < FEWEST_VESSELS or len(heights) != 1 or heights[0] < 2:
        raise InvalidArgumentError(
            f"A layer study needs at least {FEWEST_VESSELS} vessels of one type with every layer measured;"
            f" got {len(vessels)} with {', '.join(map(str, heights)) or 'no'} layers."
        )
    percent = np.array([layers for _, layers in sorted(vessels.items())], dtype=float)
    angles = np.arcsin(np.sqrt(np.clip(percent, 0.0, 100.0) / 100))
    own = angles - angles.mean(axis=1, keepdims=True)
    offsets = own.mean(axis=0)
    freedom = float((percent.shape[0] - 1) * (percent.shape[1] - 1))
    between = math.sqrt(float(((own - offsets) ** 2).sum()) / freedom)
    offsets -= offsets.mean()
    return LayerStudy(
        vessel_type=vessel_type,
        site=site,
        n_vessels=len(vessels),
        offsets=tuple(round(float(one), 9) for one in offsets - offsets.mean()),
        between=max(between, 1e-6),
        freedom=freedom,
        source=source,
    )
