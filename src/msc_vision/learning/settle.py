"""What a trained network's maps mean: found on pictures that its training did not see, and sealed with its weights.

The foreground's probabilities are calibrated by one temperature. How far the way between two summits may descend before
they are two cells, and how much the cores map is smoothed before, are chosen by what they do to whole cells.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from msc_vision.learning.prepared import TrainingItem
from msc_vision.records import Region
from msc_vision.segmentation.cells import CellMaps, CellParts, CellSettings, cell_parts, join_cells
from msc_vision.segmentation.fusion import TrustSettings, probabilities
from msc_vision.segmentation.network.inputs import network_inputs
from msc_vision.segmentation.network.maps import MAPS
from msc_vision.segmentation.network.model import GRID, CultureNetwork, know
from msc_vision.segmentation.network.predict import has_native_bf16, predict_window
from msc_vision.segmentation.network.weights import ModelSettings

FOREGROUND_LIMIT = 0.5
_SMOOTH_UM = (2.5, 3.2, 4.0, 5.0)
_JOIN_FROM = (0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
_SPLINTER_UM2 = (150.0, 300.0, 500.0)
_CANDIDATES = tuple(
    CellSettings(smooth_um=smooth, join_from=join, splinter_um2=splinter)
    for smooth, join, splinter in itertools.product(_SMOOTH_UM, _JOIN_FROM, _SPLINTER_UM2)
)
_FLOORS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0)
_PER_UNSURE = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5)
_COVERED = 0.9
_HALF = 127
_FAMILIAR = 99.0
_MARGIN = 1.1
"""Placeholder: how far beyond its training a network still knows its way has not been measured."""


class Annotated(NamedTuple):
    """A picture at the canonical pixel size and its cells, (Y, X) uint16 and int32."""

    picture: NDArray[np.uint16]
    labels: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Settled:
    """What was found, and how well it does on the pictures it was found on.

    ``ap50_apart`` is the mean over pictures when each half is judged with what was found on the other half.
    """

    settings: ModelSettings
    temperature: float
    ap50: float
    ap50_apart: float
    n_pictures: int


class _Seen(NamedTuple):
    """One picture: its parts for each smoothing, and what they share with the true cells."""

    shape: tuple[int, int]
    parts: dict[float, CellParts]
    shared: dict[float, NDArray[np.int64]]  # (n, 3): local number of a part (0: bare), true cell (0: bare), pixels


def settle(network: CultureNetwork, pictures: Sequence[Annotated], canonical_pixel_size_um: float) -> Settled:
    """Find temperature and joining of a network.

    Parameters
    ----------
    network : CultureNetwork
        In evaluation mode, on the CPU.
    pictures : sequence of Annotated
        At least two, none of which it was trained on.
    canonical_pixel_size_um : float
    """
    bf16 = has_native_bf16()
    counts = np.zeros((256, 2), np.int64)
    seen = []
    for picture, labels in pictures:
        maps, *_ = predict_window(network, picture.astype(np.float32), 1.0, bf16=bf16)
        counts += _counted(maps[0], labels > 0)
        seen.append(_look(maps, labels, canonical_pixel_size_um))
    scores = np.array([[_ap50(one, joining, canonical_pixel_size_um) for joining in _CANDIDATES] for one in seen])
    best = int(np.argmax(scores.mean(axis=0)))
    settings = ModelSettings(foreground_limit=FOREGROUND_LIMIT, cells=_CANDIDATES[best])
    return Settled(settings, _temperature(counts), float(scores[:, best].mean()), _apart(scores), len(seen))


def remember(network: CultureNetwork, pictures: Iterable[NDArray[np.uint16]]) -> float:
    """Let a network remember what it was trained on, and return the strangeness from which a field is unlike it.

    Parameters
    ----------
    network : CultureNetwork
        In evaluation mode, on the CPU; its memory is overwritten.
    pictures : iterable of (Y, X) uint16 arrays
        At the canonical pixel size.

    Returns
    -------
    float
        What `_FAMILIAR` percent of the pictures stay below, and a margin.
    """
    features = [_features(network, picture) for picture in pictures]
    know(network, torch.cat(features))
    medians = [float(network.strangeness(one).median()) for one in features]
    return round(_MARGIN * float(np.percentile(medians, _FAMILIAR)), 3)


def trust(network: CultureNetwork, items: Sequence[TrainingItem], temperature: float) -> TrustSettings:
    """Return how far the confluency of a field may be off, by what was unsure and what was wrong on held-out fields.

    Parameters
    ----------
    network : CultureNetwork
        In evaluation mode, on the CPU.
    items : sequence of TrainingItem
        Fields that it was not trained on.
    temperature : float
        Of the foreground's probabilities.
    """
    seen = np.array([_error_and_unsure(network, item, temperature) for item in items])
    return narrowest(seen[:, 0], seen[:, 1])


def narrowest(errors: NDArray[np.float64], unsure_percent: NDArray[np.float64]) -> TrustSettings:
    """Return the settings that are narrowest on average of those within which enough fields lie.

    Parameters
    ----------
    errors : (N,) float array
        Points of confluency, without sign.
    unsure_percent : (N,) float array
    """
    candidates = [TrustSettings(floor_points=a, per_unsure=b) for a, b in itertools.product(_FLOORS, _PER_UNSURE)]
    widths = np.array([[one.within_points(u) for u in unsure_percent] for one in candidates])
    is_enough = (errors <= widths).mean(axis=1) >= _COVERED
    if not is_enough.any():
        return candidates[-1]
    return candidates[int(np.argmin(np.where(is_enough, widths.mean(axis=1), np.inf)))]


def _error_and_unsure(network: CultureNetwork, item: TrainingItem, temperature: float) -> tuple[float, float]:
    found, *_ = predict_window(network, item.picture.astype(np.float32), temperature, bf16=has_native_bf16())
    judged = (item.maps[0, ..., 3] > _HALF).view(np.uint8)
    n_judged = max(cv2.countNonZero(judged), 1)
    truth = cv2.countNonZero((item.maps[0, ..., 0] > _HALF).view(np.uint8) & judged)
    counted = cv2.countNonZero((found[0] > round(255 * FOREGROUND_LIMIT)).view(np.uint8) & judged)
    return 100 * abs(counted - truth) / n_judged, 100 * probabilities(found[0], judged).n_unsure / n_judged


def _features(network: CultureNetwork, picture: NDArray[np.uint16]) -> torch.Tensor:
    height, width = picture.shape
    padded = cv2.copyMakeBorder(picture.astype(np.float32), 0, -height % GRID, 0, -width % GRID, cv2.BORDER_REFLECT_101)
    inputs = torch.from_numpy(network_inputs(padded))[None].to(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=has_native_bf16()):
        return network.look(inputs).features[0].float()


def _counted(foreground_map: NDArray[np.uint8], truth: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.stack([np.bincount(foreground_map[truth == t], minlength=256) for t in (False, True)], axis=1)


def _temperature(counts: NDArray[np.int64]) -> float:
    """Return the temperature at which probabilities lie closest to what was true, by log likelihood."""
    from scipy.optimize import minimize_scalar

    probability = (np.arange(256) + 0.5) / 256
    logits = np.log(probability / (1 - probability))

    def surprise(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float((counts[:, 1] * np.logaddexp(0, -scaled) + counts[:, 0] * np.logaddexp(0, scaled)).sum())

    return float(np.exp(minimize_scalar(surprise, bounds=(-1.5, 1.5), method="bounded").x))


def _look(maps: NDArray[np.uint8], labels: NDArray[np.int32], pixel_um: float) -> _Seen:
    named = dict(zip(MAPS, maps, strict=True))
    named["foreground"] = (maps[0] > round(255 * FOREGROUND_LIMIT)).view(np.uint8)
    cells = CellMaps(*(named[name] for name in CellMaps._fields))
    region = Region(0, labels.shape[0], 0, labels.shape[1])
    parts, shared = {}, {}
    n_true = int(labels.max()) + 1
    for smooth_um in _SMOOTH_UM:
        parts[smooth_um], local = cell_parts(cells, region, region, labels.shape[1], smooth_um / pixel_um)
        key, pixels = np.unique(local.astype(np.int64) * n_true + labels, return_counts=True)
        shared[smooth_um] = np.stack([*np.divmod(key, n_true), pixels], axis=1)
    return _Seen(region.shape, parts, shared)


def _apart(scores: NDArray[np.float64]) -> float:
    """Return the mean AP50 of each half of the pictures (rows) with the candidate that is best for the other half."""
    halves = scores[::2], scores[1::2]
    apart = [own[:, int(np.argmax(other.mean(axis=0)))] for own, other in (halves, halves[::-1])]
    return float(np.concatenate(apart).mean())


def _ap50(seen: _Seen, joining: CellSettings, pixel_um: float) -> float:
    """Return true cells found over all that are true or found, a cell being found where IoU exceeds one half."""
    parts, shared = seen.parts[joining.smooth_um], seen.shared[joining.smooth_um]
    objects = join_cells([parts], joining, seen.shape, 1, seen.shape, pixel_um, pixel_um)
    found = objects.lookups[0].astype(np.int64)[shared[:, 0]]
    true, pixels = shared[:, 1], shared[:, 2]
    n_true = int(true.max()) + 1
    key, place = np.unique(found * n_true + true, return_inverse=True)
    both = np.bincount(place, pixels)
    of_found, of_true = np.bincount(found, pixels), np.bincount(true, pixels)
    a, b = np.divmod(key, n_true)
    iou = both / (of_found[a] + of_true[b] - both)
    n_hits = int(((iou > 0.5) & (a > 0) & (b > 0)).sum())
    n_all = np.count_nonzero(of_found[1:]) + np.count_nonzero(of_true[1:]) - n_hits
    return n_hits / n_all if n_all else 1.0
