"""Fine structure that has no outline of its own: granules in cells, film and dirt on plastic."""

import math

import numpy as np
from numpy.typing import NDArray

from msc_vision.synth.arrays import FloatArray, blur, scatter, smooth_noise, stamp, unit
from msc_vision.synth.culture import Culture
from msc_vision.synth.image_settings import BackgroundSettings, TextureSettings

_USUAL_PHASE = np.float32(0.2)  # of a spread cell's body, radians: granules are as dense in thin cells as in thick ones
_BAND_PX = 3.0  # texture is what a blur of this width takes away
_SAMPLED = 500_000  # pixels that are enough to tell the texture of cells


def cell_texture(
    culture: Culture,
    settings: TextureSettings,
    pixel_size_um: float,
    grain: FloatArray,
    rng: np.random.Generator,
) -> FloatArray:
    """Return the phase that granules, vacuoles and an uneven body add to the cells, radians.

    Parameters
    ----------
    grain : (Y, X) float32 array
        White noise that fine structure is made of; drawing it anew for each would take a third of all time.

    Returns
    -------
    (Y, X) float32 array
        0 on bare surface.
    """
    shape = culture.labels.shape
    fine = unit(blur(grain, settings.fine_um / pixel_size_um))
    coarse = smooth_noise((shape[0], shape[1]), settings.coarse_um / pixel_size_um, rng)
    share = math.sqrt(settings.coarse_share)
    uneven = np.float32(settings.unevenness * share) * coarse
    uneven += np.float32(settings.unevenness * math.sqrt(1 - settings.coarse_share)) * fine
    body = np.clip(culture.phase, 0, 1.0)  # a rounded cell is smooth for its thickness
    uneven *= body
    if settings.dots > 0 and culture.granularity.any():
        uneven += _dots(grain, culture, settings, pixel_size_um) * np.sqrt(_USUAL_PHASE * body)
    return uneven


def _dots(grain: FloatArray, culture: Culture, settings: TextureSettings, pixel_size_um: float) -> FloatArray:
    """Return peaks of noise, denser for granules and thinner for vacuoles, as many as the granularity asks for."""
    peaks = unit(blur(grain[::-1], settings.dot_um / pixel_size_um))  # turned over: else granules follow the unevenness
    level = np.float32(2.6) - np.float32(1.0) * np.clip(culture.granularity, 0, 1)
    dense = np.clip(peaks - level, 0, 1.5)
    thin = np.clip(-peaks - level, 0, 1.5)
    present = np.minimum(culture.granularity * np.float32(4.0), np.float32(1.0))
    return np.float32(settings.dots) * present * (dense - np.float32(settings.vacuoles) * thin)


def surface_film(
    settings: BackgroundSettings, pixel_size_um: float, grain: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """Return the phase of the protein film and of what crawling cells left, radians.

    Real plastic is never evenly grainy: the film's grain has several sizes, and lies in patches.
    ``grain`` is white noise, as in `cell_texture`.
    """
    shape = (grain.shape[0], grain.shape[1])
    fine = unit(blur(grain[:, ::-1], settings.film_um / pixel_size_um))  # turned over: else it follows the cells' own
    coarse = smooth_noise(shape, 5.0 * settings.film_um / pixel_size_um, rng)
    broad = smooth_noise(shape, 60.0 / pixel_size_um, rng)
    patches = np.clip(1 + np.float32(settings.film_patchiness) * broad, 0.1, 2.5)
    film = np.float32(0.85 * settings.film) * fine
    film += np.float32(0.5 * settings.film) * coarse
    film *= patches
    if settings.remnants > 0 and settings.remnants_share > 0:
        film += np.float32(settings.remnants) * _remnants(fine, coarse, broad, settings.remnants_share)
    return film


def _remnants(fine: FloatArray, coarse: FloatArray, broad: FloatArray, share: float) -> FloatArray:
    """Return crumbs in loose groups, 0 to about 1.5: where noise of three sizes is high at once."""
    together = fine + coarse + broad
    level = float(np.quantile(together[::4, ::4], 1 - share))
    return np.clip(together - np.float32(level), 0, 1.5)


def dirt(phase: FloatArray, settings: BackgroundSettings, pixel_size_um: float, rng: np.random.Generator) -> FloatArray:
    """Add specks of 1 to 4 µm to the phase in place, and return what they let through, (Y, X), 1 where clear."""
    through = np.ones_like(phase)
    for y, x in scatter((phase.shape[0], phase.shape[1]), settings.debris_per_mm2, pixel_size_um, rng):
        radius_um = math.exp(rng.normal(0.0, 0.4))
        is_dark = rng.random() < 0.4
        target, amount = (through, -rng.uniform(0.1, 0.7)) if is_dark else (phase, rng.uniform(0.1, 1.2))
        apart_px = 1.5 * radius_um / pixel_size_um
        for down, across in np.cumsum(rng.normal(0, apart_px, (1 + int(rng.poisson(0.7)), 2)), axis=0):  # crumbs stick
            stamp(target, y + down, x + across, max(radius_um / pixel_size_um, 0.6), amount)
    return np.clip(through, 0.1, 1.0, out=through)


def faintest_texture(picture: FloatArray, labels: NDArray[np.int32], *, percentile: float = 10.0) -> float:
    """Return how strong the fine structure is in the cells where it is weakest.

    Parameters
    ----------
    picture : (Y, X) float32 array
        Without noise.
    labels : (Y, X) int32 array

    Returns
    -------
    float
        Standard deviation of what is finer than a few pixels, at a percentile over cells; NaN without cells.
    """
    detail = picture - blur(picture, _BAND_PX)
    step = max(1, math.isqrt(labels.size // _SAMPLED))
    some, where = detail[::step, ::step].ravel(), labels[::step, ::step].ravel()
    inside = where > 0
    if not inside.any():
        return math.nan
    owner = where[inside]
    counts = np.bincount(owner)
    squares = np.bincount(owner, weights=np.square(some[inside], dtype=np.float64))
    is_large = counts >= min(20, counts.max())
    return float(np.percentile(np.sqrt(squares[is_large] / counts[is_large]), percentile))
