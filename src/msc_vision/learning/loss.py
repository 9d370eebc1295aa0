"""How wrong the network's answers are, map by map, where the truth says something."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from msc_vision.segmentation.network.maps import MAPS

_DICE_PRIOR_PX = 1000.0
"""Pixels added to both sides of the overlap: an empty batch must not decide on a handful of pixels."""
_DICE_WEIGHT = 0.5
_BARE_IN_CORE = 0.15
"""Weight of bare surface in the error of the depth."""


def map_losses(logits: Tensor, targets: Tensor, judged: Tensor, valid: Tensor) -> dict[str, Tensor]:
    """Return one loss per map.

    Parameters
    ----------
    logits : (N, 6, Y, X) float32 tensor
    targets : (N, 6, Y, X) float32 tensor
        0 to 1.
    judged : (N, 1, Y, X) float32 tensor
        0 where the truth says nothing at all.
    valid : (N, 6) float32 tensor
        0 for maps about which it says nothing.

    Returns
    -------
    dict
        A scalar tensor for each of `MAPS`.
    """
    losses: dict[str, Tensor] = {}
    for i, name in enumerate(MAPS):
        known = valid[:, i, None, None]
        weight = judged[:, 0] * known
        answer, truth = logits[:, i], targets[:, i]
        if name == "core":
            losses[name] = _depth_loss(answer, truth, weight * (_BARE_IN_CORE + targets[:, 0]))
        elif name == "foreground":
            losses[name] = _cross_entropy(answer, truth, weight) + _DICE_WEIGHT * _dice_loss(answer, truth, weight)
        elif name == "obscured":
            losses[name] = _cross_entropy(answer, truth, _seen(targets[:, 0] * judged[:, 0], known))
        else:
            losses[name] = _cross_entropy(answer, truth, weight)
    return losses


def scale_loss(guess: Tensor, log_scale: Tensor, weight: Tensor) -> Tensor:
    """Return how far the guessed size of a pixel is off, in units of its logarithm.

    Parameters
    ----------
    guess, log_scale, weight : (N,) float32 tensors
    """
    off = functional.smooth_l1_loss(guess, log_scale, reduction="none", beta=0.1)
    return (off * weight).sum() / (weight.sum() + 1)


def total_loss(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Return the weighted sum; a map without a weight counts nothing."""
    return torch.stack([weights.get(name, 0.0) * loss for name, loss in losses.items()]).sum()


def _seen(cells: Tensor, known: Tensor) -> Tensor:
    """Return where it is known whether something hides the surface: what a person outlined, nothing hides."""
    return torch.where(known > 0, 1.0, cells)


def _cross_entropy(answer: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    loss = functional.binary_cross_entropy_with_logits(answer, truth, reduction="none")
    return (loss * weight).sum() / (weight.sum() + 1)


def _dice_loss(answer: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    found = torch.sigmoid(answer) * weight
    wanted = truth * weight
    overlap = 2 * (found * truth).sum() + _DICE_PRIOR_PX
    return 1 - overlap / (found.sum() + wanted.sum() + _DICE_PRIOR_PX)


def _depth_loss(answer: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    return ((torch.sigmoid(answer) - truth).square() * weight).sum() / (weight.sum() + 1)
