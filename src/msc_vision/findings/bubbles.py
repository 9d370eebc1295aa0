"""Bubbles of gas: round, with a rim that is darker than what lies inside and outside of it.

Steep dark edges vote for the middle of the circle that they may belong to (a Hough transform), circles are fitted to
those edges, and a circle counts if its rim is dark all the way round, as far as the field reaches.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

FloatArray = NDArray[np.float32]

BUBBLE_COLUMNS = np.dtype([(name, "<f8") for name in ("y_px", "x_px", "radius_px", "rim_share", "rim_depth")])
"""A row per bubble: middle and radius in places, share of its rim that is dark, and how dark (median, logarithm)."""
_AROUND_UM = 150.0
_STEP = 1.22  # from one radius to the next that is tried
_BIN = 0.12  # of the radius: how far votes for one middle may lie apart
_N_CANDIDATES = 20
_N_FITTED = 2000  # edges that a circle is fitted to, about
_N_EDGES, _LARGE_PLACES = 5000, 10.0  # of more edges, only so many vote for circles of this radius and more
_FIT_WITHIN = (0.35, 0.25, 0.2)  # of the radius: edges that are fitted, ever nearer
_AIM = 0.85  # cosine between an edge and the way to the middle
_ANGLES = np.linspace(0, 2 * math.pi, 64, endpoint=False, dtype=np.float32)
_RIM, _OUTSIDE, _INSIDE = (0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1), (1.15, 1.25, 1.35), (0.1, 0.25, 0.4, 0.5)
_LEAST_SEEN = 0.4  # of the rim that must lie in the field


class BubbleSettings(BaseModel):
    """What counts as a bubble. Chosen on synthetic fields: placeholders."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    radius_um: tuple[float, float] = Field((22.0, 1000.0), description="Smaller rings are cells and dust.")
    edge_slope: float = Field(0.12, gt=0, description="Least step from place to place, natural logarithm.")
    edge_depth: float = Field(0.2, gt=0, description="Least darkness beside an edge, natural logarithm.")
    votes: float = Field(1.2, gt=0, description="Edges on the circle over its length; inner and outer edge both count.")
    rim_depth: float = Field(0.3, gt=0, description="Least darkness of the rim, natural logarithm.")
    rim_share: float = Field(0.87, gt=0, le=1, description="Share of the rim that is so dark; cells leave gaps.")


@dataclass(frozen=True, slots=True)
class _Edges:
    """Steep dark edges: where they are, and the way to the brighter side as a unit vector."""

    y: FloatArray
    x: FloatArray
    up_y: FloatArray
    up_x: FloatArray

    def near(self, circle: "_Circle", radii: float) -> "_Edges":
        """Return those in a square around a circle, so many of its radii to each side."""
        reach = np.float32(radii * circle.radius)
        return self._of(
            (np.abs(self.y - np.float32(circle.y)) < reach) & (np.abs(self.x - np.float32(circle.x)) < reach)
        )

    def thinned(self, step: int) -> "_Edges":
        """Return every so many."""
        return self._of(np.s_[::step])

    def _of(self, chosen: slice | NDArray[np.bool_]) -> "_Edges":
        return _Edges(self.y[chosen], self.x[chosen], self.up_y[chosen], self.up_x[chosen])


@dataclass(frozen=True, slots=True)
class _Circle:
    y: float
    x: float
    radius: float


def find_bubbles(grey: NDArray[np.uint16], place_um: float, settings: BubbleSettings | None = None) -> NDArray[np.void]:
    """Return the bubbles whose middle lies in the field: rows of `BUBBLE_COLUMNS`, the plainest first.

    Parameters
    ----------
    grey : (Y, X) uint16 array
        Of the whole field, in places.
    place_um : float
        Side of a place.
    settings : BubbleSettings, optional
    """
    limits = settings or BubbleSettings()
    contrast = _contrast(grey, place_um)
    edges = _edges(contrast, limits)
    found: list[tuple[float, ...]] = []
    kept: list[_Circle] = []
    for middle in _candidates(edges, contrast.shape, place_um, limits):
        circle = None if _is_known(middle, kept) else _fitted(middle, edges)
        if circle is None or not _is_sound(circle, contrast.shape, place_um, limits) or _is_known(circle, kept):
            continue
        depth = _rim_depth(contrast, circle)
        if depth.size < _LEAST_SEEN * _ANGLES.size:
            continue
        share = float(np.mean(depth > limits.rim_depth))
        if share >= limits.rim_share:
            kept.append(circle)
            found.append((circle.y, circle.x, circle.radius, share, float(np.median(depth))))
    return np.array(found, BUBBLE_COLUMNS)


def bubble_area(bubbles: NDArray[np.void], shape: tuple[int, int]) -> int:
    """Return how many places of the field bubbles cover, those where two overlap once."""
    mask = np.zeros(shape, np.uint8)
    for one in bubbles:
        cv2.circle(mask, (round(one["x_px"]), round(one["y_px"])), round(one["radius_px"]), 1, -1)
    return cv2.countNonZero(mask)


def _contrast(grey: NDArray[np.uint16], place_um: float) -> FloatArray:
    level = np.log(np.maximum(grey, 1), dtype=np.float32)
    side = 2 * round(_AROUND_UM / place_um) + 1
    return level - cv2.blur(level, (side, side), borderType=cv2.BORDER_REFLECT)


def _edges(contrast: FloatArray, limits: BubbleSettings) -> _Edges:
    soft = cv2.GaussianBlur(contrast, (3, 3), 0.8)
    right, down = (cv2.Sobel(soft, cv2.CV_32F, *way, scale=1 / 8) for way in ((1, 0), (0, 1)))
    slope = cv2.magnitude(right, down)
    darkest = cv2.erode(contrast, np.ones((3, 3), np.uint8))
    at = np.flatnonzero((slope > limits.edge_slope) & (darkest < -limits.edge_depth))
    y, x = np.divmod(at, contrast.shape[1])
    up_y, up_x = down.ravel()[at] / slope.ravel()[at], right.ravel()[at] / slope.ravel()[at]
    return _Edges(y.astype(np.float32), x.astype(np.float32), up_y, up_x)


def _candidates(edges: _Edges, shape: tuple[int, ...], place_um: float, limits: BubbleSettings) -> Iterator[_Circle]:
    """Yield circles that many edges point to or away from, those with most votes first."""
    low, high = limits.radius_um[0] / place_um, min(limits.radius_um[1] / place_um, 0.6 * max(shape))
    n = max(0, math.floor(math.log(max(high / low, 1)) / math.log(_STEP)) + 1)
    step = max(1, len(edges.y) // _N_EDGES)
    thinned = edges.thinned(step)
    voted: list[tuple[float, _Circle]] = []
    for radius in (low * _STEP**k for k in range(n)):
        every = step if radius >= _LARGE_PLACES else 1
        voted += _voted(edges if every == 1 else thinned, shape, radius, limits.votes, every)
    for _, circle in sorted(voted, key=lambda one: one[0], reverse=True)[:_N_CANDIDATES]:
        yield circle


def _voted(
    edges: _Edges, shape: tuple[int, ...], radius: float, least: float, every: int
) -> Iterator[tuple[float, _Circle]]:
    step = max(1.0, _BIN * radius)
    height, width = int(shape[0] / step) + 1, int(shape[1] / step) + 1
    votes = np.zeros(height * width, np.int64)
    for way in (radius, -radius):  # the brighter side of the inner edge is the middle, that of the outer one is not
        y = ((edges.y + np.float32(way) * edges.up_y) / np.float32(step)).astype(np.int32)
        x = ((edges.x + np.float32(way) * edges.up_x) / np.float32(step)).astype(np.int32)
        inside = (y >= 0) & (x >= 0) & (y < height) & (x < width)
        votes += np.bincount(y[inside] * width + x[inside], minlength=height * width)
    grid = votes.reshape(height, width).astype(np.float32)
    near = cv2.boxFilter(grid, cv2.CV_32F, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    is_peak = near >= np.float32(least * 2 * math.pi * radius / every)
    if not is_peak.any():
        return
    is_peak &= near == cv2.dilate(near, np.ones((5, 5), np.uint8))
    for row, column in np.argwhere(is_peak):
        density = float(near[row, column]) * every / (2 * math.pi * radius)
        yield density, _Circle((row + 0.5) * step, (column + 0.5) * step, radius)


def _fitted(circle: _Circle, edges: _Edges) -> _Circle | None:
    """Return the circle through the outer edges near this one (least squares, Kåsa 1976); None with too few of them."""
    edges = edges.near(circle, 1.5)
    edges = edges.thinned(1 + len(edges.y) // _N_FITTED)
    for within in _FIT_WITHIN:
        away_y, away_x = edges.y - circle.y, edges.x - circle.x
        distance = np.hypot(away_y, away_x) + np.float32(1e-6)
        is_near = np.abs(distance - circle.radius) < within * circle.radius
        is_near &= away_y * edges.up_y + away_x * edges.up_x > _AIM * distance
        if np.count_nonzero(is_near) < 8:
            return None
        y, x = away_y[is_near].astype(np.float64), away_x[is_near].astype(np.float64)
        design = np.stack([y, x, np.ones_like(y)], axis=1)
        try:
            half_y, half_x, rest = np.linalg.solve(design.T @ design, design.T @ (y * y + x * x))
        except np.linalg.LinAlgError:  # all edges on one line
            return None
        square = rest + (half_y**2 + half_x**2) / 4
        if square <= 0:
            return None
        circle = _Circle(circle.y + half_y / 2, circle.x + half_x / 2, math.sqrt(square))
    return circle


def _is_sound(circle: _Circle, shape: tuple[int, ...], place_um: float, limits: BubbleSettings) -> bool:
    low, high = limits.radius_um
    is_inside = 0 <= circle.y < shape[0] and 0 <= circle.x < shape[1]
    return is_inside and low <= circle.radius * place_um <= high


def _is_known(circle: _Circle, kept: Sequence[_Circle]) -> bool:
    return any(math.hypot(circle.y - other.y, circle.x - other.x) < max(circle.radius, other.radius) for other in kept)


def _rim_depth(contrast: FloatArray, circle: _Circle) -> FloatArray:
    """Return in each direction that lies in the field how much darker the rim is than inside and outside."""
    rim, outside, inside = (_around(contrast, circle, shares) for shares in (_RIM, _OUTSIDE, _INSIDE))
    is_seen = ~np.isnan(rim).any(axis=0)
    middle = np.nanmedian(inside)
    darkest, beyond = rim[:, is_seen].min(axis=0), _first_known(outside[:, is_seen])
    return np.fmin(middle, beyond) - darkest


def _first_known(outside: FloatArray) -> FloatArray:
    """Return the mean of what is known in each direction, NaN where nothing is."""
    known = np.isfinite(outside)
    total, n = np.where(known, outside, 0).sum(axis=0), known.sum(axis=0)
    return np.where(n > 0, total / np.maximum(n, 1), np.float32(np.nan)).astype(np.float32)


def _around(contrast: FloatArray, circle: _Circle, shares: Sequence[float]) -> FloatArray:
    """Return the contrast at shares of the radius in all directions, (shares, angles); NaN beyond the field."""
    radius = np.array(shares, np.float32)[:, None] * np.float32(circle.radius)
    y = np.rint(circle.y + radius * np.sin(_ANGLES)).astype(np.int32)
    x = np.rint(circle.x + radius * np.cos(_ANGLES)).astype(np.int32)
    inside = (y >= 0) & (x >= 0) & (y < contrast.shape[0]) & (x < contrast.shape[1])
    return np.where(inside, contrast[np.where(inside, y, 0), np.where(inside, x, 0)], np.float32(np.nan))
