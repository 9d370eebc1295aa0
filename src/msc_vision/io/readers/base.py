"""What every reader of an image container offers, and the words they share.

To add a reader, copy this: subclass `Reader`, fill `contents` when opened (headers, no pixels), decode no more than the
region asked for in `read`, and add a line to `READERS` in `msc_vision.io.images`. A reader may raise anything its
library raises: `msc_vision.io.images` turns it into one `InvalidDataError` that names the file.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msc_vision.errors import InvalidArgumentError, InvalidDataError
from msc_vision.records import Region

MAX_SIDE_PX = 2_000_000  # a full 10-layer stack at 0.1 µm/px stays below; beyond it a header is damaged
MICROSCOPE_PIXEL_UM = (0.01, 100.0)  # what one pixel of any light microscope can measure

# Micrometres in one unit, by every spelling met in OME-XML, NGFF, ImageJ and vendor files.
UM_PER_UNIT = {
    **dict.fromkeys(("m", "meter", "metre"), 1e6),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 1e4),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1e3),
    **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "micrometer", "micrometre", "\\u00B5m", "\\u00b5m"), 1.0),
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-3),
    **dict.fromkeys(("Å", "angstrom"), 1e-4),
    **dict.fromkeys(("inch", "in", "inches"), 25_400.0),
}


@dataclass(frozen=True, slots=True)
class Plane:
    """One plane of a container: which time point, channel and z."""

    time: int = 0
    channel: int = 0
    z: int = 0


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel as the file describes it; ``is_fluorescence`` is None when the file does not say."""

    name: str | None = None
    is_fluorescence: bool | None = None


@dataclass(frozen=True, slots=True)
class Contents:
    """What a container holds, known before any pixel is decoded.

    ``dtype`` is that of the stored pixels; ``is_colour`` says that `Reader.read` returns (Y, X, 3 or 4).
    ``is_loose_stack`` marks pages whose axis the file does not name: they may be taken for time points or for z.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    is_colour: bool = False
    n_time: int = 1
    n_z: int = 1
    channels: tuple[Channel, ...] = (Channel(),)
    is_loose_stack: bool = False
    n_scenes: int = 1
    scene: int = 0
    scene_name: str | None = None
    saturation_level: float | None = None
    pixel_size_um: float | None = None
    acquired_at: str | None = None
    objective: str | None = None
    modality: str | None = None
    instrument: str | None = None
    y_um: float | None = None
    x_um: float | None = None
    z_um: float | None = None
    notes: tuple[str, ...] = field(default=())


class Reader(ABC):
    """An open image container: `contents` from its headers, pixels by plane and region."""

    format: ClassVar[str]
    contents: Contents

    @abstractmethod
    def __init__(self, path: Path, scene: int | str | None) -> None: ...

    @abstractmethod
    def read(self, plane: Plane, region: Region) -> NDArray[Any]:
        """Return the stored pixels of a region, (Y, X) or for colour (Y, X, S), decoding only what it touches."""

    def notes_on(self, plane: Plane) -> tuple[str, ...]:
        """Tell what is peculiar to one plane, known without decoding it."""
        del plane
        return ()

    def missing_percent(self, plane: Plane) -> float:
        """Return the share of a plane's stored pieces that do not exist: 0 for a container in one file."""
        del plane
        return 0.0

    def close(self) -> None:  # noqa: B027  (most containers hold nothing open)
        """Release the file."""


def pick_scene(path: Path, names: tuple[str | None, ...], scene: int | str | None) -> tuple[int, tuple[str, ...]]:
    """Return the index of the scene asked for (the first by default) and a note when there was a choice."""
    if not names:
        raise InvalidDataError(f"{path}: the file holds no image.")
    listed = ", ".join(f"{i}: {name}" if name else str(i) for i, name in enumerate(names[:8]))
    listed += ", …" if len(names) > 8 else ""
    if isinstance(scene, str) and scene in names:
        index = names.index(scene)
    elif isinstance(scene, int) and 0 <= scene < len(names):
        index = scene
    elif scene is None:
        index = 0
    else:
        raise InvalidArgumentError(f"{path}: scene {scene!r} asked for, but the file holds {len(names)} ({listed}).")
    if len(names) == 1:
        return index, ()
    why = "asked for" if scene is not None else "the first is taken"
    return index, (f"The file holds {len(names)} scenes ({listed}); scene {index} is read: {why}.",)


def to_um(value: object, unit: str | None) -> float | None:
    """Return a length in micrometres, or None when value or unit cannot be understood."""
    factor = UM_PER_UNIT.get((unit or "").strip()) or UM_PER_UNIT.get((unit or "").strip().lower())
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number * factor if factor and np.isfinite(number) else None


def settle_pixel_size(x_um: float | None, y_um: float | None) -> tuple[float | None, tuple[str, ...]]:
    """Return one pixel size for square pixels, and a note when the file's statement cannot be used.

    Sizes outside 0.01-100 µm are no microscope's; pixels that are not square have no single size. Both leave the size
    unknown with a note, so that the manifest can state it.
    """
    x_um, y_um = (x_um if x_um is not None else y_um), (y_um if y_um is not None else x_um)
    if x_um is None or y_um is None:
        return None, ()
    low, high = MICROSCOPE_PIXEL_UM
    if not (low <= x_um <= high and low <= y_um <= high):
        return None, (f"The file states a pixel size of {x_um:g} x {y_um:g} µm, which no microscope has: not used.",)
    if abs(x_um - y_um) > 0.005 * max(x_um, y_um):
        return None, (f"The file states pixels that are not square ({x_um:g} x {y_um:g} µm): no pixel size is used.",)
    return float(f"{x_um:.9g}"), ()


def check_shape(path: Path, height: int, width: int) -> tuple[int, int]:
    """Return the shape if an image can have it; zero-sized or absurd shapes are damage, said in one line."""
    if height < 1 or width < 1:
        raise InvalidDataError(f"{path}: the image is zero-sized ({height} x {width} pixels).")
    if max(height, width) > MAX_SIDE_PX:
        raise InvalidDataError(f"{path}: the header claims {height} x {width} pixels; it is damaged.")
    return int(height), int(width)
