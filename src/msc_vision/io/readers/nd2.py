"""Nikon ND2: uncompressed frames are mapped, so a region touches only its rows."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import nd2
import numpy as np
from numpy.typing import NDArray

from msc_vision.errors import InvalidDataError
from msc_vision.io.readers.base import Channel, Contents, Plane, Reader, check_shape, pick_scene, settle_pixel_size
from msc_vision.records import Region

FRAME_AXES = frozenset("CYXS")
JULIAN_DAY_OF_1970 = 2_440_587.5
TRANSMITTED_FLAGS = frozenset({"brightfield", "phaseContrast", "diContrast", "NAMC"})


class Nd2Reader(Reader):
    """One position of an ND2 file."""

    format: ClassVar[str] = "ND2"

    def __init__(self, path: Path, scene: int | str | None) -> None:
        self._path = path
        self._file = nd2.ND2File(path)
        try:
            self.contents = self._describe(scene)
        except BaseException:
            self._file.close()
            raise

    def _describe(self, scene: int | str | None) -> Contents:
        file, sizes = self._file, dict(self._file.sizes)
        if not {"Y", "X"} <= set(sizes):
            raise InvalidDataError(f"{self._path}: its axes are {sizes}: no Y and X.")
        self._loops = {axis: size for axis, size in sizes.items() if axis not in FRAME_AXES}
        names = _position_names(file, sizes.get("P", 1))
        self._position, notes = pick_scene(self._path, names, scene)
        notes += tuple(
            f"Axis {axis} has {size} entries; the first is read."
            for axis, size in self._loops.items()
            if axis not in "TZP" and size > 1
        )
        size, more = _pixel_size(file)
        bits = int(file.attributes.bitsPerComponentSignificant)
        dtype = np.dtype(file.dtype)
        is_saturable = dtype == np.uint8 or (dtype == np.uint16 and 8 <= bits < 16)
        return Contents(
            shape=check_shape(self._path, sizes["Y"], sizes["X"]),
            dtype=dtype,
            is_colour=sizes.get("S", 1) in {3, 4},
            n_time=sizes.get("T", 1),
            n_z=sizes.get("Z", 1),
            channels=_channels(file, sizes.get("C", 1)),
            n_scenes=len(names),
            scene=self._position,
            scene_name=names[self._position],
            saturation_level=float(2**bits - 1) if is_saturable else None,
            pixel_size_um=size,
            notes=(*notes, *more),
            **_acquisition(file, self._frame_index(Plane())),
        )

    def _frame_index(self, plane: Plane) -> int:
        wanted = {"T": plane.time, "Z": plane.z, "P": self._position}
        if not self._loops:
            return 0
        return int(np.ravel_multi_index([wanted.get(a, 0) for a in self._loops], tuple(self._loops.values())))

    def read(self, plane: Plane, region: Region) -> NDArray[Any]:
        """Return a region of a plane."""
        frame = self._file.read_frame(self._frame_index(plane))
        n_channels, is_colour = len(self.contents.channels), self.contents.is_colour
        if frame.ndim != 2 + (n_channels > 1) + is_colour:  # nd2 drops axes of one pixel
            frame = frame.reshape((*[n_channels] * (n_channels > 1), *self.contents.shape, *[-1] * is_colour))
        if n_channels > 1:
            frame = frame[plane.channel]
        return np.array(frame[region.y0 : region.y1, region.x0 : region.x1])  # a copy: the map ends with the file

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _position_names(file: nd2.ND2File, n: int) -> tuple[str | None, ...]:
    for loop in file.experiment:
        if loop.type == "XYPosLoop" and len(loop.parameters.points) == n:
            return tuple(point.name or None for point in loop.parameters.points)
    return (None,) * n


def _pixel_size(file: nd2.ND2File) -> tuple[float | None, tuple[str, ...]]:
    """Return the calibration, None when the file says that it has none (nd2 then reports 1)."""
    channels = getattr(file.metadata, "channels", None) or ()
    if not channels or not all(channels[0].volume.axesCalibrated[:2]):
        return None, ()
    x_um, y_um, _ = channels[0].volume.axesCalibration
    return settle_pixel_size(x_um, y_um)


def _channels(file: nd2.ND2File, n: int) -> tuple[Channel, ...]:
    found = getattr(file.metadata, "channels", None) or ()
    if len(found) != n:
        return (Channel(),) * n
    return tuple(Channel(c.channel.name or None, _is_fluorescence(c.microscope.modalityFlags)) for c in found)


def _is_fluorescence(flags: list[str]) -> bool | None:
    if TRANSMITTED_FLAGS & set(flags):
        return False
    return True if "fluorescence" in flags else None


def _acquisition(file: nd2.ND2File, frame: int) -> dict[str, Any]:
    """Return time, stage, objective and modality of a frame, as far as the file tells."""
    described = file.frame_metadata(frame)
    channels = getattr(described, "channels", None) or ()
    if not channels:
        return {}
    first = channels[0]
    day = first.time.absoluteJulianDayNumber - JULIAN_DAY_OF_1970
    taken = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day) if day > 0 else None
    x_um, y_um, z_um = first.position.stagePositionUm
    flags = {flag for c in channels for flag in c.microscope.modalityFlags} & TRANSMITTED_FLAGS
    modes = sorted(flags - {"brightfield"}) or sorted(flags)  # contrast methods are flagged beside their bright light
    return {
        "acquired_at": taken.isoformat(timespec="seconds") if taken else None,
        "objective": first.microscope.objectiveName or None,
        "modality": modes[0] if len(modes) == 1 else None,
        "x_um": float(x_um),
        "y_um": float(y_um),
        "z_um": float(z_um),
    }
