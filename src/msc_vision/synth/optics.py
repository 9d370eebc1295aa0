"""What a microscope makes of a culture.

Phase contrast follows Z. Yin, T. Kanade and M. Chen, "Understanding the phase contrast optics to restore artifact-free
microscopy images for segmentation", Medical Image Analysis 16, 1047 (2012): the wave behind the culture, exp(i phase),
is split into what passes the phase ring, which is a convolution with the pattern of the ring's aperture (an obscured
Airy pattern), and the rest, a convolution with a delta minus that pattern. The ring dims its part and shifts it by a
quarter wave. Two things differ from the paper. The intensity is taken of the whole wave, not of its first order in
phase, so that thick rounded cells turn bright as they do. And the condenser's annulus is an extended source whose
points do not interfere: the pattern that remains on average is the square of the obscured Airy pattern, which has no
oscillating rings; a bright edge of the halo and a long fading inside flat cells both follow from it.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.synth.arrays import FloatArray, blur, blur_mixture, scatter, stamp, white_noise
from msc_vision.synth.camera import Grey, develop, expose, illumination, record
from msc_vision.synth.contamination import Contamination, contaminate
from msc_vision.synth.culture import Culture
from msc_vision.synth.faults import mar_surface, mark_picture, spoil_light, through_eyepiece
from msc_vision.synth.image_settings import BackgroundSettings, OpticsSettings
from msc_vision.synth.settings import FieldSettings
from msc_vision.synth.texture import cell_texture, dirt, faintest_texture, surface_film

_THICK = 1.5  # radians: cells thicker than this bend half of the light off the phase ring
_RING_SIGMAS_UM = (0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2)  # Gaussians whose sum stands for the ring's pattern


@dataclass(frozen=True, slots=True)
class Photograph:
    """A picture, where it can be judged, and what should not be there.

    Attributes
    ----------
    image : (Y, X) uint8 or uint16 array
        8 bits, or 12 or 16 bits in 16.
    judgeable : (Y, X) bool array
        False where something else than the surface is seen: text, a frame, a wall, a bubble, outside of an eyepiece.
    contamination : (Y, X) uint8 array
        `ContaminationKind` at each pixel, 0 for none.
    """

    image: Grey
    judgeable: NDArray[np.bool_]
    contamination: NDArray[np.uint8]


def photograph(culture: Culture, settings: FieldSettings, rng: np.random.Generator) -> Photograph:
    """Return the picture of a culture; the settings and the state of ``rng`` decide all of it."""
    shape = (culture.labels.shape[0], culture.labels.shape[1])
    size_um, background = settings.pixel_size_um, settings.background
    life = contaminate(shape, settings.contamination, size_um, rng)
    phase, through = _object(culture, life, settings, rng)
    light = microscope(phase, through, _with_haze(settings.optics, life.stray_light), size_um)
    exposure = expose(light, culture.labels, background.level, settings.bit_depth, settings.camera)
    if exposure.contrast > 1:
        light = np.maximum(1 + np.float32(exposure.contrast) * (light - 1), 0)
    light, judgeable = spoil_light(light, culture, settings.faults, size_um, rng)
    light *= illumination(shape, background, size_um, rng)
    _add_dust(light, background, size_um, rng)
    if settings.camera.eyepiece > 0:
        judgeable &= ~through_eyepiece(light, settings.camera.eyepiece, rng)
    light *= np.float32(background.level)
    grey = record(light, settings.camera, exposure.noise, rng)
    image = develop(grey, settings.camera, settings.bit_depth, exposure.jpeg_quality)
    judgeable &= ~mark_picture(image, settings.faults, settings.bit_depth, rng)
    return Photograph(image, judgeable, life.as_map())


def _object(
    culture: Culture, life: Contamination, settings: FieldSettings, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Return phase and transmitted amplitude of all that lies on the surface."""
    shape, size_um = (culture.labels.shape[0], culture.labels.shape[1]), settings.pixel_size_um
    grain = white_noise(shape, rng)
    phase = cell_texture(culture, settings.texture, size_um, grain, rng)
    phase += culture.phase
    film = surface_film(settings.background, size_um, grain, rng)
    film *= np.float32(_film_share(phase, film, culture.labels, settings.camera.least_texture_snr))
    phase += film
    if life.kind:
        phase += life.phase
    through = dirt(phase, settings.background, size_um, rng)
    through -= culture.absorption
    mar_surface(phase, through, settings.faults, size_um, rng)
    return phase, np.maximum(through, 0, out=through)


def _with_haze(optics: OpticsSettings, stray_light: float) -> OpticsSettings:
    return optics.model_copy(update={"stray_light": 1 - (1 - optics.stray_light) * (1 - stray_light)})


def _film_share(phase: FloatArray, film: FloatArray, labels: NDArray[np.int32], least_snr: float) -> float:
    """Return how much of the film may stay, so that plastic is no rougher than the faintest cell."""
    texture = faintest_texture(phase, labels) if least_snr > 0 else math.nan
    roughness = float(film[::4, ::4].std())
    if math.isnan(texture) or roughness == 0:
        return 1.0
    return min(1.0, texture / (least_snr * roughness))


def microscope(phase: FloatArray, through: FloatArray, optics: OpticsSettings, pixel_size_um: float) -> FloatArray:
    """Return the light behind a culture, 1 on bare surface, before lamp and camera.

    Parameters
    ----------
    phase : (Y, X) float32 array
        Radians.
    through : (Y, X) float32 array
        Share of the amplitude that passes, 0 to 1.
    """
    match optics.mode:
        case "phase-contrast" | "negative-phase-contrast":
            light = phase_contrast(phase, optics, pixel_size_um, through)
        case "brightfield":
            light = np.square(through)
        case "relief":
            light = relief(phase, optics, pixel_size_um) * np.square(through)
    if optics.focus_height_um != 0:
        light *= out_of_focus(phase, optics, pixel_size_um)
    if optics.stray_light > 0:
        light *= np.float32(1 - optics.stray_light)
        light += np.float32(optics.stray_light)
    return blur(light, math.hypot(optics.blur_um, optics.defocus_um) / pixel_size_um)


def phase_contrast(
    phase: FloatArray, optics: OpticsSettings, pixel_size_um: float, through: FloatArray | None = None
) -> FloatArray:
    """Return the light behind a thin object in phase contrast, 1 on bare surface.

    Parameters
    ----------
    phase : (Y, X) float32 array
        Radians.
    through : (Y, X) float32 array or None
        Share of the amplitude that passes; None where all is clear.

    Returns
    -------
    (Y, X) float32 array
    """
    real, imaginary = np.cos(phase), np.sin(phase)
    if through is not None:
        real *= through
        imaginary *= through
    sigmas_um, weights = ring_pattern(optics)
    sigmas_px = [sigma / pixel_size_um for sigma in sigmas_um]
    ring_real, ring_imaginary = (blur_mixture(part, sigmas_px, weights) for part in (real, imaginary))
    if optics.ring_shift_um > 0:
        shift_px = optics.ring_shift_um / pixel_size_um
        ring_real, ring_imaginary = (_moved(p, shift_px, optics.direction_deg) for p in (ring_real, ring_imaginary))
    if float(phase.max()) > 0.5 * _THICK:
        straight, kept = _through_thick_cells(phase, pixel_size_um)
        straight *= kept
        for part, share in ((real, kept), (imaginary, kept), (ring_real, straight), (ring_imaginary, straight)):
            np.multiply(part, share, out=part)
    real -= ring_real
    imaginary -= ring_imaginary
    dim = optics.ring_transmission
    turn = dim if optics.mode != "negative-phase-contrast" else -dim  # times -i: a denser cell looks darker
    cv2.scaleAdd(ring_imaginary, turn, real, real)
    cv2.scaleAdd(ring_real, -turn, imaginary, imaginary)
    real *= real
    imaginary *= imaginary
    real += imaginary
    real *= np.float32(1 / dim**2)
    return real


def _moved(wave: FloatArray, shift_px: float, direction_deg: float) -> FloatArray:
    """Return the ring's part of a wave from a ring off centre: it lies to one side."""
    angle = math.radians(direction_deg)
    move = np.array([[1, 0, shift_px * math.cos(angle)], [0, 1, shift_px * math.sin(angle)]], np.float64)
    return cv2.warpAffine(wave, move, wave.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _through_thick_cells(phase: FloatArray, pixel_size_um: float) -> tuple[FloatArray, FloatArray]:
    """Return what thick cells leave of the light on the ring, and of all light, as shares of amplitude.

    The split of the wave holds for thin objects. A rounded cell is also a lens: it bends light off the ring, whose rest
    would draw a bright circle around a dark middle, where real rounded cells are bright all over; and some of it misses
    the objective. Both shares go by thickness, and are set so that rounded cells are two to four times as bright as
    bare surface, as in pictures of them.
    """
    thin = blur(phase, 1.5 / pixel_size_um)
    thin *= np.float32(1 / _THICK)
    np.square(thin, out=thin)
    np.square(thin, out=thin)
    thin += 1
    np.reciprocal(thin, out=thin)
    return np.float32(0.25) + np.float32(0.75) * thin, np.float32(0.7) + np.float32(0.3) * thin


def ring_pattern(optics: OpticsSettings) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the squared obscured Airy pattern of the phase ring as a sum of Gaussians.

    The pattern's spectrum is the share of the annulus that lies on itself when it is shifted; that is fitted, so the
    Gaussians have the right weights at every distance that a picture shows.

    Returns
    -------
    sigmas_um, weights : tuples of float
        The weights are not negative and sum to 1.
    """
    from scipy.optimize import nnls

    outer = optics.ring_na
    inner = max(outer - optics.ring_width_na, 0.0)
    frequency = np.linspace(0, 2 * outer / optics.wavelength_um, 200)  # cycles per µm
    shift = frequency * optics.wavelength_um
    overlap = _disc_overlap(outer, outer, shift) - 2 * _disc_overlap(outer, inner, shift)
    overlap += _disc_overlap(inner, inner, shift)
    spectrum = overlap / (math.pi * (outer**2 - inner**2))
    gaussians = np.exp(-2 * math.pi**2 * np.outer(frequency, _RING_SIGMAS_UM) ** 2)
    sum_to_one = np.full((1, len(_RING_SIGMAS_UM)), 100.0)
    weights, _ = nnls(np.vstack([gaussians, sum_to_one]), np.append(spectrum, 100.0))
    weights /= weights.sum()
    return _RING_SIGMAS_UM, tuple(float(weight) for weight in weights)


def _disc_overlap(first: float, second: float, distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the area that two discs share, by their radii and the distance of their centres."""
    if min(first, second) == 0:
        return np.zeros_like(distance)
    apart = np.clip(distance, abs(first - second) + 1e-12, first + second)
    a = first**2 * np.arccos(np.clip((apart**2 + first**2 - second**2) / (2 * apart * first), -1, 1))
    b = second**2 * np.arccos(np.clip((apart**2 + second**2 - first**2) / (2 * apart * second), -1, 1))
    kite = (first + second - apart) * (apart + first - second) * (apart - first + second) * (apart + first + second)
    return a + b - 0.5 * np.sqrt(np.clip(kite, 0, None))


def out_of_focus(phase: FloatArray, optics: OpticsSettings, pixel_size_um: float) -> FloatArray:
    """Return the factor on light at a plane beside the cells: the transport of intensity.

    A cell is a weak lens. Seen from ``focus_height_um`` z above, light changes by -z / k times the Laplacian of phase
    (M. R. Teague, J. Opt. Soc. Am. 73, 1434 (1983), for even light), so the sign flips with that of z. Written as an
    exponential it stays positive for thick cells, where the equation's first order would not.
    """
    height_um = optics.focus_height_um
    spread_um = math.hypot(optics.blur_um, 0.08 * abs(height_um))  # a condenser of some 0.15 blurs what is far away
    smooth = blur(phase, spread_um / pixel_size_um)
    bend = cv2.Laplacian(smooth, cv2.CV_32F, borderType=cv2.BORDER_REFLECT)
    bend *= np.float32(-height_um * optics.wavelength_um / (2 * math.pi * pixel_size_um**2))
    return np.exp(np.clip(bend, -2.5, 1.5))


def relief(phase: FloatArray, optics: OpticsSettings, pixel_size_um: float) -> FloatArray:
    """Return the light in differential interference or modulation contrast, 1 on bare surface.

    Two waves a small shear apart interfere with a fixed bias between them: light goes with 1 - cos(bias + difference).
    """
    angle = math.radians(optics.direction_deg)
    smooth = blur(phase, optics.blur_um / pixel_size_um)
    along_x = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=3, scale=math.cos(angle) / 8, borderType=cv2.BORDER_REFLECT)
    along_y = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=3, scale=math.sin(angle) / 8, borderType=cv2.BORDER_REFLECT)
    along_x += along_y
    along_x *= np.float32(optics.relief_shear_um / pixel_size_um)
    along_x += np.float32(optics.relief_bias)
    return (1 - np.cos(along_x)) * np.float32(1 / (1 - math.cos(optics.relief_bias)))


def _add_dust(light: FloatArray, settings: BackgroundSettings, pixel_size_um: float, rng: np.random.Generator) -> None:
    """Draw the faint discs and rings of specks that lie far out of focus, in place."""
    for y, x in scatter((light.shape[0], light.shape[1]), settings.dust_per_mm2, pixel_size_um, rng):
        radius_px = rng.uniform(8.0, 30.0) / pixel_size_um
        amount = float(rng.choice([-1.0, 1.0]) * rng.uniform(0.01, 0.04))
        stamp(light, y, x, radius_px, amount, ring=rng.uniform(0, 1))
