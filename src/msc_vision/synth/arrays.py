"""Blurs, noise and stamps that the parts of the picture share; all in float32 and quick on one core."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
_POINT_PX = 0.8  # finer than any objective shows
_COARSE_PX = 2.5  # a blur wider than this is made on a picture of half the size, and so on


def blur(image: FloatArray, sigma_px: float) -> FloatArray:
    """Return a Gaussian blur of any width; wide ones are made on a smaller picture, where that shows no difference.

    Parameters
    ----------
    image : (Y, X) float32 array
    sigma_px : float
        One standard deviation. Below 0.2 nothing is done.
    """
    if sigma_px <= 2 * _COARSE_PX:
        return _gaussian(image, sigma_px)
    return blur_mixture(image, (sigma_px,), (1.0,))


def blur_mixture(image: FloatArray, sigmas_px: Sequence[float], weights: Sequence[float]) -> FloatArray:
    """Return a weighted sum of Gaussian blurs, each made at the scale that suits it.

    Parameters
    ----------
    image : (Y, X) float32 array
    sigmas_px, weights : sequences of float
        Of equal length. Blurs below 0.8 px leave the picture as it is.
    """
    wanted = [(_level(s, image.shape), s, w) for s, w in zip(sigmas_px, weights, strict=True) if w > 0]
    coarsest = max((level for level, _, _ in wanted), default=0)
    pyramid = [image]
    for _ in range(coarsest):
        height, width = pyramid[-1].shape
        size = ((width + 1) // 2, (height + 1) // 2)
        pyramid.append(cv2.resize(pyramid[-1], size, interpolation=cv2.INTER_AREA))
    total = np.zeros_like(pyramid[-1])
    for level in range(coarsest, -1, -1):
        part = pyramid[level]
        if level < coarsest:
            total = cv2.resize(total, part.shape[::-1], interpolation=cv2.INTER_LINEAR)
        for own, sigma, weight in wanted:
            if own == level:
                done = part if sigma < _POINT_PX else _gaussian(part, _remaining(sigma, level))
                cv2.scaleAdd(done, weight, total, total)
    return total


def _level(sigma_px: float, shape: Sequence[int]) -> int:
    level = max(0, math.ceil(math.log2(max(sigma_px, 1e-6) / _COARSE_PX)))
    return min(level, max(0, int(math.log2(min(shape) / 8))))


def _remaining(sigma_px: float, level: int) -> float:
    """Return what is left to blur at a level, in its own pixels: averaging 2 x 2 has blurred a little already."""
    return math.sqrt(max(sigma_px**2 - (4**level - 1) / 12, 0.01)) / 2**level


def _gaussian(image: FloatArray, sigma_px: float) -> FloatArray:
    if sigma_px < 0.2:
        return image
    reach = max(1, math.ceil(3.2 * sigma_px))
    return cv2.GaussianBlur(image, (2 * reach + 1,) * 2, sigma_px, borderType=cv2.BORDER_REFLECT)


def white_noise(shape: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Return independent normal noise of unit standard deviation."""
    return rng.standard_normal(shape, dtype=np.float32)


def smooth_noise(shape: tuple[int, int], sigma_px: float, rng: np.random.Generator) -> FloatArray:
    """Return noise of unit standard deviation and the given grain; coarse grain is drawn on a smaller picture."""
    shrink = max(1, int(sigma_px / 1.5))
    height, width = shape
    small = white_noise((max(-(-height // shrink), 3), max(-(-width // shrink), 3)), rng)
    noise = unit(_gaussian(small, sigma_px / shrink))
    return noise if shrink == 1 else cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def unit(noise: FloatArray) -> FloatArray:
    """Return noise with mean 0 and standard deviation 1, or zeros if it has none."""
    mean, spread = cv2.meanStdDev(noise)
    return (noise - np.float32(mean[0, 0])) * np.float32(1 / max(float(spread[0, 0]), 1e-9))


def stamp(target: FloatArray, y_px: float, x_px: float, radius_px: float, amount: float, *, ring: float = 0.0) -> None:
    """Add a soft disc in place; ``ring`` from 0 to 1 takes its middle out."""
    reach = math.ceil(2.5 * radius_px) + 1
    y0, x0 = max(int(y_px) - reach, 0), max(int(x_px) - reach, 0)
    part = target[y0 : max(int(y_px) + reach + 1, 0), x0 : max(int(x_px) + reach + 1, 0)]
    rows, columns = np.ogrid[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]]
    distance = np.hypot(rows - y_px, columns - x_px) / radius_px
    part += (amount * (np.exp(-(distance**4)) - ring * np.exp(-((distance / 0.75) ** 4)))).astype(np.float32)


def scatter(
    shape: tuple[int, int], per_mm2: float, pixel_size_um: float, rng: np.random.Generator, *, least: int = 0
) -> NDArray[np.float64]:
    """Return random places, (n, 2) in pixels; n is Poisson of the density times the area, and not below ``least``."""
    area_mm2 = shape[0] * shape[1] * pixel_size_um**2 / 1e6
    return rng.random((max(int(rng.poisson(per_mm2 * area_mm2)), least), 2)) * np.array(shape)
