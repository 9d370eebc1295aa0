"""How many cells look like spindles, stars, flat, cuboidal, fat-laden or rounded ones: exploratory, no lineage.

A look is a resemblance to drawn cells, learnt from a simulator and never checked against cells that a person named. A
cell that looks cuboidal is not thereby an osteoblast, one with droplets no adipocyte, a flat one not senescent.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from msc_vision.errors import InvalidDataError
from msc_vision.io.sealed import read_sealed, sealed_text
from msc_vision.morphology.feature import Feature
from msc_vision.morphology.profile import CELLS_MIN

LOOKS = ("spindle", "stellate", "flattened", "cuboidal", "lipid", "rounded")
"""The looks that are told apart; ``lipid`` means laden with droplets."""
UNSURE = "unsure"
LOOK_COLUMNS = np.dtype([("look", "<U9"), ("look_probability", "<f8")])
"""Of each cell: one of `LOOKS`, ``unsure``, or empty where the cell is not measured; and how probable the first is."""

FloatArray = NDArray[np.float64]

_LOGARITHMS = ("area_um2", "width_um", "max_width_um", "medial_aspect_ratio", "aspect_ratio", "circularity")
_PLAIN = ("solidity", "bending", "body_grey", "halo", "rounded_share", "debris_share")
_OFTEN_MISSING = ("halo", "texture")
LOOK_INPUTS = (
    *(f"log_{name}" for name in _LOGARITHMS),
    *_PLAIN,
    "log_n_branches_and_1",
    "log_texture",
    *(f"has_{name}" for name in _OFTEN_MISSING),
)
"""What the classifier sees of a cell."""
_LEAST_TEXTURE = 1e-4
_CLIP = 4.0
"""Spreads from the mean beyond which an input counts no more: nothing is extrapolated."""
_DECIMALS = 6
_LEAST = 1e-12

_EXPLORATORY = "Exploratory: a resemblance to drawn cells, no lineage and no state of a cell."
_SHARE_FORMULA = (
    "mean probability of the look over the measured cells, four times corrected by the shares found before; cells "
    "weighted for those of their size that the border cuts; from 15 cells"
)
_SHARE_SOURCE = "M. Saerens, P. Latinne, C. Decaestecker, Neural Computation 14, 21 (2002); the classifier is own"
_SEEN_AS = {
    "spindle": "long with two tapering ends",
    "stellate": "like stars, with three arms or more",
    "flattened": "large and thin",
    "cuboidal": "like compact polygons",
    "lipid": "laden with droplets",
    "rounded": "attached and round",
}

LOOK_FEATURES = (
    Feature(
        name="look",
        of="cell",
        unit="name",
        meaning=f"What the cell looks most like. {_EXPLORATORY}",
        formula=f"the most probable of {', '.join(LOOKS)}; unsure below a limit, empty where the cell is not measured",
        source="own; learnt from synthetic fields only",
    ),
    Feature(
        name="look_probability",
        of="cell",
        unit="1",
        meaning=f"How probable the most probable look is, were all looks equally frequent. {_EXPLORATORY}",
        formula="largest output of a small net on shape, texture, grey and halo of the cell",
        source="own; learnt from synthetic fields only",
    ),
    *(
        Feature(
            name=f"look_share_{name}_percent",
            of="field",
            unit="percent",
            meaning=f"How many of the measured cells look {_SEEN_AS[name]}. {_EXPLORATORY}",
            formula=_SHARE_FORMULA,
            source=_SHARE_SOURCE,
        )
        for name in LOOKS
    ),
)
"""Every one of them is exploratory."""


class LookSettings(BaseModel):
    """When the look of a cell is named. Exploratory; the limits are placeholders."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sure_from: float = Field(0.5, ge=0, le=1, description="probability below which a look is called unsure")
    n_steps: int = Field(
        4, ge=1, le=1000, description="steps of the correction for looks taken for one another; more follow noise"
    )


@dataclass(frozen=True, slots=True)
class LookModel:
    """A small net from inputs of a cell to the probabilities of its looks, were all looks equally frequent.

    Attributes
    ----------
    mean, scale : (d,) float64 array
        Of each of `LOOK_INPUTS` in training.
    layers : tuple of ((d, h) float64 array, (h,) float64 array)
        Weights and bias of each layer; tanh between them, and softmax at the end.
    training : mapping
        How it was made.
    """

    mean: FloatArray
    scale: FloatArray
    layers: tuple[tuple[FloatArray, FloatArray], ...]
    training: Mapping[str, Any]

    def probabilities(self, inputs: FloatArray) -> FloatArray:
        """Return (n, 6) probabilities for (n, d) inputs; one that is NaN counts as an average one."""
        values = standardised(inputs, self.mean, self.scale)
        for i, (weights, bias) in enumerate(self.layers):
            values = (values if i == 0 else np.tanh(values)) @ weights + bias
        values = np.exp(values - values.max(axis=1, keepdims=True))
        return np.round(values / values.sum(axis=1, keepdims=True), _DECIMALS)

    def to_json(self) -> str:
        """Return it as text that ends with its own sha256."""
        content = {
            "about": f"Looks of cells. {_EXPLORATORY}",
            "looks": list(LOOKS),
            "inputs": list(LOOK_INPUTS),
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "layers": [{"weights": weights.tolist(), "bias": bias.tolist()} for weights, bias in self.layers],
            "training": dict(self.training),
        }
        return sealed_text(content)


def read_looks(path: Traversable) -> LookModel:
    """Read a model that `LookModel.to_json` has written.

    Raises
    ------
    InvalidDataError
        If it was changed, or is of other looks or inputs.
    """
    content = read_sealed(path)
    if content["looks"] != list(LOOKS) or content["inputs"] != list(LOOK_INPUTS):
        raise InvalidDataError(f"{path}: it is of other looks or inputs than this version: make it again.")
    layers = tuple((np.array(one["weights"]), np.array(one["bias"])) for one in content["layers"])
    return LookModel(np.array(content["mean"]), np.array(content["scale"]), layers, content["training"])


@lru_cache(maxsize=1)
def shipped_looks() -> LookModel:
    """Return the model that ships with the package."""
    return read_looks(files("msc_vision.morphology") / "data" / "looks.json")


def standardised(inputs: FloatArray, mean: FloatArray, scale: FloatArray) -> FloatArray:
    """Return (n, d) inputs in spreads from the mean of training, 0 where one is missing, clipped far out."""
    values = np.clip((inputs - mean) / scale, -_CLIP, _CLIP)
    return np.where(np.isfinite(values), values, 0.0)


def look_inputs(cells: NDArray[np.void]) -> FloatArray:
    """Return (n, d) float64: `LOOK_INPUTS` of each cell, NaN where one is missing.

    Parameters
    ----------
    cells : (n,) structured array
        With the columns of `msc_vision.morphology.shape.SHAPE_COLUMNS`.
    """
    logs = [np.log(np.where(cells[name] > 0, cells[name], np.nan)) for name in _LOGARITHMS]
    plain = [cells[name] for name in _PLAIN]
    branches, texture = np.log1p(cells["n_branches"]), np.log(np.maximum(cells["texture"], _LEAST_TEXTURE))
    known = [np.isfinite(cells[name]) for name in _OFTEN_MISSING]
    return np.stack([*logs, *plain, branches, texture, *known], axis=1).astype(np.float64)


class FieldLooks(NamedTuple):
    """The looks of the cells of one field: a row of `LOOK_COLUMNS` per cell, and the figures of the field."""

    cells: NDArray[np.void]
    figures: dict[str, float]


def field_looks(cells: NDArray[np.void], settings: LookSettings, model: LookModel | None = None) -> FieldLooks:
    """Return what the cells of a field look like. Exploratory.

    Parameters
    ----------
    cells : (n,) structured array
        All cells of the field with the columns of `msc_vision.morphology.shape.SHAPE_COLUMNS`. Only those with
        ``is_measured`` get a look.
    settings : LookSettings
    model : LookModel, optional
        Default: the one that ships with the package.

    Returns
    -------
    FieldLooks
        Shares are percent that sum to 100, NaN with fewer than `CELLS_MIN` measured cells.
    """
    is_measured = cells["is_measured"]
    measured = cells[is_measured]
    probabilities = (model or shipped_looks()).probabilities(look_inputs(measured))
    rows = np.zeros(len(cells), LOOK_COLUMNS)
    rows["look_probability"] = np.nan
    best = probabilities.max(axis=1, initial=0)
    names = np.array(LOOKS)[probabilities.argmax(axis=1)]
    rows["look"][is_measured] = np.where(best >= settings.sure_from, names, UNSURE)
    rows["look_probability"][is_measured] = best
    if len(measured) < CELLS_MIN:
        return FieldLooks(rows, look_figures([math.nan] * len(LOOKS)))
    shares = look_shares(probabilities, measured["border_weight"].astype(np.float64), settings.n_steps)
    return FieldLooks(rows, look_figures(shares.tolist()))


def look_figures(shares: Sequence[float]) -> dict[str, float]:
    """Return shares, 0 to 1, as the figures of a field in percent."""
    return {f"look_share_{name}_percent": round(100 * one, _DECIMALS) for name, one in zip(LOOKS, shares, strict=True)}


def look_shares(probabilities: FloatArray, weights: FloatArray, n_steps: int) -> FloatArray:
    """Return how large the share of each look is, corrected for looks that are easily taken for one another.

    Parameters
    ----------
    probabilities : (n, k) float array
        Of each cell, were all looks equally frequent. Their mean pulls every culture towards an even mixture.
    weights : (n,) float array
        How many cells each stands for; above 0.
    n_steps : int
        Steps of expectation and maximisation from equal shares; the first gives the mean of the probabilities. Cells of
        one field share its light, so their errors do not cancel: all steps to the end would swing to either of two
        looks that cannot be told apart. Four were best in the fields that the weights were learnt from.

    Returns
    -------
    (k,) float array
        Sums to 1.

    References
    ----------
    M. Saerens, P. Latinne, C. Decaestecker, Neural Computation 14, 21 (2002); stopping early is own.
    """
    shares = np.full(probabilities.shape[1], 1 / probabilities.shape[1])
    for _ in range(n_steps):
        shares = shares * ((weights / np.maximum(probabilities @ shares, _LEAST)) @ probabilities)
        shares = shares / shares.sum()
    return shares
