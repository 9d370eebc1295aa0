"""Outlines of cells: tips that hold on to the surface, and edges that the cell's tension pulls inwards between them.

One construction serves all kinds: two tips far apart make a spindle, five a star, nine with hardly any pull a
flattened cell. Outlines are made many at a time; corners are (x, y) in µm around the nucleus, the long axis along x.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msc_vision.synth.culture import CellKind
from msc_vision.synth.culture_settings import CellSettings

Corners = NDArray[np.float64]
_N_TIP, _N_EDGE = 8, 12  # corners around a tip, and along an edge between two tips


@dataclass(frozen=True, slots=True)
class _Form:
    """Ranges that a kind's shapes are drawn from; radii and pulls as shares of the cell's own size."""

    n_tips: tuple[int, int]
    radius: tuple[float, float]
    body: tuple[float, float]
    pull: tuple[float, float]
    process_share: float
    tip_width: float  # over the settings' process width
    fan_share: float  # tips that end in a broad fan
    bend: float
    stretch: float  # standard deviation of the logarithm of how much longer than wide


_FORMS: Mapping[CellKind, _Form] = {
    CellKind.SPINDLE: _Form((2, 2), (0.75, 1.25), (0.7, 1.3), (0.12, 0.62), 0.6, 1.0, 0.35, 0.09, 0.0),
    CellKind.STELLATE: _Form((3, 6), (0.55, 1.35), (0.20, 0.42), (0.10, 0.42), 0.45, 1.1, 0.3, 0.08, 0.35),
    CellKind.FLATTENED: _Form((7, 11), (0.72, 1.12), (0.50, 0.74), (0.30, 0.40), 0.10, 2.5, 0.3, 0.06, 0.5),
    CellKind.CUBOIDAL: _Form((4, 6), (0.80, 1.15), (0.44, 0.66), (0.33, 0.40), 0.05, 2.0, 0.2, 0.03, 0.3),
    CellKind.LIPID: _Form((4, 8), (0.72, 1.15), (0.46, 0.70), (0.30, 0.40), 0.12, 1.5, 0.2, 0.05, 0.35),
    CellKind.ROUNDED: _Form((8, 8), (0.97, 1.03), (0.67, 0.71), (0.36, 0.37), 0.0, 1.0, 0.0, 0.01, 0.05),
}


def draw_outlines(
    kind: CellKind, areas_um2: NDArray[np.float64], cells: CellSettings, rng: np.random.Generator
) -> Corners:
    """Return outlines of one kind.

    Parameters
    ----------
    kind : CellKind
        One that has an outline.
    areas_um2 : (n,) float array
        Wanted areas; processes add a few percent.
    cells : CellSettings
        Slenderness, width and length of processes, unevenness of the rim.

    Returns
    -------
    (n, corners, 2) float array
        (x, y) in µm.
    """
    form = _FORMS[kind]
    n, n_tips = areas_um2.size, int(rng.integers(form.n_tips[0], form.n_tips[1] + 1))
    angle = (np.arange(n_tips) + rng.uniform(-0.28, 0.28, (n, n_tips))) * (2 * np.pi / n_tips)
    if kind == CellKind.SPINDLE:
        angle = np.arange(2) * np.pi + rng.normal(0.0, 0.12, (n, 2))
    radius = rng.uniform(*form.radius, (n, n_tips))
    body = rng.uniform(*form.body, (n, n_tips))
    if kind == CellKind.SPINDLE:
        body = body / (cells.slenderness * np.exp(rng.normal(0.0, 0.3, (n, 1)))).clip(1.2, 30) * 1.35
    pull = rng.uniform(*form.pull, (n, n_tips))
    width = 0.5 * cells.process_width_um * form.tip_width * rng.uniform(0.8, 1.3, (n, n_tips))
    is_fan = rng.random((n, n_tips)) < form.fan_share  # a tip that spreads instead of thinning out
    width = np.where(is_fan, width + 0.07 * np.sqrt(areas_um2)[:, None] * rng.uniform(0.3, 1.5, (n, n_tips)), width)
    process = rng.exponential(max(cells.process_length_um, 1e-9), (n, n_tips)).clip(0, 4 * cells.process_length_um)
    process = np.where((rng.random((n, n_tips)) < form.process_share) & ~is_fan, process, 0.3 * width)
    stretch = np.exp(np.abs(rng.normal(0.0, form.stretch, n)))[:, None, None] ** np.array([0.5, -0.5])
    size = np.sqrt(areas_um2 / _polygon_area(_outline(angle, radius, body, pull, 0 * width, 0 * width)))[:, None]
    corners = _outline(angle, radius * size, body * size, pull, width, process)
    corners = _bent(corners * stretch, form.bend, rng)
    if kind == CellKind.ROUNDED:
        return corners
    return _roughened(corners, np.sqrt(areas_um2), cells.roughness_um, rng)


def _outline(
    angle: Corners, radius: Corners, body: Corners, pull: Corners, width: Corners, process: Corners
) -> Corners:
    """Return closed outlines: around each tip and its process, then along a Bézier curve to the next tip."""
    n, n_tips = angle.shape
    out = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    side = np.stack([-out[..., 1], out[..., 0]], axis=-1)
    following = np.roll(angle, -1, axis=1) + 2 * np.pi * (np.arange(n_tips) == n_tips - 1)
    middle = 0.5 * (angle + following)
    towards = np.stack([np.cos(middle), np.sin(middle)], axis=-1) * body[..., None]
    tip = out * radius[..., None]
    along = np.linspace(0, 1, _N_TIP // 2)
    taper = 1.0 - 0.6 * along**0.7
    right = _line(tip, out * process[..., None], along) - _line(0 * side, side * width[..., None], taper)
    left = _line(tip, out * process[..., None], along[::-1]) + _line(0 * side, side * width[..., None], taper[::-1])
    start = tip + side * width[..., None]
    end = np.roll(tip - side * width[..., None], -1, axis=1)
    control_1 = tip * pull[..., None] + towards
    control_2 = np.roll(tip * pull[..., None], -1, axis=1) + towards
    edge = np.einsum("sk,knij->nisj", _bezier(_N_EDGE), np.stack([start, control_1, control_2, end]))
    return np.concatenate([right, left, edge], axis=2).reshape(n, -1, 2)


def _line(start: Corners, step: Corners, along: Corners) -> Corners:
    return start[:, :, None, :] + along[None, None, :, None] * step[:, :, None, :]


def _bezier(n: int) -> Corners:
    t = np.linspace(0, 1, n + 2)[1:-1]
    return np.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], axis=1)


def _polygon_area(corners: Corners) -> NDArray[np.float64]:
    x, y = corners[..., 0], corners[..., 1]
    twice = (x * np.roll(y, -1, axis=-1) - y * np.roll(x, -1, axis=-1)).sum(axis=-1)
    area: NDArray[np.float64] = 0.5 * np.abs(twice)
    return area


def _bent(corners: Corners, strength: float, rng: np.random.Generator) -> Corners:
    """Return outlines pushed sideways by slow waves along both axes: bent and S-shaped cells."""
    n = corners.shape[0]
    reach = np.ptp(corners, axis=1).max(axis=1)[:, None, None]
    turns = rng.uniform(0.4, 1.1, (n, 1, 2)) * 2 * np.pi / reach
    start = rng.uniform(0, 2 * np.pi, (n, 1, 2))
    amount = strength * reach * rng.normal(0.0, 1.0, (n, 1, 2)).clip(-2, 2)
    push = amount * (np.sin(turns * corners + start) - np.sin(start))
    return corners + push[..., ::-1]


def _roughened(
    corners: Corners, size_um: NDArray[np.float64], roughness_um: float, rng: np.random.Generator
) -> Corners:
    """Return outlines with a wavy, rough rim and a few thin spikes: fibres left behind when an edge draws back."""
    n, n_corners, _ = corners.shape
    coarse = rng.normal(0.0, 1.0, (n, n_corners // 6 + 1, 2)) * (0.03 * size_um[:, None, None])
    fine = rng.normal(0.0, roughness_um, (n, n_corners // 2 + 1, 2))
    corners = corners + _stretched(coarse, 6)[:, :n_corners] + _stretched(fine, 2)[:, :n_corners]
    along = np.roll(corners, -1, axis=1) - np.roll(corners, 1, axis=1)
    outwards = np.stack([along[..., 1], -along[..., 0]], axis=-1)
    outwards /= np.hypot(along[..., 0], along[..., 1])[..., None] + 1e-9
    is_spike = rng.random((n, n_corners)) < rng.beta(0.5, 12.0, (n, 1))
    spike_um = np.where(is_spike, rng.exponential(2.2 * roughness_um + 1.0, (n, n_corners)), 0.0)
    return corners + outwards * np.minimum(spike_um, 0.25 * size_um[:, None])[..., None]


def _stretched(coarse: Corners, times: int) -> Corners:
    """Return closed rows of numbers with straight lines between them."""
    share = (np.arange(times) / times)[:, None]
    following = np.roll(coarse, -1, axis=1)
    fine = coarse[:, :, None, :] * (1 - share) + following[:, :, None, :] * share
    return fine.reshape(coarse.shape[0], -1, coarse.shape[2])
