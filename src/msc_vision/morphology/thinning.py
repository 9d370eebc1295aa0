"""Thinning of masks to lines of one pixel, 64 pixels at a time.

The rules are those of Z. Guo and R. W. Hall, Communications of the ACM 32, 359 (1989), algorithm A1. A row of 64 pixels
is one whole number, so that a rule is a handful of logical operations on a whole mask: some twenty times as fast as
looking at one pixel after the other.
"""

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

WORD_PX = 64
"""Pixels in one number; widths are multiples of it."""
_ONE, _LAST = np.uint64(1), np.uint64(WORD_PX - 1)


def thin(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the medial axes of all shapes of a mask, 8-connected and one pixel wide where they do not branch.

    Parameters
    ----------
    mask : (Y, X) uint8 array
        0 or 1; X a multiple of `WORD_PX`. The first and last rows and columns are 0.

    Returns
    -------
    (Y, X) uint8 array
        0 or 1.
    """
    words = np.packbits(mask, axis=1, bitorder="little").view(np.uint64)
    first, last = 1, len(words) - 1  # rows in which something may still change
    while first < last:
        changed = np.zeros(last - first, np.bool_)
        for is_second in (False, True):
            gone = _removable(words[first - 1 : last + 1], is_second=is_second)
            words[first:last] &= ~gone
            changed |= gone.any(axis=1)
        rows = np.flatnonzero(changed)
        if not rows.size:
            break
        first, last = max(1, first + int(rows[0]) - 1), min(len(words) - 1, first + int(rows[-1]) + 2)
    return np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")


def _removable(rows: Words, *, is_second: bool) -> Words:
    """Return which pixels of all rows but the first and last are removed in this half of a round."""
    west, east = _shifted(rows)
    here, n, s = rows[1:-1], rows[:-2], rows[2:]
    w, nw, sw = west[1:-1], west[:-2], west[2:]
    e, ne, se = east[1:-1], east[:-2], east[2:]
    n_ne, e_se, s_sw, w_nw = n | ne, e | se, s | sw, w | nw
    ne_e, se_s, sw_w, nw_n = ne | e, se | s, sw | w, nw | n
    is_border = _one_of(~n & ne_e, ~e & se_s, ~s & sw_w, ~w & nw_n)
    has_neighbours = _two_of(nw_n, ne_e, se_s, sw_w) & _two_of(n_ne, e_se, s_sw, w_nw)
    is_inner = nw_n & ne_e & se_s & sw_w & n_ne & e_se & s_sw & w_nw
    kept = (n_ne | ~se) & e if is_second else (s_sw | ~nw) & w
    return here & is_border & has_neighbours & ~is_inner & ~kept


def _shifted(rows: Words) -> tuple[Words, Words]:
    """Return for each pixel the one to its west, and the one to its east; the lowest bit is the westmost."""
    west, east = rows << _ONE, rows >> _ONE
    west[:, 1:] |= rows[:, :-1] >> _LAST
    east[:, :-1] |= rows[:, 1:] << _LAST
    return west, east


def _one_of(a: Words, b: Words, c: Words, d: Words) -> Words:
    """Return where exactly one of four is set."""
    ab, cd = a ^ b, c ^ d
    return np.bitwise_and(ab ^ cd, ~((a & b & cd) | (c & d & ab)))


def _two_of(a: Words, b: Words, c: Words, d: Words) -> Words:
    """Return where at least two of four are set."""
    return np.bitwise_or((a & b) | (c & d), (a | b) & (c | d))
