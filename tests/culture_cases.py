"""Cultures simple enough to know what a picture of them has to show."""

import numpy as np

from msc_vision.synth.culture import Culture


def culture_of(phase, labels=None, *, absorption=None, granularity=None):
    """A culture from its phase; one cell wherever it is not 0, unless labels are given."""
    phase = np.asarray(phase, np.float32)
    labels = (phase != 0).astype(np.int32) if labels is None else labels.astype(np.int32)
    empty = np.zeros(phase.shape, np.float32)
    return Culture(
        labels=labels,
        phase=phase,
        absorption=empty if absorption is None else absorption.astype(np.float32),
        granularity=empty if granularity is None else granularity.astype(np.float32),
        kinds=np.ones(int(labels.max()) + 1, np.uint8),
        aggregates=empty.astype(np.uint8),
        debris=empty.astype(np.uint8),
    )


def distance_um(side_px=256, pixel_size_um=0.5):
    """Distance from the middle of a square field."""
    along = (np.arange(side_px) - side_px / 2) * pixel_size_um
    return np.hypot(along[:, None], along[None, :]).astype(np.float32)


def disc(phase, radius_um, *, side_px=256, pixel_size_um=0.5, edge_um=1.0):
    """Phase of a flat cell: a disc with a soft rim."""
    distance = distance_um(side_px, pixel_size_um)
    return (phase * (0.5 - 0.5 * np.tanh((distance - radius_um) / edge_um))).astype(np.float32)


def dome(phase, radius_um, *, side_px=256, pixel_size_um=0.5):
    """Phase of a rounded cell: half a ball."""
    distance = distance_um(side_px, pixel_size_um)
    return (phase * np.sqrt(np.clip(1 - (distance / radius_um) ** 2, 0, 1))).astype(np.float32)


def patchwork(seed=0, *, shape=(192, 256), n=12, phase=(0.03, 0.4)):
    """A dozen blunt cells of very different thickness, with granules, and bare surface between them."""
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    labels, thickness = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    for label in range(1, n + 1):
        y, x = rng.random(2) * shape
        turn, long, short = rng.uniform(0, np.pi), rng.uniform(15, 40), rng.uniform(8, 14)
        u = (np.cos(turn) * (columns - x) + np.sin(turn) * (rows - y)) / long
        v = (np.cos(turn) * (rows - y) - np.sin(turn) * (columns - x)) / short
        inside = (u**2 + v**2 < 1) & (labels == 0)
        labels[inside] = label
        body = np.clip(4 * (1 - u**2 - v**2), 0, 1) * np.exp(rng.uniform(*np.log(phase)))
        thickness[inside] = body[inside]
    return culture_of(thickness, labels, granularity=0.6 * (labels > 0))
