"""Dense fields out of sparse ones: annotated cells with their halos, pasted onto real pictures until these are full."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.learning.jobs import AnnotatedJob, own_code_hash
from msc_vision.learning.prepared import Made, hash_of, hash_of_files
from msc_vision.learning.recipe import PasteRecipe
from msc_vision.learning.targets import INSTANCES, instance_maps, resampled
from msc_vision.segmentation.network.inputs import MEAN_PX

HALO_PX = 12
"""How much of its surroundings a cell takes along."""
SOFT_SIGMA_PX = 1.5
_DONORS = 3
_TRIES_PER_FIELD = 2500
_LEAST_CELL_PX = 40

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Cutout:
    """One annotated cell with its surroundings.

    Attributes
    ----------
    ratio : (Y, X) float32 array
        Brightness over that of the bare surface around.
    mask : (Y, X) uint8 array
        1 where the cell is.
    others : (Y, X) uint8 array
        1 where other cells are: they are not taken along.
    """

    ratio: FloatArray
    mask: NDArray[np.uint8]
    others: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PasteJob:
    """One dense field out of annotated pictures."""

    recipe: PasteRecipe
    number: int
    pictures: tuple[AnnotatedJob, ...]

    @property
    def name(self) -> str:
        """Seed and number."""
        return f"pasted {self.recipe.seed}/{self.number}"

    @property
    def set_name(self) -> str:
        """Always ``pasted``."""
        return "pasted"

    @property
    def key(self) -> str:
        """Hash of the settings, the pictures and this code."""
        settings = self.recipe.model_dump(exclude={"n_fields", "share"})
        code = own_code_hash(), hash_of_files(Path(__file__))
        return hash_of("pasted", code, settings, self.number, [picture.key for picture in self.pictures])

    def make(self) -> Made:
        """Take a picture as ground and fill it with the cells of others."""
        rng = np.random.default_rng([self.recipe.seed, self.number])
        chosen = rng.permutation(len(self.pictures))[: 1 + _DONORS]
        read = [self.pictures[int(i)].read() for i in chosen]
        cutouts = [one for picture, labels in (read[1:] or read) for one in cut_cells(picture, labels)]
        ground, labels = _ground(*read[0], self.recipe.side_px, rng)
        wanted = float(rng.uniform(*self.recipe.cover_percent))
        picture, labels = fill(ground, labels, cutouts, wanted, self.recipe, rng)
        return Made(resampled(picture, 1.0), instance_maps(labels), INSTANCES, False)


def bare_brightness(picture: FloatArray, labels: NDArray[np.int32]) -> FloatArray:
    """Return the brightness of the bare surface around each pixel; where none is near, that of the whole picture."""
    bare = (labels == 0).astype(np.float32)
    size = (MEAN_PX, MEAN_PX)
    share = cv2.blur(bare, size, borderType=cv2.BORDER_REFLECT_101)
    total = cv2.blur(picture * bare, size, borderType=cv2.BORDER_REFLECT_101)
    overall = float(picture[labels == 0].mean()) if bare.any() else float(picture.mean())
    return np.where(share > 0.05, total / np.maximum(share, 1e-6), np.float32(overall)).astype(np.float32)


def cut_cells(picture: NDArray[np.uint16], labels: NDArray[np.int32]) -> list[Cutout]:
    """Return the cells of a picture that do not touch its edge."""
    from scipy import ndimage

    grey = picture.astype(np.float32)
    ratio: FloatArray = (grey / np.maximum(bare_brightness(grey, labels), 1)).astype(np.float32)
    height, width = labels.shape
    found = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        y0, y1, x0, x1 = box[0].start - HALO_PX, box[0].stop + HALO_PX, box[1].start - HALO_PX, box[1].stop + HALO_PX
        if y0 < 0 or x0 < 0 or y1 > height or x1 > width:
            continue
        own = labels[y0:y1, x0:x1]
        mask = (own == number).astype(np.uint8)
        if mask.sum() >= _LEAST_CELL_PX:
            found.append(Cutout(ratio[y0:y1, x0:x1].copy(), mask, ((own > 0) & (own != number)).astype(np.uint8)))
    return found


def fill(
    ground: FloatArray,
    labels: NDArray[np.int32],
    cutouts: Sequence[Cutout],
    wanted_percent: float,
    recipe: PasteRecipe,
    rng: np.random.Generator,
) -> tuple[FloatArray, NDArray[np.int32]]:
    """Paste cells onto a picture until the wanted share is covered or no more fit.

    Parameters
    ----------
    ground : (Y, X) float32 array
        Picture to paste onto; its own cells stay.
    labels : (Y, X) int32 array
        Its cells.
    cutouts : sequence of Cutout
        To choose from; none leaves the picture as it is.
    wanted_percent : float
        Covered share, 0 to 100.
    recipe : PasteRecipe
    rng : numpy.random.Generator

    Returns
    -------
    picture : (Y, X) float32 array
    labels : (Y, X) int32 array
    """
    picture, labels = ground.copy(), labels.copy()
    surface = bare_brightness(ground, labels)
    n_wanted = wanted_percent / 100 * labels.size
    n_covered, number = int((labels > 0).sum()), int(labels.max())
    allowed = recipe.overlap_percent / 100
    for _ in range(_TRIES_PER_FIELD if cutouts else 0):
        if n_covered >= n_wanted:
            break
        placed = _place(cutouts, labels, recipe, rng)
        overlap = float((labels[placed.at] > 0)[placed.mask].mean()) if placed.mask.any() else 1.0
        if overlap > allowed:
            allowed = min(0.9, allowed + 0.01)  # the last gaps are smaller than any cell
            continue
        allowed = recipe.overlap_percent / 100
        number += 1
        n_covered += int((labels[placed.at] == 0)[placed.mask].sum())
        pasted = surface[placed.at] * placed.ratio
        picture[placed.at] += placed.alpha * (pasted - picture[placed.at])
        labels[placed.at][placed.mask] = number
    return picture, labels


@dataclass(frozen=True, slots=True)
class _Placed:
    """A cutout, turned, scaled and put somewhere."""

    at: tuple[slice, slice]
    ratio: FloatArray
    alpha: FloatArray
    mask: NDArray[np.bool_]


def _place(
    cutouts: Sequence[Cutout], labels: NDArray[np.int32], recipe: PasteRecipe, rng: np.random.Generator
) -> _Placed:
    one = cutouts[int(rng.integers(len(cutouts)))]
    scale, angle = float(rng.uniform(*recipe.scale)), float(rng.uniform(0, 360))
    gain = float(np.exp(rng.uniform(*np.log(recipe.contrast))))
    height, width = one.mask.shape
    side = int(np.ceil(np.hypot(height, width) * scale)) + 2
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale)
    matrix[:, 2] += (side / 2 - width / 2, side / 2 - height / 2)
    own = cv2.warpAffine(one.mask.astype(np.float32), matrix, (side, side))
    others = cv2.warpAffine(one.others.astype(np.float32), matrix, (side, side))
    ratio = cv2.warpAffine(one.ratio, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    mask = own > 0.5
    near = cv2.dilate(mask.astype(np.float32), np.ones((5, 5), np.uint8))
    alpha = cv2.GaussianBlur(near, (0, 0), SOFT_SIGMA_PX) * (1 - others)
    place = _uncovered(labels, rng)
    at, inside = _window(place, side, labels.shape)
    return _Placed(at, (1 + gain * (ratio - 1))[inside].astype(np.float32), alpha[inside], mask[inside])


def _uncovered(labels: NDArray[np.int32], rng: np.random.Generator) -> tuple[int, int]:
    """Return a pixel on bare surface if a few draws find one."""
    height, width = labels.shape
    y, x = 0, 0
    for _ in range(20):
        y, x = int(rng.integers(height)), int(rng.integers(width))
        if labels[y, x] == 0:
            break
    return y, x


def _window(
    place: tuple[int, int], side: int, shape: tuple[int, ...]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return where a square around a place lies in a picture, and which part of the square that is."""
    at, inside = [], []
    for centre, length in zip(place, shape, strict=True):
        start = centre - side // 2
        low, high = max(start, 0), min(start + side, length)
        at.append(slice(low, high))
        inside.append(slice(low - start, high - start))
    return (at[0], at[1]), (inside[0], inside[1])


def _ground(
    picture: NDArray[np.uint16], labels: NDArray[np.int32], side_px: int, rng: np.random.Generator
) -> tuple[FloatArray, NDArray[np.int32]]:
    """Return a square of a picture, turned by quarters; a smaller picture is taken whole."""
    starts = [int(rng.integers(max(length - side_px, 0) + 1)) for length in labels.shape]
    at = tuple(slice(start, start + side_px) for start in starts)
    turns = int(rng.integers(4))
    square = np.rot90(picture[at], turns).astype(np.float32)
    return square, np.ascontiguousarray(np.rot90(labels[at], turns))
