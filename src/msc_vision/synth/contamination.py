"""Visual signs of contamination, with their truth: haze, dots that look motile, budding chains, filaments."""

import math
from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.synth.arrays import FloatArray, blur, scatter, smooth_noise, stamp, white_noise
from msc_vision.synth.image_settings import ContaminationSettings

_SHIFT = 4  # bits of sub-pixel precision of drawn lines


class ContaminationKind(IntEnum):
    """What a pixel of a contamination map stands for."""

    NONE = 0
    HAZE = 1
    DOTS = 2
    BUDDING = 3
    FILAMENTS = 4


@dataclass(frozen=True, slots=True)
class Contamination:
    """What grows in a field beside the culture.

    Attributes
    ----------
    mask : (Y, X) bool array
        True where it is seen.
    kind : ContaminationKind
    phase : (Y, X) float32 array
        What it adds to the phase, radians.
    stray_light : float
        Share of light that turbid medium scatters: it takes contrast from everything.
    """

    mask: NDArray[np.bool_]
    kind: ContaminationKind
    phase: FloatArray
    stray_light: float

    def as_map(self) -> NDArray[np.uint8]:
        """Return the kind at each pixel, (Y, X) uint8, 0 where there is none."""
        return self.mask.astype(np.uint8) * np.uint8(self.kind)


def contaminate(
    shape: tuple[int, int], settings: ContaminationSettings, pixel_size_um: float, rng: np.random.Generator
) -> Contamination:
    """Draw the contamination that the settings ask for."""
    kind = ContaminationKind[settings.kind.upper()]
    stray_light = 0.0
    match kind:
        case ContaminationKind.NONE:
            phase = np.zeros(shape, np.float32)
        case ContaminationKind.HAZE:
            phase, stray_light = _haze(shape, settings.amount, pixel_size_um, rng), 0.5 * settings.amount
        case ContaminationKind.DOTS:
            phase = _dots(shape, settings.amount, pixel_size_um, rng)
        case ContaminationKind.BUDDING:
            phase = _budding(shape, settings.amount, pixel_size_um, rng)
        case ContaminationKind.FILAMENTS:
            phase = _filaments(shape, settings.amount, pixel_size_um, rng)
    mask = phase > 0.1
    if kind is ContaminationKind.HAZE:
        mask = np.ones(shape, np.bool_)  # turbid medium is everywhere, also over cells
    return Contamination(mask, kind, phase, stray_light)


def _haze(shape: tuple[int, int], amount: float, pixel_size_um: float, rng: np.random.Generator) -> FloatArray:
    """Return what a dense suspension of bacteria looks like: grain of 1 µm over all, thicker in clouds."""
    grain = blur(white_noise(shape, rng), 0.5 / pixel_size_um)
    grain /= np.float32(max(float(grain[::4, ::4].std()), 1e-6))
    clouds = np.clip(1 + np.float32(0.4) * smooth_noise(shape, 80.0 / pixel_size_um, rng), 0.1, 2.5)
    return np.clip(grain, -1.0, 4.0) * clouds * np.float32(0.015 + 0.08 * amount)


def _dots(shape: tuple[int, int], amount: float, pixel_size_um: float, rng: np.random.Generator) -> FloatArray:
    """Return short rods of 1 to 3 µm, single and in pairs, in all directions."""
    places = scatter(shape, 150.0 * 40.0**amount, pixel_size_um, rng, least=1)
    length_um = np.exp(rng.normal(0.5, 0.35, len(places)))
    angle = rng.uniform(0, math.pi, len(places))
    is_pair = rng.random(len(places)) < 0.25
    half = 0.5 * length_um * np.where(is_pair, 2.2, 1.0) / pixel_size_um
    step = np.stack([half * np.sin(angle), half * np.cos(angle)], axis=1)
    ends = np.stack([places - step, places + step], axis=1)[:, :, ::-1]
    return _lines(shape, list(ends), width_um=0.9, phase=0.9, pixel_size_um=pixel_size_um)


def _budding(shape: tuple[int, int], amount: float, pixel_size_um: float, rng: np.random.Generator) -> FloatArray:
    """Return yeast: ovals of 3 to 6 µm that bud off each other into short chains, some chains in groups."""
    phase = np.zeros(shape, np.float32)
    for y, x in scatter(shape, 20.0 * 25.0**amount, pixel_size_um, rng, least=1):
        direction, at = rng.uniform(0, 2 * math.pi), np.array([y, x])
        radius_um = rng.uniform(1.6, 2.8)
        for _ in range(1 + int(rng.geometric(0.35))):
            stamp(phase, at[0], at[1], max(radius_um / pixel_size_um, 1.0), 1.8)
            direction += rng.normal(0, 0.7)
            smaller_um = max(radius_um * rng.uniform(0.7, 1.05), 1.0)
            away_px = 0.95 * (radius_um + smaller_um) / pixel_size_um
            at, radius_um = at + away_px * np.array([math.sin(direction), math.cos(direction)]), smaller_um
    return np.minimum(phase, np.float32(2.2))


def _filaments(shape: tuple[int, int], amount: float, pixel_size_um: float, rng: np.random.Generator) -> FloatArray:
    """Return mould: threads of 2 to 4 µm that wander over hundreds of µm and branch."""
    paths: list[NDArray[np.float64]] = []
    for y, x in scatter(shape, 2.0 * 15.0**amount, pixel_size_um, rng, least=1):
        stems = [(np.array([x, y]), rng.uniform(0, 2 * math.pi), rng.uniform(150, 600))]
        while stems and len(paths) < 2000:
            start, direction, length_um = stems.pop()
            path = _wander(start, direction, length_um / pixel_size_um, 6.0 / pixel_size_um, rng)
            paths.append(path)
            n_branches = min(int(rng.poisson(length_um / 150)), 6)
            for at in rng.integers(0, len(path), n_branches):
                turn = float(rng.choice([-1.0, 1.0])) * rng.uniform(0.5, 1.2)
                stems.append((path[at], direction + turn, 0.45 * length_um))
    width_um = rng.uniform(2.0, 3.5)
    return _lines(shape, paths, width_um=width_um, phase=1.1, pixel_size_um=pixel_size_um)


def _wander(
    start: NDArray[np.float64], direction: float, length_px: float, step_px: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    n = max(2, int(length_px / step_px))
    heading = direction + np.cumsum(rng.normal(0, 0.12, n))
    steps = step_px * np.stack([np.cos(heading), np.sin(heading)], axis=1)
    return np.concatenate([start[None], start + np.cumsum(steps, axis=0)])


def _lines(
    shape: tuple[int, int], paths: list[NDArray[np.float64]], *, width_um: float, phase: float, pixel_size_um: float
) -> FloatArray:
    """Return the phase of threads, paths as (n, 2) x, y in pixels; thinner than a pixel they are fainter."""
    drawn = np.zeros(shape, np.uint8)
    width_px = width_um / pixel_size_um
    fixed = [np.rint(path * (1 << _SHIFT)).astype(np.int32).reshape(-1, 1, 2) for path in paths]
    strength = round(255 * min(1.0, width_px))
    cv2.polylines(
        drawn,
        fixed,
        isClosed=False,
        color=strength,
        thickness=max(1, round(width_px)),
        lineType=cv2.LINE_AA,
        shift=_SHIFT,
    )
    return blur(drawn.astype(np.float32) * np.float32(phase / 255), 0.3 * width_px)
