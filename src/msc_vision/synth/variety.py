"""Pictures as different as microscopes, cameras and hands make them: for training and for stress tests."""

import math

import numpy as np

from msc_vision.synth.culture_variety import random_cell_settings, random_confluency, random_pixel_size
from msc_vision.synth.image_settings import (
    BackgroundSettings,
    CameraSettings,
    ContaminationSettings,
    FaultSettings,
    Mode,
    OpticsSettings,
    PictureSettings,
    TextureSettings,
)
from msc_vision.synth.settings import FieldSettings

_MODES: tuple[Mode, ...] = ("phase-contrast", "negative-phase-contrast", "brightfield", "relief")
_MODE_CHANCES = (0.61, 0.09, 0.15, 0.15)
_LOW_CONTRAST = 0.4  # below it 8 bits or a strong compression would leave nothing of a faint cell


def random_settings(rng: np.random.Generator, *, height_px: int = 384, width_px: int = 384) -> FieldSettings:
    """Draw the settings of a field, far wider than any one laboratory has them: for training and for stress tests.

    Parameters
    ----------
    rng : numpy.random.Generator
        Its state decides all of it.
    height_px, width_px : int
        Size of the field.

    Examples
    --------
    >>> import numpy as np
    >>> settings = random_settings(np.random.Generator(np.random.PCG64(1)), height_px=256, width_px=256)
    >>> settings.height_px, 0.5 <= settings.pixel_size_um <= 2.0
    (256, True)
    """
    of_cells, of_picture = rng.spawn(2)
    cells = random_cell_settings(of_cells)
    pixel_size_um = random_pixel_size(cells, of_cells)
    confluency_percent = random_confluency(of_cells)
    picture = random_image_settings(of_picture, pixel_size_um=pixel_size_um)
    return FieldSettings(
        height_px=height_px,
        width_px=width_px,
        pixel_size_um=pixel_size_um,
        confluency_percent=confluency_percent,
        cells=cells,
        **dict(picture),
    )


def random_image_settings(rng: np.random.Generator, *, pixel_size_um: float = 1.0) -> PictureSettings:
    """Draw optics, background, camera and faults, far wider than any one laboratory has them.

    Contrast is drawn over a factor of four, and noise and film mostly kept well below the texture of the faintest cell:
    cells that drown in them, but are called cells, teach a network that anything may be one, and surface as rough as
    faint cells teaches it that faint cells are none.

    Parameters
    ----------
    rng : numpy.random.Generator
        Its state decides all of it.
    pixel_size_um : float
        Of the picture to come: blur is drawn in pixels, 0 to 2.5.

    Returns
    -------
    PictureSettings
        For ``FieldSettings(height_px=..., **dict(settings))``.
    """
    mode = _MODES[int(rng.choice(len(_MODES), p=_MODE_CHANCES))]
    contrast = _log_uniform(rng, 0.5 if mode == "brightfield" else 0.25, 1.0)  # brightfield is pale already
    optics = _optics(mode, contrast, pixel_size_um, rng)
    background = _background(contrast, rng)
    camera = _camera(contrast, background.level, rng)
    is_coarse = camera.jpeg_quality > 0 or (contrast >= _LOW_CONTRAST and rng.random() < 0.6)
    bit_depth = 8 if is_coarse or camera.auto_contrast > 0 else int(rng.choice([12, 16]))
    return PictureSettings.model_validate(
        {
            "bit_depth": bit_depth,
            "optics": optics,
            "texture": _texture(rng),
            "background": background,
            "camera": camera,
            "faults": _faults(contrast, rng),
            "contamination": _contamination(rng),
        }
    )


def _optics(mode: Mode, contrast: float, pixel_size_um: float, rng: np.random.Generator) -> OpticsSettings:
    ring_na = _log_uniform(rng, 0.08, 0.25)
    if mode == "brightfield":
        height_um = float(rng.choice([-1.0, 1.0])) * _log_uniform(rng, 6.0, 30.0)
    else:
        height_um = float(rng.normal(0.0, 5.0)) if _happens(rng, 0.35) else 0.0
    return OpticsSettings(
        mode=mode,
        ring_na=ring_na,
        ring_width_na=ring_na * rng.uniform(0.12, 0.4),
        ring_transmission=rng.uniform(0.28, 0.65),
        ring_shift_um=rng.uniform(0.3, 2.5) if _happens(rng, 0.12) else 0.0,
        stray_light=1 - contrast,
        blur_um=2.5 * pixel_size_um * float(rng.beta(1.1, 2.6)),
        focus_height_um=height_um,
        relief_shear_um=_log_uniform(rng, 0.3, 2.0),
        relief_bias=rng.uniform(0.4, 1.4),
        direction_deg=rng.uniform(-180, 180),
    )


def _texture(rng: np.random.Generator) -> TextureSettings:
    return TextureSettings(
        unevenness=_log_uniform(rng, 0.04, 0.2),
        fine_um=_log_uniform(rng, 0.5, 1.6),
        coarse_um=_log_uniform(rng, 2.0, 7.0),
        coarse_share=rng.uniform(0.2, 0.85),
        dots=_log_uniform(rng, 0.1, 1.2),
        dot_um=_log_uniform(rng, 0.5, 1.5),
        vacuoles=rng.uniform(0.0, 0.7),
    )


def _background(contrast: float, rng: np.random.Generator) -> BackgroundSettings:
    light = 0.3 + 0.7 * contrast  # or uneven light would be all that a pale picture shows
    return BackgroundSettings(
        level=rng.uniform(0.25, 0.65),
        vignetting=light * 0.5 * float(rng.beta(1.0, 4.0)),
        tilt=light * 0.3 * float(rng.beta(1.0, 4.0)),
        unevenness=_log_uniform(rng, 0.002, 0.03),
        film=_log_uniform(rng, 0.004, 0.025) if _happens(rng, 0.2) else _log_uniform(rng, 0.0002, 0.003),
        film_um=_log_uniform(rng, 0.6, 3.0),
        film_patchiness=rng.uniform(0.0, 0.8),
        remnants=_log_uniform(rng, 0.01, 0.12) if _happens(rng, 0.45) else 0.0,
        remnants_share=_log_uniform(rng, 0.002, 0.06),
        debris_per_mm2=_log_uniform(rng, 1.0, 100.0),
        dust_per_mm2=_log_uniform(rng, 0.5, 15.0),
    )


def _camera(contrast: float, level: float, rng: np.random.Generator) -> CameraSettings:
    is_noisy = _happens(rng, 0.15)
    noise = _log_uniform(rng, 0.006, 0.04) if is_noisy else _log_uniform(rng, 0.0003, 0.006)  # of full scale
    read_share = rng.uniform(0.0, 0.7)
    worst_quality = 80 if contrast < _LOW_CONTRAST else 45
    is_compressed = _happens(rng, 0.4)
    stretches = _happens(rng, 0.75 if is_compressed and contrast < _LOW_CONTRAST else 0.3)
    return CameraSettings(
        electrons=level / (noise**2 * (1 - read_share**2)),
        read_noise=noise * read_share,
        fixed_pattern=_log_uniform(rng, 0.0005, 0.01) if _happens(rng, 0.2) else 0.0,
        line_noise=noise * rng.uniform(0.1, 0.6) if _happens(rng, 0.1) else 0.0,
        noise_px=rng.uniform(0.3, 1.3) if _happens(rng, 0.4) else 0.0,
        least_texture_snr=rng.uniform(0.8, 2.0) if _happens(rng, 0.07) else _log_uniform(rng, 2.0, 12.0),
        black_level=rng.uniform(0.0, 0.1) if _happens(rng, 0.3) else 0.0,
        gamma=math.exp(rng.normal(0.0, 0.2)) if _happens(rng, 0.4) else 1.0,
        sharpen=rng.uniform(0.2, 1.5) if _happens(rng, 0.25) else 0.0,
        sharpen_px=rng.uniform(0.7, 2.5),
        auto_contrast=_log_uniform(rng, 0.0003, 0.01) if stretches else 0.0,
        jpeg_quality=int(rng.integers(worst_quality, 97)) if is_compressed else 0,
        eyepiece=rng.uniform(0.85, 1.4) if _happens(rng, 0.05) else 0.0,
    )


def _faults(contrast: float, rng: np.random.Generator) -> FaultSettings:
    """Draw faults, each with a chance of 5 to 12 %: four in ten pictures have none."""
    light = 0.2 + 0.8 * contrast
    burnt_in = ("white", "black", "box")[int(rng.integers(3))]
    return FaultSettings.model_validate(
        {
            "condensation": light * _log_uniform(rng, 0.02, 0.4) if _happens(rng, 0.07) else 0.0,
            "meniscus": rng.uniform(0.1, 0.9) if _happens(rng, 0.07) else 0.0,
            "plastic": _log_uniform(rng, 0.002, 0.03) if _happens(rng, 0.15) else 0.0,
            "layer_above": light * _log_uniform(rng, 0.02, 0.3) if _happens(rng, 0.08) else 0.0,
            "scratches": int(rng.integers(1, 7)) if _happens(rng, 0.10) else 0,
            "fibres": int(rng.integers(1, 3)) if _happens(rng, 0.05) else 0,
            "bubbles": int(rng.integers(1, 4)) if _happens(rng, 0.08) else 0,
            "wall": rng.uniform(0.03, 0.4) if _happens(rng, 0.1) else 0.0,
            "motion_um": rng.uniform(1.0, 6.0) if _happens(rng, 0.05) else 0.0,
            "seams": int(rng.integers(1, 3)) if _happens(rng, 0.06) else 0,
            "seam_step": _log_uniform(rng, 0.01, 0.12),
            "burnt_in": burnt_in if _happens(rng, 0.12) else "none",
            "frame": rng.uniform(0.01, 0.08) if _happens(rng, 0.07) else 0.0,
        }
    )


def _contamination(rng: np.random.Generator) -> ContaminationSettings:
    kind = ("haze", "haze", "dots", "budding", "filaments")[int(rng.integers(5))]
    amount = rng.uniform(0.05, 0.5)
    return ContaminationSettings.model_validate({"kind": kind if _happens(rng, 0.15) else "none", "amount": amount})


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return low * math.exp(rng.random() * math.log(high / low))


def _happens(rng: np.random.Generator, chance: float) -> bool:
    return bool(rng.random() < chance)
