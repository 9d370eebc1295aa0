"""How long the roll-up of a large run takes, over the time that its fields' means alone take."""

import math
import time
from collections import defaultdict
from dataclasses import replace

import numpy as np

from benchmarks.sampling import placed_fields
from benchmarks.sampling_layers import LayerKind, draw_layer, grid_places
from benchmarks.setup import Setup
from benchmarks.tables import Figure, Section, at_most
from msc_vision.statistics.rollup import ScoredField, layer_estimates
from msc_vision.statistics.vessel_rollup import vessel_estimates
from msc_vision.vessels import load_catalogue

SEED = 985_000
INTRO = (
    "Vessels of 36 layers with 25 fields each, from the records of their fields to layers and vessels, in one process."
)


def measure(setup: Setup) -> Section:
    """Roll up once, and take plain means of the same fields in the same run."""
    n_fields = 1_000 if setup.is_trial else 10_000
    fields = many_fields(n_fields)
    catalogue = load_catalogue()
    start = time.perf_counter()
    vessel_estimates(layer_estimates(fields, catalogue), catalogue)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    means: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    for one in fields:
        means[one.row.vessel_id, one.row.layer].append(one.score.confluency_percent or 0.0)
    floor = sum(float(np.mean(values)) > 0 for values in means.values()) and time.perf_counter() - start
    return Section(
        INTRO,
        (
            at_most(f"{n_fields:,} fields rolled up, s", seconds, 2.0),
            Figure("the same over plain means of the layers", f"{seconds / floor:.0f} times"),
        ),
    )


def many_fields(n_fields: int) -> list[ScoredField]:
    """Return fields of as many vessels as it takes."""
    rng = np.random.default_rng(SEED)
    fields: list[ScoredField] = []
    for vessel in range(math.ceil(n_fields / 900)):
        for layer in range(1, 37):
            y, x = grid_places(rng, 5)
            for one in placed_fields(draw_layer(rng, 70, LayerKind())[y, x], y, x, "hyperstack-36", layer):
                name = f"V{vessel:02d}"
                row = replace(one.row, vessel_id=name, path=f"{name}-{one.row.path}")
                fields.append(ScoredField(row, replace(one.score, key=f"{name}-{one.score.key}")))
    return fields[:n_fields]
