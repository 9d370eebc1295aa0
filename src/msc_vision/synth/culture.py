"""What lies on the surface of a vessel, before any optics."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


class CellKind(IntEnum):
    """What a label stands for."""

    BARE = 0
    SPINDLE = 1
    STELLATE = 2
    FLATTENED = 3
    CUBOIDAL = 4
    LIPID = 5
    ROUNDED = 6
    DEAD = 7
    AGGREGATE_MEMBER = 8


@dataclass(frozen=True, slots=True)
class Culture:
    """What lies on the surface.

    Attributes
    ----------
    labels : (Y, X) int32 array
        One number per cell, 0 on bare surface; where cells overlap, the upper one.
    phase : (Y, X) float32 array
        Phase shift in radians of all that lies here, one cell above the other.
    absorption : (Y, X) float32 array
        Share of the amplitude that is lost, 0 = clear: lipid droplets, dead cells, pigment.
    granularity : (Y, X) float32 array
        How many granules lie here, 0 to 1.
    kinds : (n + 1,) uint8 array
        `CellKind` of each label; the first is that of bare surface.
    aggregates : (Y, X) uint8 array
        1 where cells lie in several layers or in a spheroid.
    debris : (Y, X) uint8 array
        1 where dead cells and debris lie; no part of the foreground.
    """

    labels: NDArray[np.int32]
    phase: FloatArray
    absorption: FloatArray
    granularity: FloatArray
    kinds: NDArray[np.uint8]
    aggregates: NDArray[np.uint8]
    debris: NDArray[np.uint8]
