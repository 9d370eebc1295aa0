"""What the network sees of a picture: contrast against the local brightness, compressed, and texture at two scales.

Nothing here depends on the whole picture, so a tile with its surroundings gives what the whole gives. Contrast spans
more than a decade between microscopes; logarithms make a pale cell and a strong one differ by a shift.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

N_INPUTS = 4
MEAN_PX = 97
"""Side of the window of the local brightness, in canonical pixels."""
FINE_PX = 5
COARSE_PX = 21
REACH_PX = MEAN_PX // 2 + COARSE_PX // 2
"""How far around a pixel its inputs look."""
KNEE = 0.02
"""Contrast beyond which the first input grows with its logarithm."""
FLOOR = 0.001
"""Standard deviation below which texture is as good as none."""


def network_inputs(picture: FloatArray) -> FloatArray:
    """Return the input pictures of the network.

    Parameters
    ----------
    picture : (Y, X) float32 array
        Brightness in any unit, not negative, at the canonical pixel size.

    Returns
    -------
    (4, Y, X) float32 array
        Compressed contrast, plain contrast, logarithm of the local standard deviation in the fine and in the coarse
        window; each roughly within -3 to 3.
    """
    mean = cv2.blur(picture, (MEAN_PX, MEAN_PX), borderType=cv2.BORDER_REFLECT_101)
    contrast = picture / np.maximum(mean, np.float32(1e-6)) - np.float32(1)
    out = np.empty((N_INPUTS, *picture.shape), np.float32)
    np.arcsinh(contrast * np.float32(1 / KNEE), out=out[0])
    np.clip(contrast * np.float32(5), -3, 3, out=out[1])
    out[2] = _log_spread(contrast, FINE_PX)
    out[3] = _log_spread(contrast, COARSE_PX)
    return out


def _log_spread(contrast: FloatArray, window_px: int) -> FloatArray:
    """Return the logarithm of the local standard deviation, about zero at a contrast of three percent."""
    size = (window_px, window_px)
    mean = cv2.blur(contrast, size, borderType=cv2.BORDER_REFLECT_101)
    square = cv2.blur(contrast * contrast, size, borderType=cv2.BORDER_REFLECT_101)
    variance = np.maximum(square - mean * mean, np.float32(0)) + np.float32(FLOOR**2)
    return np.float32(0.5) * cv2.log(variance) + np.float32(3.5)
