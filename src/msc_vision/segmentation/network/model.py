"""The network itself: a small encoder and decoder that works on every fourth pixel and answers for each one."""

from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from msc_vision.segmentation.network.maps import MAPS

STRIDE = 4
"""Side of the blocks of pixels that the first layer takes in as one."""
GRID = 4 * STRIDE
"""Heights and widths must be multiples of this, and tiles must start at multiples of it."""

PATCH_PX = 256
"""Side of the patches by which the network tells whether it knows what it sees."""

_EVENED = 1e-3
"""Share of the mean variance added to each direction: the training says nothing of those in which it never varied."""


class NetworkShape(BaseModel):
    """What fixes the weights' shapes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_inputs: int = Field(4, ge=1, description="input pictures per pixel, see `inputs`")
    widths: tuple[int, int, int] = Field((32, 64, 128), description="channels at 1/4, 1/8 and 1/16 of the pixels")
    n_deep: int = Field(2, ge=1, description="residual blocks at 1/16, each seeing further than the last")


class CultureNetwork(nn.Module):
    """Foreground, what hides the surface, cell cores, rounded cells, aggregates and debris in one pass.

    A block of 4 x 4 pixels goes in as one place with all its values, so thin processes are not blurred away and
    no layer runs at full resolution; the last layer gives each of the 16 pixels its own answer.

    Parameters
    ----------
    shape : NetworkShape
        Widths and depth.
    """

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        fine, middle, deep = shape.widths
        self.stem = _convolution(shape.n_inputs * STRIDE * STRIDE, fine)
        self.fine = _Residual(fine)
        self.to_middle = _convolution(fine, middle)
        self.middle = _Residual(middle)
        self.to_deep = _convolution(middle, deep)
        self.deep = nn.Sequential(*(_Residual(deep, dilation=min(2**i, 4)) for i in range(shape.n_deep)))
        self.from_deep = _convolution(deep + middle, middle)
        self.from_middle = nn.Sequential(_convolution(middle + fine, fine), _convolution(fine, fine))
        self.answer = nn.Conv2d(fine, len(MAPS) * STRIDE * STRIDE, 1)
        self.scale = nn.Sequential(nn.Linear(deep, 32), nn.ReLU(inplace=True), nn.Linear(32, 1))
        self.register_buffer("known_mean", torch.zeros(deep))
        self.register_buffer("known_whitening", torch.eye(deep))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of the maps, and how large a pixel seems to be.

        Parameters
        ----------
        pictures : (N, C, Y, X) float tensor
            Y and X multiples of `GRID`.

        Returns
        -------
        logits : (N, len(MAPS), Y, X) float tensor
        log_scale : (N,) float tensor
            Natural logarithm of the pixel size over the canonical one, as guessed from the cells; it means something
            only where there are cells.
        """
        return self.look(pictures)[:2]

    def look(self, pictures: Tensor) -> "Answers":
        """Return all answers; parameters as `forward`."""
        found = self.look_at_blocks(functional.pixel_unshuffle(pictures, STRIDE))
        return found._replace(logits=functional.pixel_shuffle(found.logits, STRIDE))

    def look_at_blocks(self, blocks: Tensor) -> "Answers":
        """Return all answers for pictures whose blocks of 4 x 4 pixels are channels already.

        Parameters
        ----------
        blocks : (N, C * 16, Y / 4, X / 4) float tensor
            As `torch.nn.functional.pixel_unshuffle` makes them.

        Returns
        -------
        Answers
            Its logits in such blocks, too: (N, len(MAPS) * 16, Y / 4, X / 4).
        """
        fine = self.fine(self.stem(blocks))
        middle = self.middle(self.to_middle(functional.avg_pool2d(fine, 2)))
        deep = self.deep(self.to_deep(functional.avg_pool2d(middle, 2)))
        log_scale = self.scale(deep.mean(dim=(2, 3)))[:, 0]
        features = functional.avg_pool2d(deep, PATCH_PX // GRID, ceil_mode=True, count_include_pad=False)
        middle = self.from_deep(torch.cat([middle, _twice(deep)], dim=1))
        fine = self.from_middle(torch.cat([fine, _twice(middle)], dim=1))
        return Answers(self.answer(fine), log_scale, features.flatten(2).mT)

    def strangeness(self, features: Tensor) -> Tensor:
        """Return how far patches lie from those of the training: 1 is their root mean square distance.

        Parameters
        ----------
        features : (..., D) float tensor
            Of patches, as `look` gives them.

        Returns
        -------
        (...) float tensor
            Mahalanobis distance over the square root of D.
        """
        known_mean, known_whitening = self.get_buffer("known_mean"), self.get_buffer("known_whitening")
        whitened = (features.float() - known_mean) @ known_whitening
        return whitened.square().mean(dim=-1).sqrt()


def know(network: CultureNetwork, features: Tensor) -> None:
    """Let a network remember what its training looked like.

    Parameters
    ----------
    network : CultureNetwork
    features : (P, D) float tensor
        Of patches of the training; more of them than D.
    """
    features = features.double()
    mean = features.mean(dim=0)
    off = features - mean
    covariance = off.T @ off / max(len(features) - 1, 1)
    width = covariance.shape[0]
    evened = covariance + torch.eye(width, dtype=torch.float64) * (_EVENED * covariance.trace() / width + 1e-12)
    values, vectors = torch.linalg.eigh(evened)
    network.get_buffer("known_mean").copy_(mean)
    network.get_buffer("known_whitening").copy_(vectors @ torch.diag(values.rsqrt()) @ vectors.T)


class Answers(NamedTuple):
    """Logits and scale as `CultureNetwork.forward`, and (N, P, D) features of the P patches of each picture."""

    logits: Tensor
    log_scale: Tensor
    features: Tensor


class _Residual(nn.Module):
    def __init__(self, width: int, dilation: int = 1) -> None:
        super().__init__()
        self.first = _convolution(width, width, dilation)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape."""
        return functional.relu(x + self.second(self.first(x)))


def _convolution(n_in: int, n_out: int, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, padding=dilation, dilation=dilation, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )


def _twice(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")
