"""What a vessel type is, and the catalogue that finds one by any sensible spelling of its name."""

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar, overload

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, field_validator, model_validator

from msc_vision.errors import InvalidArgumentError

Default = TypeVar("Default")
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1, pattern=r"^\S(.*\S)?$")]

_NO_DEFAULT = object()


class VesselType(BaseModel):
    """One vessel type. Areas are culture areas; a well plate has one layer, and each of its wells is a vessel.

    ``total_area_cm2`` must be ``layers`` x ``area_per_layer_cm2`` x ``wells``. ``volume_ml`` is the working volume of
    the whole vessel (per well for a plate), lowest and highest. ``imageable_layers`` names per optics profile the
    layers that a microscope reaches (1 = bottom). ``verified`` is True only if every figure was read in a source.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    name: Text
    aliases: tuple[Text, ...] = ()
    layers: Annotated[StrictInt, Field(ge=1)]
    well_rows: Annotated[StrictInt, Field(ge=1, le=26)] = 1
    well_columns: Annotated[StrictInt, Field(ge=1, le=99)] = 1
    area_per_layer_cm2: Positive
    total_area_cm2: Positive
    volume_ml: tuple[Positive, Positive] | None = None
    surface: Text
    imageable_layers: Annotated[dict[Text, tuple[StrictInt, ...]], Field(min_length=1)]
    note: Text | None = None
    source: Text
    verified: StrictBool

    @field_validator("volume_ml", mode="before")
    @classmethod
    def _one_volume_is_a_range(cls, value: object) -> object:
        return (value, value) if isinstance(value, int | float) else value

    @model_validator(mode="after")
    def _check_figures_agree(self) -> "VesselType":
        total = self.layers * self.area_per_layer_cm2 * self.wells
        if not math.isclose(total, self.total_area_cm2, rel_tol=1e-9):
            raise ValueError(
                f"{self.layers} layers x {self.area_per_layer_cm2:g} cm2 x {self.wells} wells is {total:g} cm2, "
                f"but total_area_cm2 is {self.total_area_cm2:g}"
            )
        if self.volume_ml is not None and self.volume_ml[0] > self.volume_ml[1]:
            raise ValueError(f"volume_ml must go from low to high, got {list(self.volume_ml)}")
        for profile, layers in self.imageable_layers.items():
            if list(layers) != sorted(set(layers)) or not set(layers) <= set(range(1, self.layers + 1)):
                raise ValueError(
                    f"imageable_layers for {profile!r} must be layers within 1..{self.layers}, "
                    f"ascending and each once, got {list(layers)}"
                )
        return self

    @property
    def wells(self) -> int:
        """Number of wells; 1 for everything but a plate."""
        return self.well_rows * self.well_columns

    def reachable_layers(self, optics_profile: str) -> tuple[int, ...]:
        """Return the layers that can be imaged with an optics profile such as ``standard``.

        Raises
        ------
        InvalidArgumentError
            If the vessel type says nothing about that profile.
        """
        if optics_profile not in self.imageable_layers:
            known = ", ".join(sorted(self.imageable_layers))
            raise InvalidArgumentError(f"{self.id} has no optics profile {optics_profile!r}; it has: {known}.")
        return self.imageable_layers[optics_profile]

    def has_well(self, well: str) -> bool:
        """Return whether a well such as ``A1`` or ``H12`` is on this plate."""
        match = re.fullmatch(r"([A-Z])(\d{1,2})", well)
        if match is None or self.wells == 1:
            return False
        row, column = ord(match[1]) - ord("A") + 1, int(match[2])
        return row <= self.well_rows and 1 <= column <= self.well_columns


@dataclass(frozen=True, slots=True)
class Refusal:
    """A kind of culture system that is out of scope, how its name is recognised, and why it is refused."""

    name: str
    patterns: tuple[str, ...]
    reason: str

    def recognises(self, name: str) -> bool:
        """Return whether a name as typed means this kind of system."""
        text = re.sub(r"[\s_/-]+", " ", name.casefold())
        return any(re.search(pattern, text) for pattern in self.patterns)


def spelling_key(name: str) -> str:
    """Return what all spellings of a vessel's name share: ``HYPERStack 36`` and ``hyperstack-36`` are one."""
    return re.sub(r"[\W_]+", "", name.casefold())


@dataclass(frozen=True)
class Catalogue(Mapping[str, VesselType]):
    """Vessel types by id. ``catalogue[id]`` wants the exact id; `get` takes any sensible spelling.

    ``files`` says for each id which file it was read from; ``spellings`` maps every spelling key to an id.
    """

    types: Mapping[str, VesselType]
    files: Mapping[str, Path]
    spellings: Mapping[str, str]
    refusals: tuple[Refusal, ...]

    def __getitem__(self, vessel_id: str) -> VesselType:
        return self.types[vessel_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.types)

    def __len__(self) -> int:
        return len(self.types)

    @overload
    def get(self, key: str, /) -> VesselType: ...
    @overload
    def get(self, key: str, /, default: Default) -> VesselType | Default: ...
    def get(self, key: str, /, default: object = _NO_DEFAULT) -> object:
        """Return the vessel type of a name in any sensible spelling: case, spaces, ``-`` and ``_`` do not matter.

        Parameters
        ----------
        key : str
            Id, name or alias, such as ``hyperstack-36``, ``HYPERStack 36``, ``T75`` or ``6-well plate``.
        default : object, optional
            Returned for an unknown name; without it an unknown name is an error.

        Raises
        ------
        InvalidArgumentError
            If the name is out of scope (with the reason) or unknown (with the nearest names).
        """
        found = self.spellings.get(spelling_key(key))
        if found is not None:
            return self.types[found]
        if default is not _NO_DEFAULT:
            return default
        raise InvalidArgumentError(self._why_not(key))

    def _why_not(self, name: str) -> str:
        for refusal in self.refusals:
            if refusal.recognises(name):
                return f"{name!r} is out of scope ({refusal.name}): {refusal.reason}."
        near = self.near_names(name)
        if near:
            return f"Unknown vessel type {name!r}. Did you mean {' or '.join(near)}? A site can add its own YAML file."
        return f"Unknown vessel type {name!r}. Known: {', '.join(self.types)}. A site can add its own YAML file."

    def near_names(self, name: str, n: int = 5) -> tuple[str, ...]:
        """Return up to ``n`` ids whose spellings are nearest to a name, best first."""
        keys = difflib.get_close_matches(spelling_key(name), list(self.spellings), n=3 * n, cutoff=0.6)
        return tuple(dict.fromkeys(self.spellings[key] for key in keys))[:n]


def layer_ranges(layers: Iterable[int]) -> str:
    """Return layers as people write them: ``1-3, 5``."""
    parts: list[list[int]] = []
    for layer in sorted(set(layers)):
        if parts and layer == parts[-1][1] + 1:
            parts[-1][1] = layer
        else:
            parts.append([layer, layer])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)
