"""Leica LIF: pixels lie uncompressed in the file and are mapped, so a region touches only its rows."""

from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

import liffile
import numpy as np
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

DESCRIPTION = "./Data/Image/ImageDescription"
DIM_X, DIM_Y = "1", "2"


class LifReader(Reader):
    """One image of a LIF file; each tile of a tile scan counts as an image of its own."""

    format: ClassVar[str] = "LIF"

    def __init__(self, path: Path, scene: int | str | None) -> None:
        self._path = path
        self._lock = Lock()  # frames are read by seeking
        self._lif = liffile.LifFile(path, squeeze=False)
        try:
            self.contents = self._describe(scene)
        except BaseException:
            self._lif.close()
            raise

    def _describe(self, scene: int | str | None) -> Contents:
        tiles = [(image, m) for image in self._lif.images for m in range(image.sizes.get("M", 1))]
        names = tuple(f"{i.path} tile {m}" if i.sizes.get("M", 1) > 1 else i.path for i, m in tiles)
        index, notes = pick_scene(self._path, names, scene)
        self._image: Any = tiles[index][0]
        self._tile = tiles[index][1]
        sizes, xml = dict(self._image.sizes), self._image.xml_element
        if not {"Y", "X"} <= set(sizes):
            raise InvalidDataError(f"{self._path}: image {names[index]} has axes {sizes}: no Y and X.")
        self._check_extent(names[index])
        others = [a for a, n in sizes.items() if a not in "TCZMYXS" and n > 1]
        notes += tuple(f"Axis {axis} has {sizes[axis]} entries; the first is read." for axis in others)
        size, more = _pixel_size(xml)
        dtype = np.dtype(self._image.dtype)
        return Contents(
            shape=check_shape(self._path, sizes["Y"], sizes["X"]),
            dtype=dtype,
            is_colour=sizes.get("S", 1) in {3, 4},
            n_time=sizes.get("T", 1),
            n_z=sizes.get("Z", 1),
            channels=_channels(xml, sizes.get("C", 1)),
            n_scenes=len(names),
            scene=index,
            scene_name=names[index],
            saturation_level=_saturation(xml, dtype),
            pixel_size_um=size,
            acquired_at=_acquired_at(self._image),
            notes=(*notes, *more),
            **_setting(xml),
            **self._stage(),
        )

    def _check_extent(self, name: str) -> None:
        block, n_bytes = self._image.memory_block, self._path.stat().st_size
        if block.offset + self._image.nbytes > n_bytes or block.size < self._image.nbytes:
            raise InvalidDataError(
                f"{self._path}: LIF is truncated or damaged: image {name} needs {self._image.nbytes} bytes, "
                f"the file has {n_bytes}."
            )

    def read(self, plane: Plane, region: Region) -> NDArray[Any]:
        """Return a region of a plane."""
        wanted = {"T": plane.time, "C": plane.channel, "Z": plane.z, "M": self._tile}
        rows, columns = slice(region.y0, region.y1), slice(region.x0, region.x1)
        if self.contents.is_colour:  # liffile turns BGR round only in frames
            present = {axis: i for axis, i in wanted.items() if axis in self._image.sizes}
            with self._lock:
                frame: NDArray[Any] = self._image.frame(**present)
            return frame[rows, columns]
        mapped = self._image.asarray(out="memmap")
        where = {"Y": rows, "X": columns}
        index = tuple(where.get(axis, wanted.get(axis, 0)) for axis in self._image.dims)
        return np.array(mapped[index])  # a copy: the map ends here

    def _stage(self) -> dict[str, Any]:
        """Return the stage position of a tile, which LIF states in metres."""
        scan = self._image.tilescan
        if scan is None or self._tile >= len(scan):
            return {}
        return {f"{axis}_um": float(scan[f"pos_{axis}"][self._tile]) * 1e6 for axis in "zyx"}

    def close(self) -> None:
        """Close the file."""
        self._lif.close()


def _pixel_size(xml: Any) -> tuple[float | None, tuple[str, ...]]:
    """Return the pixel size: LIF states the length from the first to the last pixel centre."""
    sizes: dict[str, float | None] = {}
    for element in xml.findall(f"{DESCRIPTION}/Dimensions/DimensionDescription"):
        n = int(element.get("NumberOfElements", "1"))
        if n > 1:
            length = to_um(element.get("Length"), element.get("Unit"))
            sizes[element.get("DimID", "")] = abs(length) / (n - 1) if length else None
    return settle_pixel_size(sizes.get(DIM_X), sizes.get(DIM_Y))


def _channels(xml: Any, n: int) -> tuple[Channel, ...]:
    """Return channels by their contrasting method where stated, else by the colour of their lookup table."""
    infos = xml.findall(".//WideFieldChannelInfo")
    if len(infos) == n:
        return tuple(_channel(i.get("ContrastingMethodName", ""), i.get("UserDefName", "")) for i in infos)
    described = xml.findall(f"{DESCRIPTION}/Channels/ChannelDescription")
    if len(described) == n:
        return tuple(Channel(d.get("LUTName") or None) for d in described)
    return (Channel(),) * n


def _channel(method: str, name: str) -> Channel:
    if method.upper().startswith("TL"):
        return Channel(name or method, is_fluorescence=False)
    return Channel(name or method or None, is_fluorescence=True if method.upper().startswith("FLUO") else None)


def _saturation(xml: Any, dtype: np.dtype[Any]) -> float | None:
    if dtype == np.uint8:
        return 255.0
    bits = {d.get("Resolution") for d in xml.findall(f"{DESCRIPTION}/Channels/ChannelDescription")}
    stated = bits.pop() if len(bits) == 1 else None
    return float(2 ** int(stated) - 1) if dtype == np.uint16 and stated and 8 <= int(stated) < 16 else None


def _acquired_at(image: Any) -> str | None:
    stamps = image.timestamps
    if stamps is None or not len(stamps):
        return None
    return f"{np.datetime_as_string(stamps[0], unit='s')}+00:00"


def _setting(xml: Any) -> dict[str, Any]:
    for tag in ("ATLCameraSettingDefinition", "ATLConfocalSettingDefinition"):
        if (found := next(iter(xml.iter(tag)), None)) is not None:
            return {"objective": found.get("ObjectiveName"), "instrument": found.get("SystemTypeName")}
    return {}
