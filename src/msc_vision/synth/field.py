"""One synthetic field and its truth."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from msc_vision.synth.cells import grow_culture
from msc_vision.synth.optics import photograph
from msc_vision.synth.settings import FieldSettings


class RenderedField(NamedTuple):
    """A picture and what is on it.

    Attributes
    ----------
    image : (Y, X) uint8 or uint16 array
    labels : (Y, X) int32 array
        One number per cell, 0 on bare surface.
    foreground : (Y, X) bool array
        Cells with their processes; debris and dust are not part of it.
    """

    image: NDArray[np.uint8 | np.uint16]
    labels: NDArray[np.int32]
    foreground: NDArray[np.bool_]

    @property
    def confluency_percent(self) -> float:
        """Covered share of the field, 0 to 100."""
        return 100.0 * float(self.foreground.mean())


def render_field(settings: FieldSettings, seed: int) -> RenderedField:
    """Draw a field of spindle-shaped cells under a phase-contrast microscope.

    The same settings and seed give the same field; across versions of numpy or OpenCV, pixels may differ by one or two
    grey levels of 4096.

    Parameters
    ----------
    settings : FieldSettings
        What it looks like.
    seed : int
        Decides everything that is random; not negative.
    """
    streams = np.random.SeedSequence(seed).spawn(2)
    culture = grow_culture(settings, np.random.Generator(np.random.PCG64(streams[0])))
    image = photograph(culture, settings, np.random.Generator(np.random.PCG64(streams[1]))).image
    return RenderedField(image, culture.labels, culture.labels > 0)
