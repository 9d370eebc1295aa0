"""Which part of a field was judged: found again from the image, because a run keeps outlines, not judged areas."""

import numpy as np
from numpy.typing import NDArray

from msc_vision.imaging.artefacts import ArtefactSettings, judgeable_mask
from msc_vision.imaging.frame import frame_of, overview_of
from msc_vision.io.images import FieldImage


def judged_area(
    image: FieldImage, settings: ArtefactSettings, *, pixel_size_um: float | None, working_factor: int
) -> NDArray[np.bool_]:
    """Return what of a field was judged, at the size of its overview, as when it was scored.

    Parameters
    ----------
    image
        An open field.
    settings
        Of the run.
    pixel_size_um, working_factor
        As recorded for the field.

    Returns
    -------
    (Yo, Xo) bool array
        At most 2048 a side; False where nothing was judged.
    """
    frame = frame_of(image, None, pixel_size_um, working_factor)
    return judgeable_mask(overview_of(image, frame), settings)[0]
