"""A small picture of a whole field, for what is too large to be seen from one tile: bubbles and rolled edges.

Each tile gives its own places without looking beyond itself, and a tile begins where a place begins, so the joined
picture is the same for any tiling. It has a sixteenth of the working pixels or fewer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msc_vision.findings.aggregate_evidence import places
from msc_vision.records import Region

_PLACE_UM = 5.0


@dataclass(frozen=True, slots=True)
class CoarseView:
    """A field or a tile in places.

    Attributes
    ----------
    grey : (Y, X) uint16 array
        Mean grey value of each place.
    covered : (Y, X) uint8 array
        Share of cells, 0 to 255.
    """

    grey: NDArray[np.uint16]
    covered: NDArray[np.uint8]


def place_side_px(working_um: float) -> int:
    """Return how many working pixels a side a place has: a power of two, as the corners of tiles are multiples of one.

    Parameters
    ----------
    working_um : float
        Side of a working pixel.
    """
    return 1 << min(max(0, round(math.log2(_PLACE_UM / working_um))), 10)


def coarse_view(working: NDArray[np.uint16], labels: NDArray[np.int32], working_um: float) -> CoarseView:
    """Return a tile in places.

    Parameters
    ----------
    working : (Y, X) uint16 array
        Of the tile alone.
    labels : (Y, X) int32 array
        Cells, 0 on bare surface.
    working_um : float
    """
    side = place_side_px(working_um)
    cells = (labels > 0).view(np.uint8) * np.uint8(255)
    return CoarseView(places(working, side).astype(np.uint16), places(cells, side).astype(np.uint8))


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
    """
    side = place_side_px(working_um)
    size = (-(-shape[0] // side), -(-shape[1] // side))
    grey, covered = np.zeros(size, np.uint16), np.zeros(size, np.uint8)
    for view, tile in zip(views, tiles, strict=True):
        y0, x0 = tile.y0 // side, tile.x0 // side
        at = np.s_[y0 : y0 + view.grey.shape[0], x0 : x0 + view.grey.shape[1]]
        grey[at], covered[at] = view.grey, view.covered
    return CoarseView(grey, covered)
