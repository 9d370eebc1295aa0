"""Batches of varied crops, made in threads beside the training, and the same ones whatever the threads do."""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msc_vision.batch.execute import libraries_in_one_thread
from msc_vision.learning.augment import log_uniform, photometric
from msc_vision.learning.prepared import TrainingItem
from msc_vision.learning.recipe import AugmentationRecipe, TrainingRecipe
from msc_vision.segmentation.network.inputs import N_INPUTS, network_inputs
from msc_vision.segmentation.network.maps import MAPS

_AHEAD = 3
_JUDGED = 3
_ENOUGH_CELLS = 0.05
"""Covered share of a crop from which its cells tell the size of a pixel."""


class Batch(NamedTuple):
    """What one step learns from.

    Attributes
    ----------
    inputs : (N, 4, Y, X) float32 tensor
        As `network_inputs` makes them.
    targets : (N, 6, Y, X) uint8 tensor
        Wanted answers, 0 to 255.
    judged : (N, 1, Y, X) uint8 tensor
        255 where the truth says anything.
    valid : (N, 6) float32 tensor
        1 for the maps about which the truth says something.
    log_scale : (N,) float32 tensor
        Logarithm of a pixel's size over the canonical one.
    scale_weight : (N,) float32 tensor
        0 where nobody knows the size of a pixel or there are no cells to tell it by, else up to 1.
    """

    inputs: Tensor
    targets: Tensor
    judged: Tensor
    valid: Tensor
    log_scale: Tensor
    scale_weight: Tensor


@dataclass(frozen=True, slots=True)
class Part:
    """Items that share a weight."""

    title: str
    share: float
    items: tuple[TrainingItem, ...]


@dataclass(frozen=True, slots=True)
class BatchMaker:
    """Makes the batch of any step; the number of the step decides all that is random."""

    parts: tuple[Part, ...]
    training: TrainingRecipe
    augmentation: AugmentationRecipe

    def __call__(self, step: int) -> Batch:
        """Return the batch of a step."""
        rng = np.random.default_rng([self.training.seed, step])
        n, side = self.training.batch, self.training.crop_px
        shares = np.array([part.share for part in self.parts])
        inputs = np.empty((n, N_INPUTS, side, side), np.float32)
        planes = np.zeros((n, 2, side, side, 4), np.uint8)
        valid = np.empty((n, len(MAPS)), np.float32)
        log_scale, scale_weight = np.empty(n, np.float32), np.empty(n, np.float32)
        vary = photometric(self.augmentation, rng)
        for i in range(n):
            part = self.parts[int(rng.choice(len(self.parts), p=shares / shares.sum()))]
            item = part.items[int(rng.integers(len(part.items)))]
            picture, zoom = crop(item, rng, self.augmentation, planes[i])
            log_scale[i] = -math.log(zoom)
            share = planes[i, 0, :, :, 0].mean() / 255
            scale_weight[i] = min(1.0, share / _ENOUGH_CELLS) if item.is_scale_known else 0.0
            picture = vary(torch.from_numpy(picture)[None])[0].numpy()
            inputs[i] = network_inputs(picture)
            valid[i] = item.valid
        maps = torch.from_numpy(planes).permute(0, 1, 4, 2, 3).reshape(n, 8, side, side)
        targets = torch.cat([maps[:, :_JUDGED], maps[:, _JUDGED + 1 : len(MAPS) + 1]], dim=1)
        return Batch(
            inputs=torch.from_numpy(inputs),
            targets=targets,
            judged=maps[:, _JUDGED : _JUDGED + 1],
            valid=torch.from_numpy(valid),
            log_scale=torch.from_numpy(log_scale),
            scale_weight=torch.from_numpy(scale_weight),
        )


def crop(
    item: TrainingItem, rng: np.random.Generator, augmentation: AugmentationRecipe, planes: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], float]:
    """Cut a turned, mirrored and scaled square out of an item.

    Parameters
    ----------
    item : TrainingItem
    rng : numpy.random.Generator
    augmentation : AugmentationRecipe
        Its scale range is used.
    planes : (2, Y, X, 4) uint8 array
        Takes the maps; planes that the item does not have stay as they are.

    Returns
    -------
    picture : (Y, X) float32 array
        With a mean of one.
    zoom : float
        Size of things in it against their own.
    """
    side = planes.shape[1]
    zoom = log_uniform(rng, augmentation.scale)
    matrix = _matrix(item.picture.shape, side, zoom, rng)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for plane, maps in zip(planes, item.maps, strict=False):
        cv2.warpAffine(maps, matrix, (side, side), dst=plane, flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    cut = cv2.warpAffine(item.picture, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    picture = cut.astype(np.float32)
    picture *= np.float32(1 / max(float(picture.mean()), 1e-6))
    return picture, zoom


def _matrix(shape: tuple[int, ...], side: int, scale: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the map from crop to picture: any place whose crop lies mostly within."""
    angle = rng.uniform(0, 2 * math.pi)
    mirror = float(rng.choice([-1, 1]))
    within = 0.35 * side / scale
    centre = [rng.uniform(min(within, length / 2), max(length - within, length / 2)) for length in shape]
    turn = np.array([[math.cos(angle) * mirror, -math.sin(angle)], [math.sin(angle) * mirror, math.cos(angle)]])
    turn /= scale
    shift = np.array([centre[1], centre[0]]) - turn @ np.array([side / 2, side / 2])
    return np.column_stack([turn, shift])


def batches(maker: BatchMaker, first_step: int, *, threads: int) -> Iterator[Batch]:
    """Yield the batches of steps ``first_step``, ``first_step + 1``, … without end, a few made ahead.

    Parameters
    ----------
    maker : BatchMaker
    first_step : int
        More than 0 when a training goes on.
    threads : int
        That make batches; how many changes nothing but the time.
    """
    waiting: deque[Future[Batch]] = deque()
    step = first_step
    # a thread pool of torch inside each thread would fight the training for the cores
    with (
        libraries_in_one_thread(),
        ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool,
    ):
        try:
            while True:
                while len(waiting) < threads + _AHEAD:
                    waiting.append(pool.submit(maker, step))
                    step += 1
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def parts_of(named: Sequence[tuple[str, float, Sequence[TrainingItem]]]) -> tuple[Part, ...]:
    """Return the parts that have items."""
    return tuple(Part(title, share, tuple(items)) for title, share, items in named if items)
