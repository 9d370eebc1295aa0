"""OME-Zarr (NGFF 0.4 on Zarr v2, 0.5 on v3), plates and bioformats2raw series included, and plain Zarr arrays."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import zarr
from numpy.typing import NDArray

from msc_vision.errors import InvalidDataError
from msc_vision.io.readers.base import (
    Channel,
    Contents,
    Plane,
    Reader,
    check_shape,
    pick_scene,
    settle_pixel_size,
    to_um,
)
from msc_vision.records import Region

NGFF_AXES = {"t": "T", "c": "C", "z": "Z", "y": "Y", "x": "X"}
LARGEST_CHUNK_BYTES = 2**30  # one chunk is decoded as a whole; larger ones cannot be read in bounded memory


@dataclass(frozen=True, slots=True)
class _Multiscale:
    """The full-resolution array of one image: where it lies, its axes, its scale, its channels."""

    at: str
    axes: str | None
    scale: tuple[float, ...] | None
    units: tuple[str | None, ...]
    channels: tuple[Channel, ...]


class ZarrReader(Reader):
    """One image of a Zarr store on disk."""

    format: ClassVar[str] = "OME-Zarr"

    def __init__(self, path: Path, scene: int | str | None) -> None:
        self._path = path
        scenes = _find_scenes(path)
        index, notes = pick_scene(path, scenes, scene)
        image = _describe_image(path, scenes[index] or "")
        self._folder = path / image.at
        self._array = zarr.open_array(self._folder, mode="r")
        shape = self._array.shape
        axes = image.axes or _guess_axes(len(shape))
        if len(axes) != len(shape) or axes[-2:] != "YX" or len(shape) < 2:
            raise InvalidDataError(
                f"{path}: an array of shape {shape} with axes {axes!r} is no image with Y and X last."
            )
        self._axes = axes
        self._check_chunks()
        sizes = dict(zip(axes, shape, strict=True))
        n_channels = sizes.get("C", 1)
        size, more = self._pixel_size(image)
        is_loose = image.axes is None and len(shape) == 3
        if is_loose and shape[0] > 1:
            more += (f"The array does not say what its {shape[0]} planes are; they are taken for time points.",)
        self.contents = Contents(
            shape=check_shape(path, *shape[-2:]),
            dtype=np.dtype(self._array.dtype),
            n_time=sizes.get("T", 1),
            n_z=sizes.get("Z", 1),
            channels=image.channels if len(image.channels) == n_channels else (Channel(),) * n_channels,
            is_loose_stack=is_loose and shape[0] > 1,
            n_scenes=len(scenes),
            scene=index,
            scene_name=scenes[index] or None,
            saturation_level=255.0 if self._array.dtype == np.uint8 else None,
            pixel_size_um=size,
            notes=(*notes, *more),
        )

    def _check_chunks(self) -> None:
        n_bytes = math.prod(self._array.chunks) * self._array.dtype.itemsize
        if n_bytes > LARGEST_CHUNK_BYTES:
            raise InvalidDataError(
                f"{self._path}: its chunks hold {n_bytes} bytes each; rewrite it with chunks of 1024 x 1024 pixels."
            )

    def _pixel_size(self, image: _Multiscale) -> tuple[float | None, tuple[str, ...]]:
        """Return the pixel size where the scale has a unit: NGFF scales without one say nothing about micrometres."""
        if image.scale is None or len(image.scale) != len(self._axes):
            return None, ()
        y_unit, x_unit = image.units[-2:]
        if y_unit is None or x_unit is None:
            if image.scale[-2:] == (1.0, 1.0):
                return None, ()
            return None, (f"The scale {image.scale[-2:]} has no unit: not used as a pixel size.",)
        return settle_pixel_size(to_um(image.scale[-1], x_unit), to_um(image.scale[-2], y_unit))

    def _index(self, plane: Plane) -> tuple[int, ...]:
        wanted = {"T": plane.time, "C": plane.channel, "Z": plane.z}
        return tuple(wanted.get(axis, 0) for axis in self._axes[:-2])

    def notes_on(self, plane: Plane) -> tuple[str, ...]:
        """Tell how many chunks of a plane have no file; raise when none has one.

        Zarr leaves out chunks that hold only the fill value, so a hole may be black surface or a half-done copy.
        """
        n_missing, n_all = self._missing(plane)
        if n_missing == n_all:
            raise InvalidDataError(f"{self._path}: none of the {n_all} chunks of the plane exists; the store is empty.")
        if not n_missing:
            return ()
        fill = self._array.fill_value
        return (f"{n_missing} of {n_all} chunks have no file and read as {fill}: empty surface or an incomplete copy.",)

    def missing_percent(self, plane: Plane) -> float:
        """Return the share of a plane's chunks that have no file."""
        n_missing, n_all = self._missing(plane)
        return 100.0 * n_missing / n_all

    def _missing(self, plane: Plane) -> tuple[int, int]:
        """Return how many chunks of a plane have no file, and how many there should be."""
        shape = (*[1] * (len(self._axes) - 2), *self._array.shape[-2:])
        chunks = self._array.shards or self._array.chunks
        first = [i // c for i, c in zip(self._index(plane), chunks, strict=False)]
        grid = [range(math.ceil(n / c)) for n, c in zip(shape[-2:], chunks[-2:], strict=True)]
        keys = (self._array.metadata.encode_chunk_key((*first, *yx)) for yx in product(*grid))
        return sum(not (self._folder / key).exists() for key in keys), len(grid[0]) * len(grid[1])

    def read(self, plane: Plane, region: Region) -> NDArray[Any]:
        """Return a region of a plane; Zarr decodes the chunks that it touches."""
        rows, columns = slice(region.y0, region.y1), slice(region.x0, region.x1)
        index: tuple[int | slice[int, int], ...] = (*self._index(plane), rows, columns)
        return np.asarray(self._array[index])


def _attributes(folder: Path) -> Mapping[str, Any] | None:
    """Return the attributes of a group or array, None when the folder is neither; for v3 those under "ome"."""
    if (folder / "zarr.json").is_file():
        document = json.loads((folder / "zarr.json").read_bytes())
        attributes = document.get("attributes", {})
        merged: Mapping[str, Any] = {**attributes, **attributes.get("ome", {}), "node_type": document["node_type"]}
        return merged
    marks = [mark for mark in (".zarray", ".zgroup", ".zattrs") if (folder / mark).is_file()]
    if not marks:
        return None
    attributes = json.loads((folder / ".zattrs").read_bytes()) if ".zattrs" in marks else {}
    return {**attributes, "node_type": "array" if ".zarray" in marks else "group"}


def _find_scenes(path: Path) -> tuple[str | None, ...]:
    """Return where the images of a store lie: one, the series of bioformats2raw, or the fields of a plate."""
    attributes = _attributes(path)
    if attributes is None:
        raise InvalidDataError(f"{path}: the folder holds no Zarr metadata.")
    if attributes["node_type"] == "array" or "multiscales" in attributes:
        return (None,)
    if "plate" in attributes:
        return tuple(_plate_fields(path, attributes["plate"]))
    children = sorted((p for p in path.iterdir() if p.is_dir() and _attributes(p)), key=lambda p: (len(p.name), p.name))
    return tuple(p.name for p in children if p.name not in {"OME", "labels"})


def _plate_fields(path: Path, plate: Mapping[str, Any]) -> Iterator[str]:
    for well in plate["wells"]:
        attributes = _attributes(path / well["path"]) or {}
        for field in attributes.get("well", {}).get("images", ()):
            yield f"{well['path']}/{field['path']}"


def _describe_image(path: Path, at: str) -> _Multiscale:
    attributes = _attributes(path / at)
    if attributes is None:
        raise InvalidDataError(f"{path}: {at} is listed but not there; the store is incomplete.")
    if attributes["node_type"] == "array":
        return _Multiscale(at, None, None, (), ())
    if not attributes.get("multiscales"):
        raise InvalidDataError(f"{path}: the group {at or '/'} is no OME-Zarr image: it has no multiscales.")
    multiscale = attributes["multiscales"][0]
    finest = multiscale["datasets"][0]
    axes = [{"name": a} if isinstance(a, str) else a for a in multiscale.get("axes", ())] or [
        {"name": a} for a in "tczyx"
    ]
    transforms = [*finest.get("coordinateTransformations", ()), *multiscale.get("coordinateTransformations", ())]
    scales = [np.array(t["scale"], float) for t in transforms if t.get("type") == "scale"]
    labels = [c.get("label") for c in attributes.get("omero", {}).get("channels", ())]
    return _Multiscale(
        at=f"{at}/{finest['path']}" if at else finest["path"],
        axes="".join(NGFF_AXES.get(str(a["name"]).lower(), "?") for a in axes),
        scale=tuple(map(float, math.prod(scales))) if scales else None,  # type: ignore[arg-type]
        units=tuple(a.get("unit") for a in axes),
        channels=tuple(Channel(label) for label in labels),
    )


def _guess_axes(n_dimensions: int) -> str:
    """Return the axes of an array that does not name them: OME order from the right."""
    return {2: "YX", 3: "TYX", 4: "CZYX", 5: "TCZYX"}.get(n_dimensions, "?" * n_dimensions)
