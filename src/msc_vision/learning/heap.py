"""How freed memory is kept for the next step of a training, where the C library would hand it back each time."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of malloc.h
_LARGEST = 2**30


def keep_freed_memory() -> bool:
    """Let the C library reuse large blocks instead of returning them, and tell whether it does.

    A step of training allocates and frees the same hundreds of megabytes; glibc fetches every large block anew from the
    system, zeroed page by page, which took a quarter of the processor time. Lasts until the process ends. Elsewhere
    than on Linux with glibc nothing is changed.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))
