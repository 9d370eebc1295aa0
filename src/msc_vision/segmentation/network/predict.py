"""Maps of a whole field from the network, window by window.

How a field is cut into windows follows from its size alone, never from tiles, workers or batches, so a field has the
same maps however it is worked on. Each window is read with as much surroundings as the network sees.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from msc_vision.records import Region
from msc_vision.segmentation.network.inputs import REACH_PX as INPUT_REACH_PX
from msc_vision.segmentation.network.inputs import network_inputs
from msc_vision.segmentation.network.model import GRID, STRIDE, CultureNetwork

WINDOW_PX = 2560
"""Longest side of a field, in canonical pixels, that goes through the network at once."""
CORE_PX = 2048
"""Side of the windows of larger fields, without surroundings."""
NETWORK_REACH_PX = 240
MARGIN_PX = -(-(NETWORK_REACH_PX + INPUT_REACH_PX) // GRID) * GRID


@dataclass(frozen=True, slots=True)
class Resampling:
    """How pixels of a picture become canonical ones.

    Attributes
    ----------
    ratio : float
        Side of a canonical pixel in pixels of the picture.
    shape : (int, int)
        Of the whole field in canonical pixels.
    """

    ratio: float
    shape: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Window:
    """One window: where its core lies in the field and what is read for it, in canonical pixels."""

    core: Region
    around: Region


def resampling(shape: tuple[int, int], pixel_size: float, canonical: float, tolerance: float) -> Resampling:
    """Return how a picture is resampled; sizes within the tolerance are left as they are.

    Parameters
    ----------
    shape : (int, int)
        Of the picture, whose pixels have the side ``pixel_size``.
    pixel_size, canonical : float
        In the same unit.
    tolerance : float
        Relative difference that the network does not mind.
    """
    ratio = canonical / pixel_size
    if abs(math.log(ratio)) <= math.log1p(tolerance):
        return Resampling(1.0, shape)
    return Resampling(ratio, (max(1, round(shape[0] / ratio)), max(1, round(shape[1] / ratio))))


def windows(shape: tuple[int, int]) -> tuple[Window, ...]:
    """Return the windows of a field of so many canonical pixels, in reading order."""
    spans_y, spans_x = _spans(shape[0]), _spans(shape[1])
    return tuple(
        Window(
            Region(y0, y1, x0, x1),
            Region(
                max(y0 - MARGIN_PX, 0),
                min(y1 + MARGIN_PX, shape[0]),
                max(x0 - MARGIN_PX, 0),
                min(x1 + MARGIN_PX, shape[1]),
            ),
        )
        for y0, y1 in spans_y
        for x0, x1 in spans_x
    )


def _spans(length: int) -> list[tuple[int, int]]:
    if length <= WINDOW_PX:
        return [(0, length)]
    n = -(-length // CORE_PX)
    side = -(-length // n // GRID) * GRID + GRID * (length % (n * GRID) > 0)
    return [(start, min(start + side, length)) for start in range(0, length, side)]


def source_region(around: Region, resampling: Resampling, shape: tuple[int, int]) -> Region:
    """Return which pixels of the picture a canonical region needs; ``shape`` is that of the picture."""
    if resampling.ratio == 1.0:
        return around
    (y0, y1), (x0, x1) = (
        (math.floor((low + 0.5) * resampling.ratio - 0.5), math.ceil((high - 0.5) * resampling.ratio - 0.5) + 2)
        for low, high in ((around.y0, around.y1), (around.x0, around.x1))
    )
    return Region(max(y0, 0), min(y1, shape[0]), max(x0, 0), min(x1, shape[1]))


def resampled(
    picture: NDArray[np.uint16], source: Region, around: Region, resampling: Resampling
) -> NDArray[np.float32]:
    """Return a region of canonical pixels.

    Parameters
    ----------
    picture : (Y, X) uint16 array
        The pixels of ``source``.
    """
    if resampling.ratio == 1.0:
        return picture.astype(np.float32)
    return interpolated(picture, source, around, resampling.ratio).astype(np.float32)


def interpolated(
    picture: NDArray[np.uint8 | np.uint16], source: Region, target: Region, ratio: float
) -> NDArray[np.uint8 | np.uint16]:
    """Return ``target`` out of ``source`` by linear interpolation; ratio = side of a target pixel in source pixels."""
    y = (np.arange(target.y0, target.y1) + 0.5) * ratio - 0.5 - source.y0
    x = (np.arange(target.x0, target.x1) + 0.5) * ratio - 0.5 - source.x0
    shape = (y.size, x.size)
    map_x = np.broadcast_to(x.astype(np.float32), shape)
    map_y = np.broadcast_to(y.astype(np.float32)[:, None], shape)
    return cv2.remap(picture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch from starting threads of its own in this thread: fields and windows are worked on side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def has_native_bf16() -> bool:
    """Tell whether this processor multiplies in bfloat16; elsewhere it would be slower than float32."""
    capabilities = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16"))


class WindowAnswers(NamedTuple):
    """What the network says of one window with its surroundings.

    Attributes
    ----------
    maps : (len(MAPS), Y, X) uint8 array
        Probabilities, 255 for one.
    strangeness : (P,) float32 array
        Of each patch, see `CultureNetwork.strangeness`.
    log_scale : float
        Natural logarithm of the pixel size over the canonical one, as guessed from the cells of the whole window.
    """

    maps: NDArray[np.uint8]
    strangeness: NDArray[np.float32]
    log_scale: float


def predict_window(
    network: CultureNetwork, picture: NDArray[np.float32], temperature: float, *, bf16: bool
) -> WindowAnswers:
    """Return the answers for one window.

    Parameters
    ----------
    network : CultureNetwork
        In eval mode.
    picture : (Y, X) float32 array
        Brightness at the canonical pixel size.
    temperature : float
        Foreground logits are divided by it, which calibrates their probabilities.
    bf16 : bool
        Compute in bfloat16: twice as fast where the processor has it.
    """
    height, width = picture.shape
    padded = cv2.copyMakeBorder(picture, 0, -height % GRID, 0, -width % GRID, cv2.BORDER_REFLECT_101)
    device = next(network.parameters()).device
    inputs = torch.from_numpy(network_inputs(padded)).to(device, torch.bfloat16 if bf16 else torch.float32)
    with one_thread(), torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        found = network.look_at_blocks(_to_blocks(inputs))
        answers = found.logits[0]  # in bfloat16 a probability is good to about one of 256 steps
        answers[: STRIDE * STRIDE] /= temperature
        maps = _from_blocks(torch.sigmoid_(answers).mul_(255).round_().to(torch.uint8))[:, :height, :width]
    strangeness = network.strangeness(found.features[0])
    return WindowAnswers(maps.cpu().numpy(), strangeness.cpu().numpy(), float(found.log_scale[0]))


_ROW_OF_BLOCK = {1: torch.int32, 2: torch.int64, 4: torch.complex128}
"""A type as large as four values of so many bytes: a row of a block is then moved as one."""


def _to_blocks(pictures: torch.Tensor) -> torch.Tensor:
    """Return (C, Y, X) as (1, C * 16, Y / 4, X / 4), as `pixel_unshuffle` does, channels last and in one copy."""
    n, height, width = pictures.shape
    rows = pictures.view(_ROW_OF_BLOCK[pictures.element_size()])
    blocks = rows.view(n, height // STRIDE, STRIDE, width // STRIDE).permute(1, 3, 0, 2).contiguous()
    one = blocks.view(pictures.dtype).flatten(2)[None]  # before the axes are turned: convolutions look at its stride
    return one.permute(0, 3, 1, 2)


def _from_blocks(blocks: torch.Tensor) -> torch.Tensor:
    """Return (C * 16, Y / 4, X / 4), best channels last, as (C, Y, X): the inverse of `_to_blocks`."""
    n, height, width = blocks.shape[0] // STRIDE**2, blocks.shape[1], blocks.shape[2]
    rows = blocks.permute(1, 2, 0).contiguous().view(_ROW_OF_BLOCK[blocks.element_size()])
    lines = rows.view(height, width, n, STRIDE).permute(2, 0, 3, 1).contiguous()
    return lines.view(blocks.dtype).view(n, height * STRIDE, width * STRIDE)
