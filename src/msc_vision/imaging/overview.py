"""One bounded picture of the whole field, and figures per block of it: all that is ever decided about a whole field.

Everything that needs the whole field (illumination, noise, thresholds, can it be judged?) is read off an `Overview`;
it is built strip by strip, in exact integer steps, so it does not depend on how the field is later cut into tiles.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.imaging.normalise import FULL_SCALE, IntensityScale, bin_mean

BLOCK_PX = 64
PIECE_PX = 32 * BLOCK_PX  # columns whose statistics are computed at a time
_IMMERKAER = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_IMMERKAER_GAIN = float(np.sqrt(np.pi / 2) / 6)  # doi:10.1006/cviu.1996.0060, equation 3: mean |response| to sd


@dataclass(frozen=True)
class Overview:
    """A whole field at a bounded size, and statistics per block at working resolution.

    Attributes
    ----------
    image : (Yo, Xo) uint16 array
        The field averaged by ``factor``: 8-bit images spread by 256, 16-bit as they are, floats to 0..65535.
    factor, working_factor : int
        Native pixels a side of one overview pixel and of one working pixel.
    saturation_level : float
        In units of ``image``.
    saturated_percent, dark_percent : float
        Share of native pixels at or above the saturation level, and at the lowest representable value.
    block_mean, block_sd, block_fine : (By, Bx) float64 arrays
        Mean, standard deviation and pixel-to-pixel noise (Immerkaer 1996) of each block of ``block_px`` working pixels.
    flat_percent : float
        Share of working pixels without any pixel-to-pixel noise: where it is large, compression or coarse grey levels
        removed the camera's noise.
    """

    image: NDArray[np.uint16]
    factor: int
    working_factor: int
    native_shape: tuple[int, int]
    pixel_size_um: float | None
    saturation_level: float
    saturated_percent: float
    dark_percent: float
    block_px: int
    block_mean: NDArray[np.float64]
    block_sd: NDArray[np.float64]
    block_fine: NDArray[np.float64]
    flat_percent: float = 0.0

    @property
    def working_shape(self) -> tuple[int, int]:
        """Height and width of the field in working pixels."""
        height, width = self.native_shape
        return -(-height // self.working_factor), -(-width // self.working_factor)

    @property
    def working_pixel_size_um(self) -> float | None:
        """Side of a working pixel, None when the native one is unknown."""
        return None if self.pixel_size_um is None else self.pixel_size_um * self.working_factor


@dataclass(frozen=True)
class StripStatistics:
    """What one strip of a field adds to its overview."""

    image: NDArray[np.uint16]
    n_saturated: int
    n_dark: int
    n_native: int
    block_mean: NDArray[np.float64]
    block_sd: NDArray[np.float64]
    block_fine: NDArray[np.float64]
    n_flat: int


def whole_blocks(overview: Overview, judgeable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which blocks are judgeable as a whole and not beside masked ones; milder where few are; never none."""
    rows, columns = overview.block_mean.shape
    if judgeable.all():
        return np.ones((rows, columns), np.bool_)
    share = cv2.resize(judgeable.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    share = share.reshape(rows, columns)
    whole = share >= 0.99
    inner = cv2.erode(whole.astype(np.uint8), np.ones((3, 3), np.uint8)).reshape(rows, columns) > 0
    for chosen in (inner, whole):
        if chosen.mean() >= 0.1:
            return chosen
    return share >= min(0.5, float(share.max()))


def overview_factor(working_shape: tuple[int, int], overview_px: int) -> int:
    """Return how many working pixels a side make one overview pixel, so that no side exceeds ``overview_px``.

    A power of two, so that blocks and overview pixels begin on common rows however large the field.
    """
    return 1 << (-(-max(working_shape) // overview_px) - 1).bit_length()


def strip_statistics(
    native: NDArray[Any], working: NDArray[np.uint16], *, factor: int, saturation_level: float
) -> StripStatistics:
    """Return what a strip (all columns, whole blocks of rows except at the lower edge) adds to the overview.

    Parameters
    ----------
    native : (Y, X) array
        The strip's native pixels, for counting extreme values.
    working : (Yw, Xw) uint16 array
        The same strip at working resolution.
    factor : int
        Working pixels a side of one overview pixel.
    saturation_level : float
        In native grey values.
    """
    pieces = [block_statistics(working[:, x : x + PIECE_PX]) for x in range(0, working.shape[1], PIECE_PX)]
    mean, sd, fine = (np.hstack([piece[i] for piece in pieces]) for i in range(3))
    return StripStatistics(
        image=bin_mean(working, factor),
        n_saturated=_count_at_or_above(native, saturation_level),
        n_dark=native.size - cv2.countNonZero(native),
        n_native=native.size,
        block_mean=mean,
        block_sd=sd,
        block_fine=fine,
        n_flat=sum(piece[3] for piece in pieces),
    )


def _count_at_or_above(native: NDArray[Any], level: float) -> int:
    """Count pixels at or above a grey value."""
    return int(np.count_nonzero(native >= level))


def block_statistics(
    working: NDArray[np.uint16], block_px: int = BLOCK_PX
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], int]:
    """Return mean, standard deviation and fine-scale noise of each block, and how many pixels have no noise at all.

    A partial block at the lower or right edge is completed by mirroring it.
    """
    rows, columns = (_completed(n, block_px) for n in working.shape)
    whole = working if (rows.size, columns.size) == working.shape else working[np.ix_(rows, columns)]
    n_blocks = whole.size // block_px**2
    size = (whole.shape[1] // block_px, whole.shape[0] // block_px)
    values = whole.astype(np.float32)
    mean = _block_mean(values, size)
    centred = cv2.subtract(values, cv2.resize(mean, whole.shape[::-1], interpolation=cv2.INTER_NEAREST))
    variance = _block_mean(cv2.multiply(centred, centred), size)
    fine = cv2.filter2D(values, cv2.CV_32F, _IMMERKAER, borderType=cv2.BORDER_REFLECT_101)
    for axis in (fine, fine.T):  # what would depend on a block's neighbours counts for neither
        axis[::block_px], axis[block_px - 1 :: block_px] = 0.0, 0.0
    n_flat = (block_px - 2) ** 2 * n_blocks - cv2.countNonZero(fine)
    fine_mean = _block_mean(cv2.absdiff(fine, (0.0, 0, 0, 0)), size) * (block_px / (block_px - 2)) ** 2
    sd: NDArray[np.float64] = np.sqrt(variance.astype(np.float64))
    return mean.astype(np.float64), sd, fine_mean.astype(np.float64) * _IMMERKAER_GAIN, n_flat


def _completed(n: int, block_px: int) -> NDArray[np.intp]:
    """Return the indices 0 to ``n``, the last block completed by mirroring what there is of it."""
    start = n - n % block_px
    tail = np.arange(start, n)
    if not tail.size:
        return np.arange(n)
    return np.concatenate([np.arange(start), np.pad(tail, (0, block_px - tail.size), mode="symmetric")])


def _block_mean(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    return cv2.resize(values, size, interpolation=cv2.INTER_AREA)


@dataclass
class OverviewBuilder:
    """Puts an overview together from strips of ``strip_rows`` working rows each, given from top to bottom."""

    factor: int
    working_factor: int
    native_shape: tuple[int, int]
    pixel_size_um: float | None
    saturation_level: float | None
    scale: IntensityScale
    dtype: np.dtype[Any]
    strip_rows: int

    def __post_init__(self) -> None:
        self._strips: list[StripStatistics] = []
        self._native_limit = self._saturation()

    def _saturation(self) -> float:
        if self.saturation_level is not None:
            return self.saturation_level
        return float(np.iinfo(self.dtype).max) if self.dtype.kind == "u" else float("inf")

    def add(self, native: NDArray[np.generic], working: NDArray[np.uint16]) -> None:
        """Add the next strip, native and at working resolution."""
        self._strips.append(strip_statistics(native, working, factor=self.factor, saturation_level=self._native_limit))

    def build(self) -> Overview:
        """Return the overview of all strips added."""
        strips = self._strips
        n_native = sum(strip.n_native for strip in strips)
        n_working = n_native / self.working_factor**2
        level = (self._native_limit - self.scale.offset) * self.scale.gain
        return Overview(
            image=np.concatenate([strip.image for strip in strips]),
            factor=self.factor * self.working_factor,
            working_factor=self.working_factor,
            native_shape=self.native_shape,
            pixel_size_um=self.pixel_size_um,
            saturation_level=float(min(level, FULL_SCALE)),
            saturated_percent=100.0 * sum(strip.n_saturated for strip in strips) / n_native,
            dark_percent=100.0 * sum(strip.n_dark for strip in strips) / n_native,
            block_px=BLOCK_PX,
            block_mean=np.concatenate([strip.block_mean for strip in strips]),
            block_sd=np.concatenate([strip.block_sd for strip in strips]),
            block_fine=np.concatenate([strip.block_fine for strip in strips]),
            flat_percent=100.0 * sum(strip.n_flat for strip in strips) / n_working,
        )
