"""The masks of a field as a reviewer edits them, and one edit as a patch that can be applied, reversed and kept."""

import hashlib
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import tifffile
from numpy.typing import NDArray

from msc_vision.errors import InvalidArgumentError, InvalidDataError
from msc_vision.records import Region

Kind = Literal["foreground", "cells", "judgeable", "aggregates"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DTYPES: Mapping[Kind, type[np.generic]] = {
    "foreground": np.bool_,
    "cells": np.int32,
    "judgeable": np.bool_,
    "aggregates": np.int32,
}


@dataclass(frozen=True, slots=True, eq=False)
class FieldMasks:
    """The masks of one field at its working resolution.

    Attributes
    ----------
    foreground : (Y, X) bool array
        Covered by cells.
    cells : (Y, X) int32 array
        Each cell its number, 0 where there is none. A cell lies within the foreground.
    judgeable : (Y, X) bool array
        What can be judged.
    aggregates : (Y, X) int32 array
        Each aggregate its number.
    """

    foreground: NDArray[np.bool_]
    cells: NDArray[np.int32]
    judgeable: NDArray[np.bool_]
    aggregates: NDArray[np.int32]

    def __post_init__(self) -> None:
        """Refuse masks of other types or of different shapes."""
        shapes = {self.of(kind).shape for kind in KINDS}
        wrong = [f"{kind} is {self.of(kind).dtype}" for kind in KINDS if self.of(kind).dtype != DTYPES[kind]]
        if wrong or len(shapes) > 1 or len(next(iter(shapes))) != 2:
            said = "; ".join(wrong) or f"shapes {sorted(shapes)}"
            raise InvalidArgumentError(f"Masks of a field are bool and int32 arrays of one shape (Y, X); got {said}.")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in working pixels."""
        height, width = self.cells.shape
        return height, width

    @property
    def sha256(self) -> str:
        """Return the hash of what the masks hold."""
        digest = hashlib.sha256(repr(self.shape).encode())
        for kind in KINDS:
            digest.update(np.ascontiguousarray(self.of(kind)).tobytes())
        return digest.hexdigest()

    def of(self, kind: Kind) -> NDArray[Any]:
        """Return one of the masks."""
        found: NDArray[Any] = getattr(self, kind)
        return found

    def equals(self, other: "FieldMasks") -> bool:
        """Whether both hold the same."""
        return all(np.array_equal(self.of(kind), other.of(kind)) for kind in KINDS)

    def copy(self) -> "FieldMasks":
        """Return masks whose arrays may be written to."""
        return FieldMasks(*(self.of(kind).copy() for kind in KINDS))


@dataclass(frozen=True, slots=True, eq=False)
class MaskPatch:
    """One edit: what a rectangle of some masks held before and after it.

    Attributes
    ----------
    region : Region
        Working pixels.
    before, after : mapping of kind to (Y, X) array
        Of the same kinds; pixels that are equal in both were not edited.
    """

    region: Region
    before: Mapping[Kind, NDArray[Any]]
    after: Mapping[Kind, NDArray[Any]]

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The masks that it changes."""
        return tuple(kind for kind in KINDS if kind in self.after)

    def reversed(self) -> "MaskPatch":
        """Return the edit that takes this one back."""
        return replace(self, before=self.after, after=self.before)


def difference(before: FieldMasks, after: FieldMasks) -> MaskPatch | None:
    """Return the smallest patch that leads from one to the other; None if they are equal.

    Raises
    ------
    InvalidArgumentError
        If they are of different shapes.
    """
    if before.shape != after.shape:
        raise InvalidArgumentError(f"Masks of {before.shape} and of {after.shape} are not of one field.")
    edited = [kind for kind in KINDS if before.of(kind) is not after.of(kind)]
    changed = {kind: before.of(kind) != after.of(kind) for kind in edited}
    kinds = [kind for kind in edited if changed[kind].any()]
    if not kinds:
        return None
    anywhere = np.logical_or.reduce([changed[kind] for kind in kinds])
    rows, columns = np.flatnonzero(anywhere.any(axis=1)), np.flatnonzero(anywhere.any(axis=0))
    region = Region(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)
    window = np.s_[region.y0 : region.y1, region.x0 : region.x1]
    return MaskPatch(
        region,
        {kind: before.of(kind)[window].copy() for kind in kinds},
        {kind: after.of(kind)[window].copy() for kind in kinds},
    )


def apply_patch(masks: FieldMasks, patch: MaskPatch) -> FieldMasks:
    """Return masks after an edit; only the pixels that it changed are touched, whatever they hold now.

    Raises
    ------
    InvalidArgumentError
        If the edit does not lie within the field.
    """
    _check_within(masks.shape, patch.region)
    window = np.s_[patch.region.y0 : patch.region.y1, patch.region.x0 : patch.region.x1]
    edited = {}
    for kind in patch.kinds:
        mask = masks.of(kind).copy()
        changed = patch.before[kind] != patch.after[kind]
        mask[window][changed] = patch.after[kind][changed]
        edited[kind] = mask
    return replace(masks, **edited)


def _check_within(shape: tuple[int, int], region: Region) -> None:
    height, width = shape
    if not (0 <= region.y0 < region.y1 <= height and 0 <= region.x0 < region.x1 <= width):
        raise InvalidArgumentError(f"An edit of {region} does not lie within a field of {height} x {width} pixels.")


def empty_masks(shape: tuple[int, int]) -> FieldMasks:
    """Return masks without cells, all of it judgeable."""
    return FieldMasks(np.zeros(shape, bool), np.zeros(shape, np.int32), np.ones(shape, bool), np.zeros(shape, np.int32))


# --- as a file -------------------------------------------------------------------------------------------------------


def patch_bytes(patch: MaskPatch) -> bytes:
    """Return a patch as a TIFF: for each kind two pages, before and after, int32; the event says which and where."""
    pages = np.stack([side[kind].astype(np.int32) for kind in patch.kinds for side in (patch.before, patch.after)])
    buffer = io.BytesIO()
    options: dict[str, Any] = {"compression": "zlib", "compressionargs": {"level": 1}, "photometric": "minisblack"}
    tifffile.imwrite(buffer, pages, metadata=None, software=False, **options)
    return buffer.getvalue()


def parse_patch(content: bytes, region: Region, kinds: tuple[Kind, ...]) -> MaskPatch:
    """Return a patch from its TIFF.

    Raises
    ------
    InvalidDataError
        If it cannot be read, or holds other pages than the event says.
    """
    try:
        pages = tifffile.imread(io.BytesIO(content))
    except (OSError, ValueError, KeyError, IndexError, TypeError, tifffile.TiffFileError) as err:
        raise InvalidDataError(f"The patch cannot be read as a TIFF ({' '.join(str(err).split())[:120]}).") from err
    expected = (2 * len(kinds), *region.shape)
    if pages.size != math.prod(expected) or pages.shape[-2:] != region.shape or not kinds:
        raise InvalidDataError(f"The patch holds pages of {pages.shape}, its event speaks of {expected}.")
    pages = pages.reshape(expected)
    sides = [{kind: pages[2 * i + side].astype(DTYPES[kind]) for i, kind in enumerate(kinds)} for side in (0, 1)]
    return MaskPatch(region, sides[0], sides[1])
