"""What a phase-contrast microscope and a camera make of a culture."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.synth.culture import Culture
from msc_vision.synth.image_settings import BackgroundSettings, OpticsSettings
from msc_vision.synth.settings import FieldSettings

FloatArray = NDArray[np.float32]
_COARSE = 4  # wide blurs are made on a picture this many times smaller


def photograph(culture: Culture, settings: FieldSettings, rng: np.random.Generator) -> NDArray[np.uint8 | np.uint16]:
    """Return the picture of a culture.

    Returns
    -------
    (Y, X) uint8 or uint16 array
        8 bits, or 12 or 16 bits in 16.
    """
    phase = culture.phase + _granules(culture, settings, rng) + _film(settings, rng)
    absorbed = _dirt(phase, settings, rng)
    light = phase_contrast(phase, settings.optics, settings.pixel_size_um) * absorbed
    light = _blur(light, math.hypot(settings.optics.blur_um, settings.optics.defocus_um) / settings.pixel_size_um)
    light *= _illumination(settings, rng) * _dust(settings, rng)
    return _camera(light * np.float32(settings.background.level), settings, rng)


def phase_contrast(phase: FloatArray, optics: OpticsSettings, pixel_size_um: float) -> FloatArray:
    """Return the light behind a thin phase object in positive phase contrast, 1 on bare surface.

    The wave exp(i phase) is split into what passes the phase ring, modelled as a wide blur of the wave, and the rest;
    the ring shifts its part by a quarter wave and dims it. Dark bodies, bright halos, fading interiors and the
    bright rounded cells all follow (F. Zernike, Physica 9, 686 (1942); the blur for the ring is the usual shortcut).

    Parameters
    ----------
    phase : (Y, X) float32 array
        Radians.

    Returns
    -------
    (Y, X) float32 array
    """
    real, imaginary = np.cos(phase), np.sin(phase)
    ring_real = _ring_part(real, optics, pixel_size_um)
    ring_imaginary = _ring_part(imaginary, optics, pixel_size_um)
    dim = np.float32(optics.ring_transmission)
    light_real = real - ring_real + dim * ring_imaginary  # the ring's part times -i: a denser cell looks darker
    light_imaginary = imaginary - ring_imaginary - dim * ring_real
    return (light_real**2 + light_imaginary**2) / dim**2


def _ring_part(wave: FloatArray, optics: OpticsSettings, pixel_size_um: float) -> FloatArray:
    halo = _wide_blur(wave, optics.halo_um / pixel_size_um)
    fading = _wide_blur(wave, optics.shade_off_um / pixel_size_um)
    return np.float32(optics.halo_share) * halo + np.float32(1 - optics.halo_share) * fading


def _blur(image: FloatArray, sigma_px: float) -> FloatArray:
    if sigma_px < 0.2:
        return image
    return cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT).astype(np.float32, copy=False)


def _wide_blur(image: FloatArray, sigma_px: float) -> FloatArray:
    """Return a Gaussian blur that may be wide, made on a smaller picture where that shows no difference."""
    height, width = image.shape
    if sigma_px < 2.0 * _COARSE:
        return _blur(image, sigma_px)
    small = cv2.resize(image, (-(-width // _COARSE), -(-height // _COARSE)), interpolation=cv2.INTER_AREA)
    blurred = _blur(small.astype(np.float32, copy=False), sigma_px / _COARSE)
    return cv2.resize(blurred, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32, copy=False)


def _noise(shape: tuple[int, int], sigma_px: float, rng: np.random.Generator) -> FloatArray:
    """Return smooth noise of unit standard deviation."""
    noise = _blur(rng.standard_normal(shape, dtype=np.float32), sigma_px)
    return noise / np.float32(max(float(noise.std()), 1e-6))


def _granules(culture: Culture, settings: FieldSettings, rng: np.random.Generator) -> FloatArray:
    """Return vesicles and granules: dots around nuclei, and a fine unevenness of the whole cell."""
    shape = culture.labels.shape
    dots = _noise(shape, 0.9 / settings.pixel_size_um, rng)
    dots = np.clip(dots - np.float32(1.0), 0, None)
    uneven = _noise(shape, 3.0 / settings.pixel_size_um, rng)
    strength = np.float32(settings.cells.granularity)
    return strength * (culture.granularity * (dots - np.float32(0.08))) + np.float32(0.16) * culture.phase * uneven


def _film(settings: FieldSettings, rng: np.random.Generator) -> FloatArray:
    noise = _noise((settings.height_px, settings.width_px), 1.3 / settings.pixel_size_um, rng)
    return np.float32(settings.background.film) * noise


def _dirt(phase: FloatArray, settings: FieldSettings, rng: np.random.Generator) -> FloatArray:
    """Add debris of 1 to 6 µm to the phase, and return what it lets through; none of it is foreground."""
    through = np.ones_like(phase)
    for _ in range(_count(settings.background.debris_per_mm2, settings, rng)):
        y, x = rng.uniform(0, settings.height_px), rng.uniform(0, settings.width_px)
        radius = math.exp(rng.normal(0.3, 0.45))
        is_dark = rng.random() < 0.5
        target, amount = (through, -rng.uniform(0.2, 0.7)) if is_dark else (phase, rng.uniform(0.3, 1.2))
        _stamp(target, y, x, radius / settings.pixel_size_um, amount, ring=0.0)
    return through


def _dust(settings: FieldSettings, rng: np.random.Generator) -> FloatArray:
    """Return the faint discs and rings of specks that lie far out of focus."""
    light = np.ones((settings.height_px, settings.width_px), np.float32)
    for _ in range(_count(settings.background.dust_per_mm2, settings, rng)):
        y, x = rng.uniform(0, settings.height_px), rng.uniform(0, settings.width_px)
        radius = rng.uniform(8.0, 30.0) / settings.pixel_size_um
        _stamp(light, y, x, radius, float(rng.choice([-1.0, 1.0]) * rng.uniform(0.01, 0.04)), ring=rng.uniform(0, 1))
    return light


def _count(per_mm2: float, settings: FieldSettings, rng: np.random.Generator) -> int:
    area_mm2 = settings.height_px * settings.width_px * settings.pixel_size_um**2 / 1e6
    return int(rng.poisson(per_mm2 * area_mm2))


def _stamp(target: FloatArray, y: float, x: float, radius_px: float, amount: float, *, ring: float) -> None:
    """Add a soft disc in place; ``ring`` from 0 to 1 takes its middle out."""
    reach = math.ceil(2.5 * radius_px) + 1
    y0, x0 = max(int(y) - reach, 0), max(int(x) - reach, 0)
    part = target[y0 : int(y) + reach + 1, x0 : int(x) + reach + 1]
    rows, columns = np.ogrid[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]]
    distance = np.hypot(rows - y, columns - x) / radius_px
    part += (amount * (np.exp(-(distance**4)) - ring * np.exp(-((distance / 0.75) ** 4)))).astype(np.float32)


def _illumination(settings: FieldSettings, rng: np.random.Generator) -> FloatArray:
    background: BackgroundSettings = settings.background
    rows = np.linspace(-1, 1, settings.height_px, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, settings.width_px, dtype=np.float32)[None, :]
    off_y, off_x = rng.normal(0.0, 0.1, 2)
    angle = rng.uniform(0, 2 * np.pi)
    corner = ((rows - np.float32(off_y)) ** 2 + (columns - np.float32(off_x)) ** 2) / 2
    slope = np.float32(math.cos(angle)) * rows + np.float32(math.sin(angle)) * columns
    light = 1 - np.float32(background.vignetting) * corner + np.float32(background.tilt / 2) * slope
    return light.astype(np.float32, copy=False)


def _camera(light: FloatArray, settings: FieldSettings, rng: np.random.Generator) -> NDArray[np.uint8 | np.uint16]:
    electrons = np.float32(settings.background.electrons)
    shot = np.sqrt(np.clip(light, 0, None) / electrons) * rng.standard_normal(light.shape, dtype=np.float32)
    full_scale = 2**settings.bit_depth - 1
    grey = np.rint(np.clip(light + shot, 0, 1) * np.float32(full_scale))
    return grey.astype(np.uint8 if settings.bit_depth == 8 else np.uint16)
