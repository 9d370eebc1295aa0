"""Zeiss CZI, by libCZI: only the subblocks that a region touches are decoded."""

from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from pylibCZIrw import czi  # type: ignore[import-untyped]

from msc_vision.errors import InvalidDataError
from msc_vision.io.readers.base import Channel, Contents, Plane, Reader, check_shape, pick_scene, settle_pixel_size
from msc_vision.records import Region

PIXEL_TYPES = {
    "Gray8": np.uint8,
    "Gray16": np.uint16,
    "Gray32Float": np.float32,
    "Bgr24": np.uint8,
    "Bgr48": np.uint16,
    "Bgr96Float": np.float32,
}


class CziReader(Reader):
    """One scene of a CZI file; tiles of a mosaic are composed."""

    format: ClassVar[str] = "CZI"

    def __init__(self, path: Path, scene: int | str | None) -> None:
        self._czi = czi.CziReader(str(path))
        try:
            self.contents = self._describe(path, scene)
        except BaseException:
            self._czi.close()
            raise

    def _describe(self, path: Path, scene: int | str | None) -> Contents:
        rectangles = dict(sorted(self._czi.scenes_bounding_rectangle_no_pyramid.items()))
        root = ElementTree.fromstring(self._czi.raw_metadata or "<none/>")
        names = _scene_names(root, list(rectangles)) or (None,)
        index, notes = pick_scene(path, names, scene)
        self._scene = list(rectangles)[index] if rectangles else None
        rectangle = rectangles[self._scene] if rectangles else self._czi.total_bounding_rectangle_no_pyramid
        self._left, self._top = rectangle.x, rectangle.y
        bounds = self._czi.total_bounding_box
        n_time, n_z, n_channels = (bounds.get(axis, (0, 1))[1] for axis in "TZC")
        types = set(self._czi.pixel_types.values())
        if len(types) != 1 or not types <= set(PIXEL_TYPES):
            raise InvalidDataError(f"{path}: pixels of type {', '.join(sorted(types))} cannot be read together.")
        pixel_type = types.pop()
        size, more = _pixel_size(root)
        more += tuple(
            f"Dimension {a} has {bounds[a][1]} entries; the first is read."
            for a in "RIHVB"
            if bounds.get(a, (0, 1))[1] > 1
        )
        dtype = np.dtype(PIXEL_TYPES[pixel_type])
        return Contents(
            shape=check_shape(path, rectangle.h, rectangle.w),
            dtype=dtype,
            is_colour=pixel_type.startswith("Bgr"),
            n_time=n_time,
            n_z=n_z,
            channels=_channels(root, n_channels),
            n_scenes=len(names),
            scene=index,
            scene_name=names[index],
            saturation_level=_saturation(root, dtype),
            pixel_size_um=size,
            acquired_at=_text(root, ".//Information/Image/AcquisitionDateAndTime"),
            objective=_objective(root),
            modality=_modality(root),
            instrument=_attribute(root, ".//Information/Instrument/Microscopes/Microscope", "Name"),
            notes=(*notes, *more),
            **_stage(root, index),
        )

    def read(self, plane: Plane, region: Region) -> NDArray[Any]:
        """Return a region of a plane of the scene."""
        height, width = region.shape
        pixels = self._czi.read(
            roi=(self._left + region.x0, self._top + region.y0, width, height),
            plane={"T": plane.time, "C": plane.channel, "Z": plane.z},
            scene=self._scene,
        )
        return pixels[..., ::-1] if self.contents.is_colour else pixels[..., 0]

    def close(self) -> None:
        """Close the file."""
        self._czi.close()


def _text(root: ElementTree.Element, at: str) -> str | None:
    found = root.find(at)
    return (found.text or "").strip() or None if found is not None else None


def _attribute(root: ElementTree.Element, at: str, name: str) -> str | None:
    found = root.find(at)
    return found.get(name) if found is not None else None


def _scene_names(root: ElementTree.Element, numbers: list[int]) -> tuple[str | None, ...]:
    named = {s.get("Index"): s.get("Name") for s in root.findall(".//Dimensions/S/Scenes/Scene")}
    return tuple(named.get(str(number)) for number in numbers)


def _pixel_size(root: ElementTree.Element) -> tuple[float | None, tuple[str, ...]]:
    """Return the pixel size; CZI states distances in metres."""
    metres = [_text(root, f".//Scaling/Items/Distance[@Id='{axis}']/Value") for axis in "XY"]
    x_um, y_um = (float(m) * 1e6 if m else None for m in metres)
    if x_um == y_um == 1e6:  # one metre per pixel: what writers put when nothing is known
        return None, ()
    return settle_pixel_size(x_um, y_um)


def _channels(root: ElementTree.Element, n_channels: int) -> tuple[Channel, ...]:
    found = root.findall(".//Information/Image/Dimensions/Channels/Channel")
    shown = [c.get("Name") for c in root.findall(".//DisplaySetting/Channels/Channel")]
    channels = []
    for i, element in enumerate(found):
        said = " ".join(_text(element, tag) or "" for tag in ("ContrastMethod", "IlluminationType", "AcquisitionMode"))
        name = element.get("Name") or (shown[i] if i < len(shown) else None)
        channels.append(Channel(name, _is_fluorescence(said.lower())))
    if len(channels) != n_channels and len(shown) == n_channels:
        channels = [Channel(name) for name in shown]
    return tuple(channels) if len(channels) == n_channels else (Channel(),) * n_channels


def _is_fluorescence(said: str) -> bool | None:
    if any(word in said for word in ("phase", "brightfield", "dic", "transmitted", "oblique")):
        return False
    return True if "fluorescence" in said else None


def _modality(root: ElementTree.Element) -> str | None:
    methods = {_text(c, "ContrastMethod") for c in root.findall(".//Information/Image/Dimensions/Channels/Channel")}
    methods -= {None, "Fluorescence"}
    return methods.pop() if len(methods) == 1 else None


def _saturation(root: ElementTree.Element, dtype: np.dtype[Any]) -> float | None:
    if dtype == np.uint8:
        return 255.0
    bits = _text(root, ".//Information/Image/ComponentBitCount") or ""
    return float(2 ** int(bits) - 1) if dtype == np.uint16 and bits.isdigit() and 8 <= int(bits) < 16 else None


def _objective(root: ElementTree.Element) -> str | None:
    found = root.findall(".//Information/Instrument/Objectives/Objective")
    return found[0].get("Name") if len(found) == 1 else None


def _stage(root: ElementTree.Element, index: int) -> dict[str, Any]:
    """Return the centre of the scene on the stage, which CZI states in micrometres."""
    scenes = root.findall(".//Dimensions/S/Scenes/Scene")
    said = _text(scenes[index], "CenterPosition") if index < len(scenes) else None
    parts = (said or "").split(",")
    try:
        x_um, y_um = (float(p) for p in parts)
    except ValueError:
        return {}
    return {"x_um": x_um, "y_um": y_um}
