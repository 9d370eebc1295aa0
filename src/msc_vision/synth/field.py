"""One synthetic field and its truth."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from msc_vision.synth.detach import detach
from msc_vision.synth.grow import grow_culture
from msc_vision.synth.optics import photograph
from msc_vision.synth.settings import FieldSettings


class RenderedField(NamedTuple):
    """A picture and what is on it.

    Attributes
    ----------
    image : (Y, X) uint8 or uint16 array
    labels : (Y, X) int32 array
        One number per cell, 0 on bare surface; where cells overlap, the upper one. Dead cells have none.
    foreground : (Y, X) bool array
        Cells with their processes, also where something floats above them; debris and dust are not part of it.
    kinds : (n + 1,) uint8 array
        `CellKind` of each label, the first of bare surface.
    aggregates : (Y, X) uint8 array
        1 where cells lie in several layers or in a spheroid.
    debris : (Y, X) uint8 array
        1 where dead cells and debris lie, on bare surface or on cells.
    judgeable : (Y, X) bool array
        False on frames, burnt-in bars and walls.
    """

    image: NDArray[np.uint8 | np.uint16]
    labels: NDArray[np.int32]
    foreground: NDArray[np.bool_]
    kinds: NDArray[np.uint8]
    aggregates: NDArray[np.uint8]
    debris: NDArray[np.uint8]
    judgeable: NDArray[np.bool_]

    @property
    def confluency_percent(self) -> float:
        """Covered share of the judgeable part of the field, 0 to 100."""
        return 100.0 * float(self.foreground[self.judgeable].mean()) if self.judgeable.any() else float("nan")


def render_field(settings: FieldSettings, seed: int) -> RenderedField:
    """Draw a field of cells under a microscope.

    The same settings and seed give the same field; across versions of numpy or OpenCV, pixels may differ by one or two
    grey levels of 4096.

    Parameters
    ----------
    settings : FieldSettings
        What it looks like.
    seed : int
        Decides everything that is random; not negative.
    """
    streams = np.random.SeedSequence(seed).spawn(3)
    culture = grow_culture(settings, np.random.Generator(np.random.PCG64(streams[0])))
    if settings.faults.detaching_um > 0:
        tearing = np.random.Generator(np.random.PCG64(streams[2]))
        culture = detach(culture, settings.faults.detaching_um, settings.pixel_size_um, tearing)
    photo = photograph(culture, settings, np.random.Generator(np.random.PCG64(streams[1])))
    return RenderedField(
        image=photo.image,
        labels=culture.labels,
        foreground=culture.labels > 0,
        kinds=culture.kinds,
        aggregates=culture.aggregates,
        debris=culture.debris,
        judgeable=photo.judgeable,
    )
