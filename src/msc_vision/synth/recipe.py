"""Recipes of synthetic vessels, in YAML: which vessel, which layers, how full, how many fields, and what is odd."""

import math
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from msc_vision.errors import InvalidArgumentError
from msc_vision.synth.settings import FieldSettings
from msc_vision.vessels import Catalogue

FileFormat = Literal["ome-tiff", "tiff", "png"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LayerRecipe(_Frozen):
    """One layer: how full it is, and how many fields of it are photographed."""

    layer: int = Field(ge=1)
    confluency_percent: float = Field(ge=0, le=100)
    n_fields: int = Field(ge=1, le=999)


class OddField(_Frozen):
    """One field that differs from the others of its layer, and in what."""

    layer: int = Field(ge=1)
    field: int = Field(ge=1)
    settings: dict[str, Any] = Field(min_length=1, description="as in `settings` of the recipe; only what differs")
    is_usable: bool = Field(True, description="false: made to be rejected, so it has no part in the layer's truth")


class Context(_Frozen):
    """Columns of the manifest that are the same for every field."""

    acquired_at: str | None = None
    modality: str | None = "phase contrast"
    objective: str | None = None
    site: str | None = None
    instrument: str | None = None
    operator: str | None = None
    bank: str | None = None
    donor: str | None = None
    lot: str | None = None
    passage: int | None = Field(None, ge=0)
    pdl: float | None = None
    medium: str | None = None
    medium_lot: str | None = None
    surface: str | None = None


class VesselRecipe(_Frozen):
    """A synthetic vessel."""

    description: str = Field(min_length=1)
    vessel_id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*$")
    vessel_type: str
    seed: int = Field(ge=0, lt=2**32)
    file_format: FileFormat
    layers: tuple[LayerRecipe, ...] = Field(min_length=1)
    field_spread: float = Field(
        6.0, ge=0, le=30, description="standard deviation between the fields of a layer, points"
    )
    settings: FieldSettings = FieldSettings()
    odd_fields: tuple[OddField, ...] = ()
    context: Context = Context()

    @field_validator("layers")
    @classmethod
    def _each_layer_once(cls, layers: tuple[LayerRecipe, ...]) -> tuple[LayerRecipe, ...]:
        numbers = [layer.layer for layer in layers]
        if len(set(numbers)) < len(numbers):
            raise ValueError(f"each layer once, got {numbers}")
        return layers

    @model_validator(mode="after")
    def _odd_fields_exist(self) -> "VesselRecipe":
        n_fields = {layer.layer: layer.n_fields for layer in self.layers}
        for odd in self.odd_fields:
            if odd.field > n_fields.get(odd.layer, 0):
                raise ValueError(
                    f"odd_fields names layer {odd.layer} field {odd.field}, which the recipe does not have"
                )
            self.settings_of(odd.layer, odd.field, confluency_percent=0.0)
        return self

    def odd_field(self, layer: int, field: int) -> OddField | None:
        """Return what is odd about a field, None for an ordinary one."""
        return next((odd for odd in self.odd_fields if (odd.layer, odd.field) == (layer, field)), None)

    def settings_of(self, layer: int, field: int, *, confluency_percent: float) -> FieldSettings:
        """Return the settings of one field of a layer."""
        plain = self.settings.model_dump() | {"confluency_percent": confluency_percent}
        odd = self.odd_field(layer, field)
        return FieldSettings.model_validate(_merged(plain, odd.settings) if odd else plain)


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        is_group = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merged(base[key], value) if is_group else value
    return merged


def load_recipe(path: Path, catalogue: Catalogue) -> VesselRecipe:
    """Read a recipe and check that its vessel has the layers it speaks of.

    Raises
    ------
    InvalidArgumentError
        If the file is missing, no YAML, has unknown keys or values out of range, or contradicts the catalogue.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise InvalidArgumentError(f"{path}: the recipe cannot be read: {err.strerror or err}.") from err
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise InvalidArgumentError(f"{path}: the recipe is no YAML: {' '.join(str(err).split())}.") from err
    try:
        recipe = VesselRecipe.model_validate(content)
    except ValidationError as err:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'recipe'}: {e['msg']}" for e in err.errors())
        raise InvalidArgumentError(f"{path}: {problems}.") from err
    vessel = catalogue.get(recipe.vessel_type)
    too_high = sorted(layer.layer for layer in recipe.layers if layer.layer > vessel.layers)
    if too_high:
        raise InvalidArgumentError(
            f"{path}: {vessel.id} has {vessel.layers} layers, the recipe names layer {too_high}."
        )
    return recipe


def grid_positions(n: int, area_cm2: float, start: tuple[float, float]) -> list[tuple[float, float]]:
    """Return the places of fields on a square layer: a regular grid with a random start.

    Parameters
    ----------
    n : int
        How many.
    area_cm2 : float
        Of the layer.
    start : (float, float)
        Where in its cell of the grid each field lies, 0 to 1 down and across.

    Returns
    -------
    list of (y_um, x_um)
        From one corner of the layer.
    """
    side_um = math.sqrt(area_cm2) * 1e4
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    return [
        ((i // columns + start[0]) * side_um / rows, (i % columns + start[1]) * side_um / columns) for i in range(n)
    ]
