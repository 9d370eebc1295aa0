"""Pictures of fields: read off the main thread, kept as long as they fit, and read ahead. No Qt here.

A picture that is asked for again, or that was read ahead, is there at once.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.errors import InvalidDataError
from msc_vision.imaging.normalise import intensity_scale, to_working
from msc_vision.io.images import FieldImage, content_sha256, open_image
from msc_vision.morphology.orientation import OrderSettings, OrientationMap, orientation_map
from msc_vision.records import FieldScore, ImageInfo, PlaneChoice, Region
from msc_vision.review.masks import FieldMasks
from napari_msc_vision.work import Task, Work

LIMIT_BYTES = 64 * 2**20
"""Some five pictures of 2048 x 2048 pixels: the open one, its neighbours, and those before."""
WHOLE_PX = 4096 * 4096
"""Pictures of up to this many pixels are read whole; of larger ones the finest levels are read as they are seen."""
SMALLEST_LEVEL_PX = 512
CONTRAST_PERCENTILES = (0.2, 99.8)
LANE, AHEAD_LANE = "pictures", "pictures ahead"
_STRIP_ROWS = 1024
_CHUNK_PX = 1024
_LARGEST_KEPT_PX = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """The picture of one field in several sizes.

    Attributes
    ----------
    levels : tuple of (Y, X) array
        The finest first; each half the size of the one before. Arrays that read themselves where the field is large.
    limits : (float, float)
        Grey values shown as black and as white.
    info : ImageInfo
    n_bytes : int
        That it keeps in memory.
    """

    levels: tuple[Any, ...]
    limits: tuple[float, float]
    info: ImageInfo
    n_bytes: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in native pixels."""
        return self.info.shape


def load_picture(path: Path, plane: PlaneChoice) -> Picture:
    """Return the picture of a field.

    Raises
    ------
    InvalidDataError
        If it is missing or cannot be read.
    InvalidArgumentError
        If the file has no such plane.
    """
    with open_image(path, plane) as image:
        info = image.info
        if math.prod(info.shape) <= WHOLE_PX:
            levels = _pyramid(image.read())
            return Picture(levels, contrast_limits(levels[-1]), info, sum(level.nbytes for level in levels))
        steps = math.ceil(math.log2(max(info.shape) / _LARGEST_KEPT_PX))
        coarse = _pyramid(_reduced(image, 2**steps))
    exact = PlaneChoice(info.time, info.channel, info.z, plane.scene if plane.scene is not None else info.scene)
    fine = tuple(_lazy(path, exact, info, 2**level) for level in range(steps))
    return Picture((*fine, *coarse), contrast_limits(coarse[-1]), info, sum(level.nbytes for level in coarse))


def check_images(scores: Sequence[FieldScore], folder: Path) -> None:
    """Check that the images of some fields lie in a folder, by their sha256.

    Raises
    ------
    InvalidDataError
        If one does not, or is another picture.
    """
    for score in scores:
        path = folder / score.path
        if Path(score.path).is_absolute():
            raise InvalidDataError(f"The manifest of this run names whole paths: put the images back to {path.parent}.")
        if not path.exists():
            raise InvalidDataError(f"{folder} does not hold {path.relative_to(folder)}: choose the folder that does.")
        if content_sha256(path) != score.image_sha256:
            raise InvalidDataError(f"{path} is not the picture that the run was made from; choose another folder.")


def contrast_limits(image: NDArray[Any]) -> tuple[float, float]:
    """Return the grey values shown as black and as white; never the same one twice."""
    known = image[np.isfinite(image)] if image.dtype.kind == "f" else image
    if known.size == 0:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(known, CONTRAST_PERCENTILES))
    return low, high if high > low else low + 1.0


def _pyramid(image: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    levels = [image]
    while max(levels[-1].shape) > SMALLEST_LEVEL_PX:
        levels.append(_halved(levels[-1]))
    return tuple(levels)


def _halved(image: NDArray[Any]) -> NDArray[Any]:
    """Return an image of half the size, each pixel the mean of four; a rest at the edge counts as a pixel."""
    height, width = image.shape
    size = (max(1, (width + 1) // 2), max(1, (height + 1) // 2))
    reduced: NDArray[Any] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return reduced


def _reduced(image: FieldImage, factor: int) -> NDArray[Any]:
    """Return a large field reduced by a power of two, reading strip by strip."""
    height, width = image.info.shape
    strips = []
    rows = max(_STRIP_ROWS // factor, 1) * factor
    for y0 in range(0, height, rows):
        strip = image.read(Region(y0, min(y0 + rows, height), 0, width))
        size = (-(-width // factor), -(-strip.shape[0] // factor))
        strips.append(cv2.resize(strip, size, interpolation=cv2.INTER_AREA))
    return np.concatenate(strips)


def _lazy(path: Path, plane: PlaneChoice, info: ImageInfo, factor: int) -> Any:
    """Return an array of a level of a large field whose blocks are read when they are looked at."""
    import dask.array as da

    shape = tuple(-(-side // factor) for side in info.shape)

    def block(block_info: Any = None) -> NDArray[Any]:
        (y0, y1), (x0, x1) = block_info[None]["array-location"]
        region = Region(y0 * factor, min(y1 * factor, info.shape[0]), x0 * factor, min(x1 * factor, info.shape[1]))
        with open_image(path, plane) as image:
            pixels = image.read(region)
        return pixels if factor == 1 else cv2.resize(pixels, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)

    chunks = tuple(tuple(min(_CHUNK_PX, side - at) for at in range(0, side, _CHUNK_PX)) for side in shape)
    return da.map_blocks(  # type: ignore[no-untyped-call]
        block, chunks=chunks, dtype=np.dtype(info.dtype), meta=np.empty((0, 0), info.dtype)
    )


def directions(picture: Picture, masks: FieldMasks, factor: int, pixel_size_um: float) -> OrientationMap:
    """Return which way the cells of a field lie, for drawing; takes tens of milliseconds for 2048 x 2048 pixels."""
    native = np.asarray(picture.levels[0])
    scale = intensity_scale(native.dtype, (float(native.min()), float(native.max())))
    height, width = masks.shape
    working = to_working(native, factor, scale)[:height, :width]
    covered = (masks.foreground & masks.judgeable).view(np.uint8)
    return orientation_map(np.ascontiguousarray(working), covered, pixel_size_um * factor, OrderSettings())


class Pictures:
    """The pictures of one run, by key: read when asked for, kept while they fit.

    Called on the main thread only.

    Parameters
    ----------
    work : Work
    locate : callable
        From the key of a field to the file of its picture and the plane in it.
    limit_bytes : int
        What is kept in memory at most; the picture asked for last is always kept.
    """

    def __init__(
        self, work: Work, locate: Callable[[str], tuple[Path, PlaneChoice]], limit_bytes: int = LIMIT_BYTES
    ) -> None:
        self._work, self._locate, self._limit_bytes = work, locate, limit_bytes
        self._kept: OrderedDict[str, Picture] = OrderedDict()
        self._ahead: dict[str, Task] = {}

    @property
    def n_bytes(self) -> int:
        """What is kept in memory."""
        return sum(one.n_bytes for one in self._kept.values())

    def get(self, key: str) -> Picture | None:
        """Return a picture that is there already."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def fetch(self, key: str, done: Callable[[Picture], object], failed: Callable[[Exception], object]) -> Task | None:
        """Hand over a picture: at once if it is there, else when it was read."""
        self.stop_ahead()
        known = self.get(key)
        if known is not None:
            done(known)
            return None

        def keep(picture: Picture) -> None:
            self._keep(key, picture)
            done(picture)

        return self._submit(key, keep, failed, LANE)

    def prefetch(self, keys: Iterable[str]) -> None:
        """Read pictures ahead, in this order, while nothing else is asked for; those of earlier calls are given up."""
        self.stop_ahead()
        for key in keys:
            if key not in self._kept:

                def keep(picture: Picture, key: str = key) -> None:
                    self._ahead.pop(key, None)
                    self._keep(key, picture)

                def forget(_: Exception, key: str = key) -> None:
                    self._ahead.pop(key, None)  # it is told when the field is opened

                task = self._submit(key, keep, forget, AHEAD_LANE)
                if task is not None and key not in self._kept:
                    self._ahead[key] = task

    def stop_ahead(self) -> None:
        """Give up reading ahead what was not begun."""
        for task in self._ahead.values():
            task.cancel()
        self._ahead.clear()

    def clear(self) -> None:
        """Forget every picture, as when the images lie elsewhere now."""
        self.stop_ahead()
        self._kept.clear()

    def _submit(
        self, key: str, done: Callable[[Picture], object], failed: Callable[[Exception], object], lane: str
    ) -> Task | None:
        try:
            path, plane = self._locate(key)
        except (OSError, ValueError) as err:
            failed(err)
            return None
        return self._work.submit(lambda: load_picture(path, plane), done, failed, lane=lane)

    def _keep(self, key: str, picture: Picture) -> None:
        self._kept[key] = picture
        self._kept.move_to_end(key)
        while self.n_bytes > self._limit_bytes and len(self._kept) > 1:
            self._kept.popitem(last=False)
