"""A small picture of a whole field, for what is too large to be seen from one tile: bubbles, scratches, rolled edges.

Each tile gives its own places, and begins where a place begins, so the joined picture is the same for any tiling. It
has about a sixteenth of the working pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.findings.aggregate_evidence import places
from msc_vision.records import Region

_PLACE_UM = 5.0
_LARGEST = 64  # tiles begin at multiples of 1024 working pixels, and end where the field does


@dataclass(frozen=True, slots=True)
class CoarseView:
    """A field or a tile in places.

    Attributes
    ----------
    grey : (Y, X) uint16 array
        Mean grey value of each place.
    covered : (Y, X) uint8 array
        Share of cells, 0 to 255.
    judged : (Y, X) uint8 array
        Share that can be judged, 0 to 255.
    thin_bright : (Y, X) uint8 array
        Share of thin bright pixels, 0 to 255.
    """

    grey: NDArray[np.uint16]
    covered: NDArray[np.uint8]
    judged: NDArray[np.uint8]
    thin_bright: NDArray[np.uint8]


def place_side_px(working_um: float) -> int:
    """Return how many working pixels a side a place has: a power of two, as the corners of tiles are multiples of one.

    Parameters
    ----------
    working_um : float
        Side of a working pixel.
    """
    return min(1 << max(0, round(math.log2(_PLACE_UM / working_um))), _LARGEST)


def coarse_view(
    working: NDArray[np.uint16],
    labels: NDArray[np.int32],
    judged: NDArray[np.uint8],
    thin_bright: NDArray[np.bool_],
    working_um: float,
) -> CoarseView:
    """Return a tile in places; all arrays cover it alone.

    Parameters
    ----------
    working : (Y, X) uint16 array
    labels : (Y, X) int32 array
        Cells, 0 on bare surface.
    judged : (Y, X) uint8 array
        0 or 1.
    thin_bright : (Y, X) bool array
        Of `msc_vision.findings.bright_lines.thin_bright`.
    working_um : float
        Side of a working pixel.
    """
    side = place_side_px(working_um)
    masks = (cv2.compare(plane, 0, cv2.CMP_GT) for plane in (labels, judged, thin_bright.view(np.uint8)))
    shares = [places(mask, side).astype(np.uint8) for mask in masks]
    return CoarseView(places(working, side).astype(np.uint16), *shares)


def join_views(
    views: Sequence[CoarseView], tiles: Sequence[Region], shape: tuple[int, int], working_um: float
) -> CoarseView:
    """Return the whole field in places.

    Parameters
    ----------
    views : sequence of CoarseView
    tiles : sequence of Region
        Where each lies, in working pixels.
    shape : (int, int)
        Of the field in working pixels.
    working_um : float
        Side of a working pixel.
    """
    side = place_side_px(working_um)
    size = (-(-shape[0] // side), -(-shape[1] // side))
    planes = {one.name: np.zeros(size, np.uint16 if one.name == "grey" else np.uint8) for one in fields(CoarseView)}
    for view, tile in zip(views, tiles, strict=True):
        y0, x0 = tile.y0 // side, tile.x0 // side
        at = np.s_[y0 : y0 + view.grey.shape[0], x0 : x0 + view.grey.shape[1]]
        for name, plane in planes.items():
            plane[at] = getattr(view, name)
    return CoarseView(**planes)
