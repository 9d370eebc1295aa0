"""Masks and labels in picture files, as people and tools hand them over."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msc_vision.errors import InvalidDataError


def read_mask(path: Path) -> NDArray[np.integer]:
    """Read a mask or labels as (Y, X) integers; of a colour picture the first channel.

    Raises
    ------
    InvalidDataError
        If the file is missing, is no picture, or is no single plane.
    """
    try:
        array = _read_array(path)
    except FileNotFoundError as err:
        raise InvalidDataError(f"{path}: no such mask.") from err
    except (OSError, ValueError, RuntimeError, SyntaxError) as err:  # what the decoders raise for broken files
        raise InvalidDataError(f"{path}: cannot be read as a mask ({err}).") from err
    array = array[..., 0] if array.ndim == 3 and array.shape[-1] in (3, 4) else np.squeeze(array)
    if array.ndim != 2 or not array.size:
        raise InvalidDataError(f"{path}: a mask has one plane, this one has shape {array.shape}.")
    if array.dtype == bool:
        return array.astype(np.uint8)
    if not np.issubdtype(array.dtype, np.integer):
        raise InvalidDataError(f"{path}: a mask has whole numbers, this one has {array.dtype}.")
    whole: NDArray[np.integer] = array
    return whole


def _read_array(path: Path) -> NDArray[Any]:
    if path.suffix.lower() in {".tif", ".tiff"}:
        import tifffile

        return np.asarray(tifffile.imread(path))
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture)
