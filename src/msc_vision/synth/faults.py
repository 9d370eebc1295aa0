"""What goes wrong between the culture and the eye: lid, liquid, plastic, stage, stitching, and text in the picture.

Faults of the object change phase or transmission before the microscope; faults of the light change the picture before
the camera; text and frames are put into the finished picture. Each says where the surface cannot be judged any more.
"""

import itertools
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.synth.arrays import FloatArray, blur, smooth_noise, unit, white_noise
from msc_vision.synth.camera import Grey
from msc_vision.synth.culture import Culture
from msc_vision.synth.image_settings import FaultSettings

Mask = NDArray[np.bool_]
_SHIFT = 4  # bits of sub-pixel precision of drawn lines


# --- on the surface --------------------------------------------------------------------------------------------------


def mar_surface(
    phase: FloatArray, through: FloatArray, settings: FaultSettings, pixel_size_um: float, rng: np.random.Generator
) -> None:
    """Add scratches, fibres and streaks of the plastic to phase and transmission, in place."""
    shape = (phase.shape[0], phase.shape[1])
    if settings.plastic > 0:
        phase += np.float32(settings.plastic) * _streaks(shape, pixel_size_um, rng)
    for _ in range(settings.scratches):
        mark = _stroke(shape, rng.uniform(0.4, 1.8), pixel_size_um, 0.02, rng)
        phase += np.float32(rng.uniform(-1.2, 1.2)) * mark
        through *= 1 - np.float32(rng.uniform(0.0, 0.4)) * mark
    for _ in range(settings.fibres):
        mark = _stroke(shape, rng.uniform(6.0, 18.0), pixel_size_um, 0.25, rng)
        phase += np.float32(rng.uniform(2.0, 6.0)) * mark
        through *= 1 - np.float32(rng.uniform(0.2, 0.8)) * mark
    for _ in range(settings.bright_scratches):
        phase -= np.float32(rng.uniform(0.4, 1.2)) * _stroke(shape, rng.uniform(0.8, 3.0), pixel_size_um, 0.01, rng)


def _streaks(shape: tuple[int, int], pixel_size_um: float, rng: np.random.Generator) -> FloatArray:
    """Return lines of moulding in one direction over an orange-peel grain, unit standard deviation."""
    angle = rng.uniform(0, 180)
    length = 31
    kernel = np.zeros((length, length), np.float32)
    tip = 0.5 * (length - 1) * np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
    middle = (length - 1) / 2
    start, end = np.rint(middle - tip).astype(int), np.rint(middle + tip).astype(int)
    cv2.line(kernel, tuple(start.tolist()), tuple(end.tolist()), 1.0)
    half = white_noise((-(-shape[0] // 2), -(-shape[1] // 2)), rng)
    lines = unit(cv2.filter2D(half, cv2.CV_32F, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT))
    peel = smooth_noise(shape, 6.0 / pixel_size_um, rng)
    large = cv2.resize(lines, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return unit(large + np.float32(0.7) * peel)


def _stroke(
    shape: tuple[int, int], width_um: float, pixel_size_um: float, bend: float, rng: np.random.Generator
) -> FloatArray:
    """Return one long line that bends a little or much, 0 to 1, with soft edges."""
    n = 60
    size_px = math.hypot(*shape)
    heading = rng.uniform(0, 2 * math.pi) + np.cumsum(rng.normal(0, bend, n))
    length_px = size_px * rng.uniform(0.15, 1.2)
    path = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1) * length_px / n, axis=0)
    path += rng.random(2) * np.array(shape[::-1]) - path[n // 2]
    width_px = width_um / pixel_size_um
    drawn = np.zeros(shape, np.uint8)
    fixed = np.rint(path * (1 << _SHIFT)).astype(np.int32).reshape(-1, 1, 2)
    strength = round(255 * min(1.0, width_px))
    thickness = max(1, round(width_px))
    cv2.polylines(drawn, [fixed], False, strength, thickness, cv2.LINE_AA, _SHIFT)
    return blur(drawn.astype(np.float32) * np.float32(1 / 255), max(0.25 * width_px, 0.5))


# --- in the light ----------------------------------------------------------------------------------------------------


def spoil_light(
    light: FloatArray, culture: Culture, settings: FaultSettings, pixel_size_um: float, rng: np.random.Generator
) -> tuple[FloatArray, Mask]:
    """Return the light behind lid, liquid, walls and a moving stage, and where the surface can still be judged."""
    shape = (light.shape[0], light.shape[1])
    judgeable = np.ones(shape, np.bool_)
    if settings.motion_um > 0:
        light = _smeared(light, settings.motion_um / pixel_size_um, rng)
    if settings.layer_above > 0:
        light = light * _layer_above(culture.phase, settings.layer_above, pixel_size_um, rng)
    if settings.condensation > 0:
        light = light * _condensation(shape, settings.condensation, pixel_size_um, rng)
    for _ in range(settings.bubbles):
        judgeable &= ~_add_bubble(light, pixel_size_um, rng)
    if settings.wall > 0:
        judgeable &= ~_add_wall(light, settings.wall, pixel_size_um, rng)
    if settings.meniscus > 0:
        light = light * _meniscus(shape, settings.meniscus, rng)
    if settings.seams > 0:
        light = light * _seams(shape, settings, rng)
    return light, judgeable


def _smeared(light: FloatArray, length_px: float, rng: np.random.Generator) -> FloatArray:
    size = 2 * math.ceil(length_px / 2) + 3
    angle = rng.uniform(0, math.pi)
    middle = (size - 1) / 2
    tip = 0.5 * length_px * np.array([math.cos(angle), math.sin(angle)])
    ends = np.rint((np.array([middle - tip, middle + tip])) * (1 << _SHIFT)).astype(np.int32).reshape(-1, 1, 2)
    kernel = np.zeros((size, size), np.uint8)
    cv2.polylines(kernel, [ends], False, 255, 1, cv2.LINE_AA, _SHIFT)
    path = kernel.astype(np.float32) / max(float(kernel.sum()), 1.0)
    return cv2.filter2D(light, cv2.CV_32F, path, borderType=cv2.BORDER_REFLECT)


def _layer_above(phase: FloatArray, depth: float, pixel_size_um: float, rng: np.random.Generator) -> FloatArray:
    """Return the shadow of a second culture: this one turned over, far out of focus, with its dark and bright sides."""
    other = cv2.flip(phase, int(rng.integers(-1, 2)))
    near = blur(other, rng.uniform(6.0, 14.0) / pixel_size_um)
    far = blur(other, 30.0 / pixel_size_um)
    return np.clip(1 - np.float32(0.5 * depth) * np.clip(unit(near - far), -3, 3), 0.2, 2.5)


def _condensation(shape: tuple[int, int], depth: float, pixel_size_um: float, rng: np.random.Generator) -> FloatArray:
    """Return the light through droplets on the lid: soft discs with brighter or darker rims that touch each other."""
    extent_um = np.array(shape) * pixel_size_um
    n = min(int(rng.poisson(extent_um.prod() / rng.uniform(60, 160) ** 2)) + 1, 400)
    scale = 0.25  # nothing here is sharper than some pixels
    small = np.ones((max(int(shape[0] * scale), 2), max(int(shape[1] * scale), 2)), np.float32)
    for y, x in rng.random((n, 2)) * np.array(small.shape):
        radius_px = rng.uniform(20, 90) / pixel_size_um * scale
        mark = np.zeros_like(small)
        cv2.circle(mark, (int(x), int(y)), max(1, round(radius_px)), 1.0, -1)
        inner = float(rng.uniform(-0.5, 0.5))
        cv2.circle(mark, (int(x), int(y)), max(1, round(0.8 * radius_px)), inner, -1)
        small += np.float32(0.35 * depth * rng.choice([-1.0, 1.0])) * mark
    soft = blur(small, rng.uniform(5.0, 12.0) / pixel_size_um * scale)
    return cv2.resize(np.clip(soft, 0.3, 2.0), shape[::-1], interpolation=cv2.INTER_CUBIC)


def _add_bubble(light: FloatArray, pixel_size_um: float, rng: np.random.Generator) -> Mask:
    """Draw a bubble of gas in place: a thick dark rim, bright and distorted inside. Return what it hides."""
    shape = (light.shape[0], light.shape[1])
    radius_px = min(math.exp(rng.uniform(math.log(25), math.log(180))) / pixel_size_um, 0.3 * min(shape))
    y, x = rng.random(2) * np.array(shape)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    distance = np.hypot(rows - np.float32(y), columns - np.float32(x)).astype(np.float32) / np.float32(radius_px)
    inside = distance < 1
    width = np.float32(rng.uniform(0.06, 0.2))
    rim = np.exp(-(((distance - (1 - width)) / width) ** 2))
    light *= 1 - np.float32(rng.uniform(0.6, 0.95)) * rim
    light[inside] *= np.float32(rng.uniform(1.0, 1.4))
    light += np.float32(0.4) * np.exp(-(((distance - np.float32(1.06)) / np.float32(0.03)) ** 2))
    return distance < np.float32(1.1)


def _add_wall(light: FloatArray, share: float, pixel_size_um: float, rng: np.random.Generator) -> Mask:
    """Draw the edge of a channel or a well in place: a band of bright and dark lines, and what lies behind is grey."""
    shape = (light.shape[0], light.shape[1])
    depth_px = _distance_from_side(shape, rng) - np.float32(share * min(shape))
    behind = depth_px < 0
    lines = np.zeros(shape, np.float32)
    for _ in range(int(rng.integers(2, 5))):
        at, width = rng.uniform(-25, 5) / pixel_size_um, rng.uniform(1.5, 8) / pixel_size_um
        lines += np.float32(rng.uniform(-0.8, 0.9)) * np.exp(-(((depth_px - np.float32(at)) / np.float32(width)) ** 2))
    grey = np.float32(rng.uniform(0.3, 1.5)) + np.float32(0.05) * smooth_noise(shape, 10 / pixel_size_um, rng)
    soft = blur(behind.astype(np.float32), 1.5 / pixel_size_um)
    light *= 1 - soft
    light += soft * grey
    light += lines
    np.maximum(light, 0, out=light)
    return depth_px < np.float32(12 / pixel_size_um)


def _distance_from_side(shape: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Return the distance in pixels from a random side of the field, slightly tilted and bent."""
    rows = np.arange(shape[0], dtype=np.float32)[:, None]
    columns = np.arange(shape[1], dtype=np.float32)[None, :]
    tilt, bend = np.float32(rng.normal(0, 0.06)), np.float32(rng.normal(0, 0.04))
    side = int(rng.integers(4))
    if side % 2:
        along = rows / shape[0] - np.float32(0.5)
        distance = columns + (tilt * along + bend * along**2) * shape[1]
    else:
        along = columns / shape[1] - np.float32(0.5)
        distance = rows + (tilt * along + bend * along**2) * shape[0]
    far = np.float32(shape[1 if side % 2 else 0])
    return (far - distance if side >= 2 else distance).astype(np.float32)


def _meniscus(shape: tuple[int, int], loss: float, rng: np.random.Generator) -> FloatArray:
    """Return the light under bent liquid: it falls off, ever faster, towards one side."""
    distance = _distance_from_side(shape, rng) / np.float32(min(shape))
    fall = np.exp(-np.clip(distance, 0, None) / np.float32(rng.uniform(0.08, 0.3)))
    return np.clip(1 - np.float32(loss) * fall, 0.03, 1)


def _seams(shape: tuple[int, int], settings: FaultSettings, rng: np.random.Generator) -> FloatArray:
    """Return the step from tile to tile, each with its own brightness and slope of light."""
    light = np.ones(shape, np.float32)
    edges_y, edges_x = ([0, *np.sort(rng.integers(1, n, settings.seams)).tolist(), n] for n in shape)
    for top, bottom in itertools.pairwise(edges_y):
        for left, right in itertools.pairwise(edges_x):
            gain = 1 + settings.seam_step * float(rng.normal())
            slope = settings.seam_step * rng.normal(0, 1, 2)
            rows = np.linspace(-0.5, 0.5, bottom - top, dtype=np.float32)[:, None]
            columns = np.linspace(-0.5, 0.5, right - left, dtype=np.float32)[None, :]
            light[top:bottom, left:right] = gain + np.float32(slope[0]) * rows + np.float32(slope[1]) * columns
    return np.clip(light, 0.2, 2.0)


def through_eyepiece(light: FloatArray, radius: float, rng: np.random.Generator) -> Mask:
    """Darken what lies outside of a round field in place, with a soft edge; return what lies outside.

    Parameters
    ----------
    radius : float
        Of the round field over half the short side of the picture.
    """
    shape = (light.shape[0], light.shape[1])
    half = min(shape) / 2
    off_y, off_x = rng.normal(0, 0.06, 2) * half
    rows = np.arange(shape[0], dtype=np.float32)[:, None] - np.float32(shape[0] / 2 + off_y)
    columns = np.arange(shape[1], dtype=np.float32)[None, :] - np.float32(shape[1] / 2 + off_x)
    distance = np.sqrt(rows**2 + columns**2) / np.float32(radius * half)
    edge = np.clip((1 - distance) / np.float32(0.03), 0, 1)
    light *= edge * (1 - np.float32(rng.uniform(0.2, 0.6)) * np.clip(distance, 0, 1) ** 3)
    light += np.float32(rng.uniform(0.0, 0.06)) * (1 - edge)
    return distance > np.float32(0.95)


# --- in the finished picture -----------------------------------------------------------------------------------------


def mark_picture(image: Grey, settings: FaultSettings, bit_depth: int, rng: np.random.Generator) -> Mask:
    """Burn scale bar, text and frame into the picture in place; return what they cover."""
    covered = np.zeros(image.shape, np.bool_)
    white = 2**bit_depth - 1
    if settings.burnt_in != "none":
        _burn_in(image, covered, settings.burnt_in, white, rng)
    if settings.frame > 0:
        width = max(1, round(settings.frame * min(image.shape)))
        for part in (np.s_[:width], np.s_[-width:], np.s_[:, :width], np.s_[:, -width:]):
            covered[part] = True
            image[part] = 0 if rng.random() < 0.7 else white
    return covered


def _burn_in(image: Grey, covered: Mask, style: str, white: int, rng: np.random.Generator) -> None:
    """Draw a bar, its length in words, and sometimes a time stamp in another corner."""
    height, width = image.shape
    scale = max(0.35, min(height, width) / rng.uniform(700, 1400))
    bar = (max(8, int(width * rng.uniform(0.08, 0.22))), max(2, round(6 * scale)))
    left, bottom = int(width * rng.uniform(0.03, 0.72)), int(height * rng.uniform(0.93, 0.97))
    if rng.random() < 0.3:
        bottom = int(height * rng.uniform(0.12, 0.2))
    ink = np.zeros(image.shape, np.uint8)
    cv2.rectangle(ink, (left, bottom - bar[1]), (left + bar[0], bottom), 255, -1)
    _write(ink, f"{int(rng.choice([50, 100, 200, 250, 500]))} um", (left, bottom - bar[1] - round(8 * scale)), scale)
    boxes = [cv2.boundingRect(ink)]
    if rng.random() < 0.4:
        clock = np.zeros(image.shape, np.uint8)
        words = f"2021-{int(rng.integers(1, 13)):02d}-{int(rng.integers(1, 29)):02d} {int(rng.integers(24)):02d}h00m"
        _write(clock, words, (4, 4 + round(24 * scale)), scale)
        boxes.append(cv2.boundingRect(clock))
        ink |= clock
    margin = 3 + round(4 * scale)
    for x, y, wide, high in boxes:
        box = np.s_[max(y - margin, 0) : y + high + margin, max(x - margin, 0) : x + wide + margin]
        covered[box] = True
        if style == "box":
            image[box] = 0
    colour = 0 if style == "black" else white
    cover = ink.astype(np.float32) / np.float32(255)
    image[...] = np.rint(image + cover * (np.float32(colour) - image)).astype(image.dtype)


def _write(ink: NDArray[np.uint8], words: str, at: tuple[int, int], scale: float) -> None:
    """Write words in place; ``at`` is x, y of their lower left corner."""
    cv2.putText(ink, words, at, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, max(1, round(2 * scale)), cv2.LINE_AA)
