"""How well a network does on pictures that were held out."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from msc_vision.learning.prepared import TrainingItem
from msc_vision.segmentation.network.inputs import network_inputs
from msc_vision.segmentation.network.model import GRID


@dataclass(frozen=True, slots=True)
class SetScore:
    """One held-out set: overlap of all its pixels taken together, and the error of the covered share."""

    set_name: str
    n_images: int
    dice: float
    mean_error_points: float
    worst_error_points: float


@dataclass(frozen=True, slots=True)
class Score:
    """All held-out sets; each counts the same, however many pictures it has."""

    sets: tuple[SetScore, ...]

    @property
    def overall(self) -> float:
        """Mean over the sets of Dice less the mean error as a share of the field: higher is better."""
        return float(np.mean([one.dice - one.mean_error_points / 100 for one in self.sets]))

    def __str__(self) -> str:
        """Return one line."""
        return ", ".join(f"{s.set_name} Dice {s.dice:.3f} error {s.mean_error_points:.1f} points" for s in self.sets)


def foreground_probability(
    network: nn.Module, picture: NDArray[np.uint16], *, temperature: float = 1.0, device: str = "cpu"
) -> NDArray[np.float32]:
    """Return the foreground map of a whole picture at the canonical pixel size.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode, on ``device``.
    picture : (Y, X) uint16 array
    temperature : float
        Logits are divided by it.
    device : str

    Returns
    -------
    (Y, X) float32 array
        0 to 1.
    """
    height, width = picture.shape
    below, right = -height % GRID, -width % GRID
    padded = cv2.copyMakeBorder(picture.astype(np.float32), 0, below, 0, right, cv2.BORDER_REFLECT_101)
    inputs = torch.from_numpy(network_inputs(padded))[None].to(device, memory_format=torch.channels_last)
    with torch.inference_mode():
        logits = network(inputs)[0][0, 0, :height, :width].float()
        return torch.sigmoid(logits / temperature).cpu().numpy()


def score_items(network: nn.Module, items: Sequence[TrainingItem], *, device: str = "cpu") -> Score:
    """Compare the network's foreground with the truth of held-out items.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode, on ``device``.
    items : sequence of TrainingItem
        At least one.
    device : str
    """
    overlaps: dict[str, list[tuple[int, int, int]]] = {}
    errors: dict[str, list[float]] = {}
    for item in items:
        judged = item.maps[0, ..., 3] > 127
        truth = (item.maps[0, ..., 0] > 127)[judged]
        found = (foreground_probability(network, item.picture, device=device) > 0.5)[judged]
        overlaps.setdefault(item.set_name, []).append((int((truth & found).sum()), int(truth.sum()), int(found.sum())))
        errors.setdefault(item.set_name, []).append(100 * abs(float(found.mean()) - float(truth.mean())))
    return Score(tuple(_set_score(name, overlaps[name], errors[name]) for name in sorted(overlaps)))


def _set_score(name: str, overlaps: list[tuple[int, int, int]], errors: list[float]) -> SetScore:
    both, wanted, found = (sum(column) for column in zip(*overlaps, strict=True))
    dice = 2 * both / (wanted + found) if wanted + found else 1.0
    return SetScore(name, len(errors), dice, float(np.mean(errors)), max(errors))
