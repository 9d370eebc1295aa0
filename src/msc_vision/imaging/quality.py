"""Can this field be judged? Focus, light, saturation and noise, each with its figure; a refusal is a full sentence.

A refused field never becomes a confluency. An empty surface is not a refusal: it shows grain and dust but nothing to
focus on, so its focus is flagged as unknown and the field is measured.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from msc_vision.errors import InvalidArgumentError
from msc_vision.flags import Flag
from msc_vision.imaging.overview import Overview, whole_blocks
from msc_vision.records import QualityReport

FOCUS_PX = 4  # focus is read at a quarter of working resolution: structure of 8 to 16 against 16 to 32 working pixels
_BINOMIAL = np.array([1, 4, 6, 4, 1], np.float32) / 16
_WHITE_GAIN = (
    0.212,
    0.037,
    0.015,
)  # sd of the three bands for white noise of sd 1 in working pixels (computed, 1024 x 1024)
_FLUCTUATION = 0.3  # p90 - p05 of block energies of pure noise, relative to its mean, 16 x 16 pixels a block


class QualitySettings(BaseModel):
    """Limits below or above which a field is refused or flagged, each with how it was chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    focus_ratio_min: float = Field(
        0.28,
        gt=0,
        description="Fine over coarse structure, below which a field is refused as blurred. Cells in focus read 1.3 to"
        " 5.1 (84 fields). Of 37 fields, blurred by a Gaussian of 4, 6, 8 and 12 working pixels, it refuses 3, 7, 24"
        " and 29; at 12, 7 more are too pale to tell. Aggregates five planes off, still outlined, read 0.31.",
    )
    focus_ratio_soft: float = Field(
        0.6, gt=0, description="Below this a field is scored and flagged `soft-focus`: fine processes are blurred away."
    )
    structure_min_percent: float = Field(
        0.2,
        gt=0,
        description="Contrast of coarse structure (percent of brightness) in the busiest tenth of the field, below"
        " which focus cannot be read and is flagged unknown. Bare plastic has 0.02 to 0.2, the palest cells 0.4.",
    )
    blob_min_percent: float = Field(
        0.3,
        gt=0,
        description="Contrast of still coarser structure (32 to 64 working pixels) at which a field without finer"
        " structure is judged for focus after all: cells blurred to blobs have 0.3 to 0.6, bare plastic under 0.15.",
    )
    structure_noise_ratio: float = Field(
        3.0, gt=0, description="The same contrast relative to what the camera's noise alone would show."
    )
    level_min_percent: float = Field(
        2.0,
        ge=0,
        description="Usual brightness, percent of saturation, below which a field without structure is taken for a"
        " closed shutter or a lamp that is off. With structure a dim field is measured.",
    )
    saturated_max_percent: float = Field(
        20.0,
        gt=0,
        le=100,
        description="Saturated share of the judgeable area above which a field is refused. Rounded bright cells and"
        " halos saturate up to 8 % of a usable field; in a white-out cells and surface can no longer be told apart.",
    )
    saturated_flag_percent: float = Field(2.0, gt=0, le=100, description="Share from which `saturated` is flagged.")
    noise_max_percent: float = Field(
        20.0,
        gt=0,
        description="Pixel noise, percent of brightness, above which a field is refused: cells in phase contrast differ"
        " from surface by 5 to 20 %, which such noise hides even after smoothing. Usable fields seen have 0.1 to 3 %.",
    )
    noise_flag_percent: float = Field(6.0, gt=0, description="Noise from which `noisy` is flagged.")
    vignetting_flag_percent: float = Field(
        40.0,
        gt=0,
        lt=100,
        description="Fall of light from the brightest to the darkest corner from which `uneven-light` is flagged. It is"
        " corrected while light is there; what is too dark is masked.",
    )
    judgeable_min_percent: float = Field(
        25.0,
        gt=0,
        le=100,
        description="Least judgeable share of a field: less than a quarter does not stand for the field.",
    )


@dataclass(frozen=True, slots=True)
class _Octaves:
    """Contrast of structure from 8, 16 and 32 working pixels on, noise taken off; and what noise alone would show."""

    percent: tuple[float, float, float]
    noise_percent: tuple[float, float, float]

    def focus_ratio(self, limits: QualitySettings) -> float | None:
        """Return fine over coarse structure, None if there is nothing to focus on.

        Where only the coarsest octave shows structure the ratio is squared, which makes it comparable: the same blur
        takes far less from an octave that is twice as coarse.
        """
        fine, middle, coarse = self.percent
        if self._shows(1, limits.structure_min_percent, limits):
            return fine / middle
        if self._shows(2, limits.blob_min_percent, limits):
            return (middle / coarse) ** 2
        return None

    def _shows(self, octave: int, least_percent: float, limits: QualitySettings) -> bool:
        """Tell whether an octave holds more than bare plastic and noise do."""
        return self.percent[octave] >= max(least_percent, limits.structure_noise_ratio * self.noise_percent[octave])


def judge_field(
    overview: Overview, judgeable: NDArray[np.bool_], settings: QualitySettings | None = None
) -> QualityReport:
    """Return whether a field can be judged, why not, and its figures.

    Parameters
    ----------
    overview : Overview
        The whole field.
    judgeable : (Yo, Xo) bool array
        False over frame, text, shadow and glare, see `msc_vision.imaging.artefacts.judgeable_mask`.
    settings : QualitySettings, optional
        Limits; the defaults if None.

    Returns
    -------
    QualityReport
        ``reason`` is a sentence with the figure and the limit that it broke, None if the field can be judged. Figures:
        ``judgeable_percent`` of the field's area; ``level_percent`` usual brightness of saturation;
        ``saturated_percent`` and ``dark_percent`` of all native pixels; ``saturated_judgeable_percent`` of the
        judgeable area; ``noise_percent`` and ``structure_percent`` of brightness; ``vignetting_percent`` fall of
        light to the darkest corner; ``focus_ratio`` (absent where focus cannot be read).

    Raises
    ------
    InvalidArgumentError
        If the mask is not boolean or has another shape than the overview.

    Notes
    -----
    Focus: energy of the 4th-order band (1 - G)² of two octaves in blocks of 64 working pixels, each the 90th less the
    5th percentile of the blocks so that noise and even texture cancel; blur removes the finer octave first, whatever
    the contrast, the density of cells or the brightness.
    """
    _check_mask(overview, judgeable)
    limits = settings or QualitySettings()
    judgeable_percent = 100 * float(np.count_nonzero(judgeable) / judgeable.size)
    figures = {
        "judgeable_percent": judgeable_percent,
        "saturated_percent": overview.saturated_percent,
        "dark_percent": overview.dark_percent,
    }
    if judgeable_percent < limits.judgeable_min_percent:
        return _refused(
            f"Only {judgeable_percent:.1f} % of the field can be judged; at least {limits.judgeable_min_percent:g} % is"
            " needed.",
            figures,
        )
    sample, is_even = _sample(overview, judgeable)
    level = _at(sample, 0.5)
    figures["level_percent"] = 100 * level / overview.saturation_level
    figures["saturated_judgeable_percent"] = _saturated_percent(overview, judgeable)
    blank = _blank_reason(figures, is_even, level, limits)
    if blank is not None:
        return _refused(blank, figures, "blank")
    return _judge_lit(overview, judgeable, level, figures, limits)


def _judge_lit(
    overview: Overview,
    judgeable: NDArray[np.bool_],
    level: float,
    figures: dict[str, float],
    limits: QualitySettings,
) -> QualityReport:
    """Judge a field that is neither masked away nor blank."""
    is_whole = whole_blocks(overview, judgeable)
    noise = _at(np.sort(overview.block_fine[is_whole]), 0.05)
    figures["noise_percent"] = 100 * noise / level
    figures["vignetting_percent"] = _vignetting_percent(overview.block_mean, is_whole)
    octaves = _octaves(overview, is_whole, level, noise)
    figures["structure_percent"] = octaves.percent[1]
    focus_ratio = octaves.focus_ratio(limits)
    if focus_ratio is not None:
        figures["focus_ratio"] = focus_ratio
    reason = _lit_reason(figures, limits)
    flags = _flags(figures, limits)
    return QualityReport(is_judgeable=reason is None, reason=reason, flags=flags, figures=figures)


def _lit_reason(figures: dict[str, float], limits: QualitySettings) -> str | None:
    """Return the first limit that a lit field breaks, as a sentence."""
    level, noise, focus = figures["level_percent"], figures["noise_percent"], figures.get("focus_ratio")
    if focus is None and level < limits.level_min_percent:
        return (
            f"The field is dark and shows nothing: brightness {level:.2f} % of saturation without structure; at least"
            f" {limits.level_min_percent:g} % is needed to tell an empty surface from a closed shutter."
        )
    if noise > limits.noise_max_percent:
        return (
            f"The field is too noisy: pixel noise {noise:.1f} % of brightness; at most {limits.noise_max_percent:g} %."
        )
    if focus is not None and focus < limits.focus_ratio_min:
        return (
            f"The field is out of focus: focus ratio {focus:.2f} (fine over coarse structure); at least"
            f" {limits.focus_ratio_min:g} is needed."
        )
    return None


def _flags(figures: dict[str, float], limits: QualitySettings) -> tuple[Flag, ...]:
    """Return the short names of what a person should know about the field."""
    focus = figures.get("focus_ratio")
    blurred = focus is not None and focus < limits.focus_ratio_min
    checks: dict[Flag, bool] = {
        "out-of-focus": blurred,
        "soft-focus": focus is not None and not blurred and focus < limits.focus_ratio_soft,
        "focus-unknown": focus is None,
        "uneven-light": figures["vignetting_percent"] >= limits.vignetting_flag_percent,
        "noisy": figures["noise_percent"] >= limits.noise_flag_percent,
        "saturated": figures["saturated_judgeable_percent"] >= limits.saturated_flag_percent,
        "partly-masked": figures["judgeable_percent"] < 100,
    }
    return tuple(name for name, is_set in checks.items() if is_set)


def _blank_reason(figures: dict[str, float], is_even: bool, level: float, limits: QualitySettings) -> str | None:
    """Return why a field carries no information, None if it does."""
    saturated = figures["saturated_judgeable_percent"]
    if saturated > limits.saturated_max_percent:
        return (
            f"The field is overexposed: {saturated:.1f} % of the judgeable area is saturated; at most"
            f" {limits.saturated_max_percent:g} %."
        )
    if level <= 0:
        return f"The field is black: {figures['dark_percent']:.1f} % of the pixels are zero; at most half may be."
    if is_even:
        return (
            f"The field is blank: nearly all pixels have the same grey value ({figures['level_percent']:.1f} % of"
            " saturation); even bare plastic shows grain."
        )
    return None


def _refused(reason: str, figures: dict[str, float], *flags: Flag) -> QualityReport:
    """Return the report of a field that cannot be judged."""
    return QualityReport(is_judgeable=False, reason=reason, flags=flags, figures=figures)


def _check_mask(overview: Overview, judgeable: NDArray[np.bool_]) -> None:
    """Refuse a mask that does not belong to the overview."""
    if judgeable.dtype != np.bool_:
        raise InvalidArgumentError(f"The judgeable mask is {judgeable.dtype}, not bool. Pass judgeable_mask(...)[0].")
    if judgeable.shape != overview.image.shape:
        raise InvalidArgumentError(
            f"The judgeable mask has shape {judgeable.shape}, the overview {overview.image.shape}. Make it from the"
            " same overview."
        )


def _sample(overview: Overview, judgeable: NDArray[np.bool_]) -> tuple[NDArray[np.uint16], bool]:
    """Return judgeable pixels of a sparse grid, and whether 99 % of them have one value."""
    step = max(1, min(overview.image.shape) // 128)
    sample = overview.image[::step, ::step][judgeable[::step, ::step]]
    if sample.size == 0:
        sample = overview.image[judgeable]
    sample = np.sort(sample)
    return sample, bool(_at(sample, 0.995) - _at(sample, 0.005) <= 1)


def _at(ascending: NDArray[np.generic], share: float) -> float:
    """Return the value below which a share of sorted values lies, between neighbours by proportion."""
    position = share * (ascending.size - 1)
    below = int(position)
    above = min(below + 1, ascending.size - 1)
    return float(ascending[below]) + (position - below) * (float(ascending[above]) - float(ascending[below]))


def _saturated_percent(overview: Overview, judgeable: NDArray[np.bool_]) -> float:
    """Return the saturated share of the judgeable overview pixels."""
    level = int(0.995 * overview.saturation_level)
    if overview.image.max() < level:
        return 0.0
    saturated = overview.image >= level
    return 100 * float(np.count_nonzero(saturated & judgeable) / np.count_nonzero(judgeable))


# ----------------------------------------------------------------------------------------------------- focus and light
def _octaves(overview: Overview, is_whole: NDArray[np.bool_], level: float, noise: float) -> _Octaves:
    """Return the contrast in three octaves; zero, so focus unknown, where the overview is too coarse to show them."""
    scale = FOCUS_PX * overview.working_factor / overview.factor
    if scale < 1:
        return _Octaves((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    expected = [gain * noise for gain in _WHITE_GAIN]
    energies = _band_energies(overview.image, scale, overview.block_mean.shape)
    percent = [100 / level * _excess(e[is_whole], n**2) for e, n in zip(energies, expected, strict=True)]
    return _Octaves((percent[0], percent[1], percent[2]), _scaled(expected, 100 / level))


def _scaled(values: list[float], factor: float) -> tuple[float, float, float]:
    """Return three values times a factor."""
    return values[0] * factor, values[1] * factor, values[2] * factor


def _excess(energy: NDArray[np.float32], noise_energy: float) -> float:
    """Return the root of the busiest blocks' energy above the emptiest blocks', less what noise alone fluctuates."""
    ascending = np.sort(energy)
    low, high = _at(ascending, 0.05), _at(ascending, 0.9)
    return math.sqrt(max(high - low - _FLUCTUATION * min(low, noise_energy), 0.0))


def _band_energies(image: NDArray[np.uint16], scale: float, blocks: tuple[int, ...]) -> list[NDArray[np.float32]]:
    """Return the mean square of the 4th-order band of three octaves in each block."""
    width, height = max(4, int(image.shape[1] / scale)), max(4, int(image.shape[0] / scale))
    used = image[: max(1, int(height * scale)), : max(1, int(width * scale))]
    grey = cv2.resize(used, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    energies = []
    for _ in _WHITE_GAIN:
        smooth = cv2.sepFilter2D(grey, -1, _BINOMIAL, _BINOMIAL)
        band = grey - 2 * smooth + cv2.sepFilter2D(smooth, -1, _BINOMIAL, _BINOMIAL)
        energies.append(cv2.resize(_without_border(band) ** 2, (blocks[1], blocks[0]), interpolation=cv2.INTER_AREA))
        half = max(2, smooth.shape[1] // 2), max(2, smooth.shape[0] // 2)
        grey = cv2.resize(smooth, half, interpolation=cv2.INTER_AREA)
    return energies


def _without_border(band: NDArray[np.float32]) -> NDArray[np.float32]:
    """Replace the outermost pixels by their mirrored neighbours: there the filter sees a kink in the shading."""
    reach = len(_BINOMIAL) - 1
    if min(band.shape) < 4 * reach:
        return band
    inner = band[reach:-reach, reach:-reach]
    return cv2.copyMakeBorder(inner, reach, reach, reach, reach, cv2.BORDER_REFLECT)


def _vignetting_percent(block_mean: NDArray[np.float64], is_whole: NDArray[np.bool_]) -> float:
    """Return the fall of light from its maximum to the darkest corner, of a quadratic surface through the blocks."""
    if np.count_nonzero(is_whole) < 12:
        return 0.0
    rows, columns = block_mean.shape
    at_centres = _quadratic_terms((np.arange(rows) + 0.5) / rows * 2 - 1, (np.arange(columns) + 0.5) / columns * 2 - 1)
    coefficients = np.linalg.lstsq(at_centres[is_whole], block_mean[is_whole], rcond=None)[0]
    surface = _quadratic_terms(np.linspace(-1, 1, 17), np.linspace(-1, 1, 17)) @ coefficients
    brightest = surface.max()
    return float(np.clip(100 * (1 - surface.min() / brightest), 0, 100)) if brightest > 0 else 0.0


def _quadratic_terms(y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the terms of a quadratic surface on a grid, (Y, X, 6)."""
    rows, columns = np.meshgrid(y, x, indexing="ij")
    return np.stack([np.ones_like(rows), columns, rows, columns**2, columns * rows, rows**2], axis=-1)
