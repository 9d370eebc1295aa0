"""From light to a file: noise, lens and software of the camera."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.synth.arrays import FloatArray, blur, smooth_noise, white_noise
from msc_vision.synth.image_settings import BackgroundSettings, CameraSettings
from msc_vision.synth.texture import faintest_texture

_JPEG_LOSS = 3.0 / 255  # texture weaker than this share of full scale is gone at quality 50; half of it at 75
_MOST_CONTRAST = 4.0
Grey = NDArray[np.uint8 | np.uint16]


def illumination(
    shape: tuple[int, int], settings: BackgroundSettings, pixel_size_um: float, rng: np.random.Generator
) -> FloatArray:
    """Return the light without a culture, 1 in the middle: darker corners, a slope, and broad clouds."""
    rows = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :]
    off_y, off_x = rng.normal(0.0, 0.15, 2).astype(np.float32)
    angle = rng.uniform(0, 2 * math.pi)
    half = np.float32(settings.vignetting / 2)
    slope = np.float32(settings.tilt / 2)
    down = 1 - half * (rows - off_y) ** 2 + slope * np.float32(math.cos(angle)) * rows
    across = slope * np.float32(math.sin(angle)) * columns - half * (columns - off_x) ** 2
    light = down + across
    if settings.unevenness > 0:
        clouds = smooth_noise(shape, max(120.0 / pixel_size_um, min(shape) / 8), rng)
        light += np.float32(settings.unevenness) * clouds
    return np.maximum(light, np.float32(0.02))


@dataclass(frozen=True, slots=True)
class Exposure:
    """What a person changes at microscope and camera until the cells can be seen.

    Attributes
    ----------
    noise : float
        Factor on all noise, 0 to 1.
    contrast : float
        Factor on the contrast of the culture, 1 or more.
    jpeg_quality : int
        The one set, or a better one.
    """

    noise: float
    contrast: float
    jpeg_quality: int


def expose(
    light: FloatArray, labels: NDArray[np.int32], level: float, bit_depth: int, settings: CameraSettings
) -> Exposure:
    """Return what keeps the texture of the faintest cells above noise, rounding and compression.

    A simulator that lets these drown cells calls them foreground all the same, and so teaches a network that anything
    may be foreground. With ``least_texture_snr`` 0, or where nothing lives, all stays as set.
    """
    texture = faintest_texture(light, labels) * level if settings.least_texture_snr > 0 else math.nan
    if math.isnan(texture) or texture == 0:
        return Exposure(1.0, 1.0, settings.jpeg_quality)
    grey = 1 / (2**bit_depth - 1)
    rounding = settings.least_texture_snr * grey / math.sqrt(12)
    wanted = max(rounding, _JPEG_LOSS * _jpeg_scale(settings.jpeg_quality))
    contrast = min(max(wanted / texture, 1.0), _MOST_CONTRAST)
    seen = texture * contrast
    quality = settings.jpeg_quality
    if quality > 0 and seen < _JPEG_LOSS * _jpeg_scale(quality):
        quality = min(100, round(100 - 50 * seen / _JPEG_LOSS))
    noise = math.sqrt(level / settings.electrons + settings.read_noise**2 + (level * settings.fixed_pattern) ** 2)
    return Exposure(min(1.0, seen / (settings.least_texture_snr * max(noise, 1e-9))), contrast, quality)


def _jpeg_scale(quality: int) -> float:
    """Return how coarse a JPEG rounds, 1 at quality 50 (Independent JPEG Group's scale); 0 if there is none."""
    if quality == 0:
        return 0.0
    return 50 / quality if quality < 50 else 2 - quality / 50


def record(light: FloatArray, settings: CameraSettings, quiet: float, rng: np.random.Generator) -> FloatArray:
    """Return what the sensor reads, 0 to 1 of full scale.

    Parameters
    ----------
    light : (Y, X) float32 array
        As a share of full scale.
    quiet : float
        Factor on all noise, from `expose`.
    """
    shape = (light.shape[0], light.shape[1])
    variance = np.maximum(light, 0) * np.float32(quiet**2 / settings.electrons)
    variance += np.float32((quiet * settings.read_noise) ** 2)
    if settings.fixed_pattern > 0:
        variance += np.square(light) * np.float32((quiet * settings.fixed_pattern) ** 2)
    noise = _sensor_noise(shape, settings.noise_px, rng)
    noise *= np.sqrt(variance)
    if settings.line_noise > 0:
        noise += rng.standard_normal((shape[0], 1), dtype=np.float32) * np.float32(quiet * settings.line_noise)
    noise += light
    if settings.black_level > 0:
        noise *= np.float32(1 - settings.black_level)
        noise += np.float32(settings.black_level)
    return noise


def _sensor_noise(shape: tuple[int, int], smear_px: float, rng: np.random.Generator) -> FloatArray:
    if smear_px < 0.3:
        return white_noise(shape, rng)
    return smooth_noise(shape, smear_px, rng)


def develop(grey: FloatArray, settings: CameraSettings, bit_depth: int, jpeg_quality: int) -> Grey:
    """Return the picture as software writes it: stretched, bent, sharpened, rounded, and compressed if asked for.

    Parameters
    ----------
    grey : (Y, X) float32 array
        0 to 1 of full scale; beyond it is clipped.
    bit_depth : int
        8, 12 or 16. A JPEG has 8 bits, which are spread over the range of a larger depth.
    jpeg_quality : int
        0 for none.
    """
    if settings.sharpen > 0:
        grey = grey + np.float32(settings.sharpen) * (grey - blur(grey, settings.sharpen_px))
    if settings.auto_contrast > 0:
        step = max(1, math.isqrt(grey.size // 250_000))
        low, high = np.quantile(grey[::step, ::step], [settings.auto_contrast, 1 - settings.auto_contrast])
        grey = (grey - np.float32(low)) / np.float32(max(high - low, 1e-3))
    grey = np.clip(grey, 0, 1)
    if settings.gamma != 1:
        grey = cv2.pow(grey, settings.gamma)
    if jpeg_quality > 0:
        grey = _jpeg(grey, jpeg_quality).astype(np.float32) / np.float32(255)
    full_scale = 2**bit_depth - 1
    return np.rint(grey * np.float32(full_scale)).astype(np.uint8 if bit_depth == 8 else np.uint16)


def _jpeg(grey: FloatArray, quality: int) -> NDArray[np.uint8]:
    coarse = np.rint(grey * np.float32(255)).astype(np.uint8)
    _, encoded = cv2.imencode(".jpg", coarse, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)
    assert decoded is not None  # it was encoded two lines above
    return decoded.astype(np.uint8, copy=False)
