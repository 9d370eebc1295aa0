"""Recipes of synthetic vessels, in YAML: which vessel, which layers, how full, how many fields, and what is odd."""

import difflib
import math
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from msc_vision.errors import InvalidArgumentError
from msc_vision.synth.frozen import FrozenModel
from msc_vision.synth.growth import TimeCourse, Unevenness
from msc_vision.synth.settings import FieldSettings
from msc_vision.vessels import Catalogue

FileFormat = Literal["ome-tiff", "tiff", "png"]


class LayerRecipe(FrozenModel):
    """One layer: how full it is, and how many fields of it are photographed."""

    layer: int = Field(ge=1)
    confluency_percent: float = Field(ge=0, le=100)
    n_fields: int = Field(ge=1, le=999)


class OddField(FrozenModel):
    """One field that differs from the others of its layer, and in what."""

    layer: int = Field(ge=1)
    field: int = Field(ge=1)
    settings: dict[str, Any] = Field(min_length=1, description="as in `settings` of the recipe; only what differs")
    is_usable: bool = Field(True, description="false: made to be rejected, so it has no part in the layer's truth")


class Context(FrozenModel):
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


class VesselRecipe(FrozenModel):
    """A synthetic vessel."""

    description: str = Field(min_length=1)
    vessel_id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*$")
    vessel_type: str
    seed: int = Field(ge=0, lt=2**32)
    file_format: FileFormat
    layers: tuple[LayerRecipe, ...] = Field(min_length=1)
    field_spread: float = Field(
        6.0, ge=0, le=30, description="standard deviation between the fields of a layer, points, besides gradients"
    )
    unevenness: Unevenness = Unevenness()
    time_course: TimeCourse | None = None
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
            try:
                self.settings_of(odd.layer, odd.field, confluency_percent=0.0)
            except ValidationError as err:
                raise ValueError(
                    f"odd_fields, layer {odd.layer} field {odd.field}: {_problems(err, FieldSettings)}"
                ) from err
        return self

    @model_validator(mode="after")
    def _start_is_a_time(self) -> "VesselRecipe":
        if self.time_course and self.context.acquired_at is not None:
            try:
                datetime.fromisoformat(self.context.acquired_at)
            except ValueError as err:
                raise ValueError(
                    f"context.acquired_at is the time of 0 h, as 2025-03-14T09:30:00+01:00; "
                    f"{self.context.acquired_at!r} is none"
                ) from err
        return self

    @property
    def times_h(self) -> tuple[float | None, ...]:
        """When the vessel is photographed: hours, or one None for a vessel without a time course."""
        return self.time_course.times_h if self.time_course else (None,)

    def odd_field(self, layer: int, field: int) -> OddField | None:
        """Return what is odd about a field, None for an ordinary one."""
        return next((odd for odd in self.odd_fields if (odd.layer, odd.field) == (layer, field)), None)

    def settings_of(self, layer: int, field: int, *, confluency_percent: float) -> FieldSettings:
        """Return the settings of one field of a layer; what is wanted above 100 % lies on the full layer."""
        plain = self.settings.model_dump() | {"confluency_percent": min(confluency_percent, 100.0)}
        if confluency_percent > 100:
            on_top = min(plain["cells"]["crowding"] + confluency_percent / 100 - 1, 1.5)
            plain = _merged(plain, {"cells": {"crowding": on_top}})
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
        raise InvalidArgumentError(f"{path}: {_ended(_problems(err, VesselRecipe))}") from err
    vessel = catalogue.get(recipe.vessel_type)
    too_high = sorted(layer.layer for layer in recipe.layers if layer.layer > vessel.layers)
    if too_high:
        raise InvalidArgumentError(
            f"{path}: {vessel.id} has {vessel.layers} layers, the recipe names layer {too_high}."
        )
    return recipe


def _problems(error: ValidationError, model: type[BaseModel]) -> str:
    """Return all that is wrong in one line; a key that does not exist is told with the nearest that does."""
    return "; ".join(_problem(one["type"], one["loc"], one["msg"], model) for one in error.errors())


def _ended(text: str) -> str:
    return text if text.endswith(("?", ".")) else f"{text}."


def _problem(kind: str, place: tuple[int | str, ...], message: str, model: type[BaseModel]) -> str:
    where = ".".join(map(str, place)) or "recipe"
    if kind != "extra_forbidden":
        return f"{where}: {' '.join(message.removeprefix('Value error, ').split())}"
    known = _keys_at(model, place[:-1])
    near = difflib.get_close_matches(str(place[-1]), known, n=2, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else f"keys here: {', '.join(known)}"
    return f"{where}: no such key; {hint}"


def _keys_at(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """Return the keys that exist at a place of a recipe."""
    here = model
    for name in place:
        field = here.model_fields.get(name) if isinstance(name, str) else None
        if field is not None:
            here = next(_models_in(field.annotation), here)
    return list(here.model_fields)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


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
