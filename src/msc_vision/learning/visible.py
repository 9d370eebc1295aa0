"""Which cells of a synthetic field can be seen at all: the rest teaches nothing, neither that they are cells nor not.

A simulator knows of cells that optics, camera or a fault have hidden. Called cells, they teach a network that bare
surface may be one; called bare, that faint cells are none.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

_TEXTURE_PX = 9
_BRIGHTNESS_PX = 97
_RIM_PX = 5
_LEAST_EFFECT = 1.2
"""Difference from bare surface, in standard deviations of bare pixels, that an eye finds on an area of a cell."""
_LEAST_INSIDE = 0.6
"""The same for the texture inside of the rim, without which a cell is an outline around nothing."""
_INSIDE_PX = 200
"""Pixels inside of the rim from which a cell has an inside that can be judged."""
_CLIP = 3.0
"""A speck on a cell does not make the cell visible: no pixel counts for more than this many deviations."""
_LEAST_BARE_PX = 2000

FloatArray = NDArray[np.float32]


def has_bare_surface(labels: NDArray[np.int32]) -> bool:
    """Tell whether a field shows enough bare surface to compare its cells with."""
    return bool(np.count_nonzero(_bare(labels)) >= _LEAST_BARE_PX)


def hidden_cells(
    picture: NDArray[np.generic], labels: NDArray[np.int32], bare_picture: NDArray[np.generic] | None = None
) -> NDArray[np.bool_]:
    """Return where cells lie that differ from bare surface neither in texture nor, at the rim, in brightness.

    An interior that is only a little brighter or darker does not count: so is bare surface beside a halo, and a network
    that learned to see cells by it fills the gaps between real ones. A rim around an inside as smooth as bare surface
    does not count either: a gap between real cells is just that.

    Parameters
    ----------
    picture : (Y, X) array
        Grey values, not negative.
    labels : (Y, X) int32 array
        0 = bare surface.
    bare_picture : (Y, X) array, optional
        The same surface without cells, for fields that show hardly any of it.

    Returns
    -------
    (Y, X) bool array
        Empty where there is no bare surface to compare with.
    """
    is_bare = _bare(labels) if bare_picture is None else np.ones(labels.shape, np.bool_)
    if np.count_nonzero(is_bare) < _LEAST_BARE_PX or not labels.any():
        return np.zeros(labels.shape, np.bool_)
    rim, n = _rims(labels), int(labels.max()) + 1
    seen = _cues(picture)
    bare = seen if bare_picture is None else _cues(bare_picture)
    effect = np.maximum.reduce(
        [
            _effect(seen.texture, labels, n, bare.texture[is_bare]),
            _effect(seen.texture, rim, n, bare.texture[is_bare]),
            _effect(seen.contrast, rim, n, bare.contrast[is_bare]),
        ]
    )
    inside = np.where(rim > 0, 0, labels)
    is_empty = np.bincount(inside.ravel(), minlength=n) >= _INSIDE_PX
    is_empty &= _effect(seen.texture, inside, n, bare.texture[is_bare]) < _LEAST_INSIDE
    hidden = (effect < _LEAST_EFFECT) | is_empty
    hidden[0] = False
    return hidden[labels]


def _bare(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    return cv2.erode((labels == 0).astype(np.uint8), np.ones((15, 15), np.uint8)).view(np.bool_)


class _Cues(NamedTuple):
    """Brightness against that around, and texture."""

    contrast: FloatArray
    texture: FloatArray


def _cues(picture: NDArray[np.generic]) -> _Cues:
    grey = picture.astype(np.float32)
    contrast = grey / np.maximum(cv2.blur(grey, (_BRIGHTNESS_PX, _BRIGHTNESS_PX)), 1e-6) - 1
    return _Cues(contrast, _texture(contrast))


def _rims(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    kernel = np.ones((_RIM_PX, _RIM_PX), np.uint8)
    wide = labels.astype(np.float32)
    is_rim = cv2.dilate(wide, kernel) != cv2.erode(wide, kernel)
    return np.where(is_rim, labels, 0).astype(np.int32)


def _texture(contrast: FloatArray) -> FloatArray:
    size = (_TEXTURE_PX, _TEXTURE_PX)
    mean, square = cv2.blur(contrast, size), cv2.blur(contrast * contrast, size)
    return 0.5 * np.log(np.maximum(square - mean * mean, 0) + 1e-8).astype(np.float32)


def _effect(cue: FloatArray, area: NDArray[np.int32], n: int, bare: FloatArray) -> NDArray[np.float64]:
    """Return for each of n labels how far its mean lies from that of bare surface, in its standard deviations."""
    off = np.clip((cue - bare.mean()) / max(float(bare.std()), 1e-6), -_CLIP, _CLIP)
    size = np.bincount(area.ravel(), minlength=n)
    return np.abs(np.bincount(area.ravel(), off.ravel(), minlength=n)) / np.maximum(size, 1)
