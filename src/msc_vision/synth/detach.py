"""A layer that comes off: it tears along a line, draws back, and its edge rolls up into a thick folded band."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from msc_vision.synth.arrays import FloatArray, smooth_noise
from msc_vision.synth.culture import Culture


def detach(culture: Culture, width_um: float, pixel_size_um: float, rng: np.random.Generator) -> Culture:
    """Return the culture with a torn layer: bare on one side of a line, a rolled edge on the other.

    Parameters
    ----------
    culture : Culture
    width_um : float
        Of the rolled edge; it is thicker and thinner along the line.
    pixel_size_um : float
    rng : numpy.random.Generator

    Returns
    -------
    Culture
        The roll belongs to the cells that it is made of and counts as an aggregate: cells lie in several layers there.
    """
    shape = (culture.labels.shape[0], culture.labels.shape[1])
    inward_um = _inward(shape, pixel_size_um, rng)
    gap_um = rng.uniform(150, 500)
    width = np.float32(width_um) * np.clip(0.75 + 0.35 * smooth_noise(shape, 120 / pixel_size_um, rng), 0.2, 1.5)
    across = inward_um / width
    rolled = (across >= 0) & (across < 1)
    bare = (inward_um < 0) & (inward_um > -gap_um)
    folds = _folds(inward_um, pixel_size_um, rng)
    height = np.sqrt(np.clip(1 - (2 * across - 1) ** 2, 0, None)) * rolled
    thick = np.float32(rng.uniform(2.5, 5.0)) * height * (1 + np.float32(0.35) * folds)
    kept = ~bare & ~rolled
    labels = np.where(bare, 0, _spread(culture.labels, rolled))
    labels, kinds = _renumbered(labels, culture.kinds)
    return replace(
        culture,
        labels=labels,
        kinds=kinds,
        phase=(culture.phase * kept + thick).astype(np.float32),
        absorption=np.clip(culture.absorption * kept + np.float32(rng.uniform(0.05, 0.3)) * height, 0, 0.98),
        granularity=np.where(rolled, np.float32(0.8), culture.granularity * kept).astype(np.float32),
        aggregates=np.where(rolled, 1, culture.aggregates * kept).astype(np.uint8),
        debris=(culture.debris * ~rolled).astype(np.uint8),
    )


def _inward(shape: tuple[int, int], pixel_size_um: float, rng: np.random.Generator) -> FloatArray:
    """Return the distance in µm from the line where the layer tore, positive where it still lies; (Y, X)."""
    angle = rng.uniform(0, 2 * math.pi)
    rows = np.arange(shape[0], dtype=np.float32)[:, None] - np.float32(shape[0] * rng.uniform(0.3, 0.7))
    columns = np.arange(shape[1], dtype=np.float32)[None, :] - np.float32(shape[1] * rng.uniform(0.3, 0.7))
    straight = rows * np.float32(math.sin(angle)) + columns * np.float32(math.cos(angle))
    bend = np.float32(rng.uniform(10, 60)) * smooth_noise(shape, rng.uniform(100, 250) / pixel_size_um, rng)
    return (straight * np.float32(pixel_size_um) + bend).astype(np.float32)


def _folds(inward_um: FloatArray, pixel_size_um: float, rng: np.random.Generator) -> FloatArray:
    """Return wrinkles along the roll, crumpled, of about unit standard deviation."""
    shape = (inward_um.shape[0], inward_um.shape[1])
    phase = inward_um / np.float32(rng.uniform(3, 8)) + 2 * smooth_noise(shape, 20 / pixel_size_um, rng)
    crumpled = smooth_noise(shape, 5 / pixel_size_um, rng)
    return (np.sin(phase) + np.float32(0.7) * crumpled).astype(np.float32)


def _spread(labels: NDArray[np.int32], rolled: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return labels that fill the roll from the nearest cells; without any cell all stays bare."""
    if not labels.any():
        return labels
    nearest = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    return np.where(rolled, labels[tuple(nearest)], labels)


def _renumbered(labels: NDArray[np.int32], kinds: NDArray[np.uint8]) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Return labels without gaps, and the kinds of those that are left."""
    is_left = np.bincount(labels.ravel(), minlength=len(kinds)) > 0
    is_left[0] = True
    return (np.cumsum(is_left) - 1).astype(np.int32)[labels], kinds[is_left]
