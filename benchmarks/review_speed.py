"""Time the figures of a review at 36 layers x 25 fields: open, one changed field, one judgement; no pictures.

Run with ``python -m benchmarks.review_speed``; every time is a median.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from msc_vision.batch.figures import FigureKeeper, FigureSettings
from msc_vision.records import FieldScore, ManifestRow
from msc_vision.statistics.character import Yardsticks
from msc_vision.statistics.rollup import ScoredField
from msc_vision.statistics.settings import SamplingSettings
from msc_vision.vessels import load_catalogue

N_LAYERS, N_SIDE, SIDE_MM = 36, 5, 224.0


def stack() -> dict[str, ScoredField]:
    """Return 900 scored fields of a HYPERStack 36."""
    rng = np.random.default_rng(0)
    found = {}
    for layer in range(1, N_LAYERS + 1):
        for i in range(N_SIDE**2):
            key = f"l{layer:02d}-f{i:02d}"
            y, x = ((np.array(divmod(i, N_SIDE)) + 0.5) * SIDE_MM / N_SIDE * 1000).tolist()
            row = ManifestRow(f"{key}.tif", "STACK", "hyperstack-36", layer, key, y, x, lot="L7", passage=3)
            score = FieldScore(
                key, row.path, "scored", confluency_percent=float(rng.uniform(60, 95)), judgeable_percent=100.0,
                judgeable_area_mm2=6.4, field_area_mm2=6.4, height_px=2048, width_px=2048, flags=(),
                findings={"aggregates_per_cm2": float(rng.exponential(3)), "aggregate_area_percent": 0.1},
                morphology={"density_per_cm2": float(rng.uniform(1e4, 3e4))},
            )  # fmt: skip
            found[key] = ScoredField(row, score)
    return found


def median_ms(work: Callable[[int], object], n: int = 21) -> float:
    """Return the median time of a call, which is given its number."""
    times = []
    for i in range(n):
        start = time.perf_counter()
        work(i)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def figure_times_ms() -> dict[str, float]:
    """Return how long the figures of the whole vessel take, by what changed."""
    fields = stack()
    settings = FigureSettings(load_catalogue(), "standard", SamplingSettings(), "recipe", Yardsticks())
    keeper = FigureKeeper(fields, settings)
    keeper.figures(fields)
    keys = list(fields)

    def one_field(i: int) -> object:
        key = keys[37 * i % len(keys)]
        score = replace(fields[key].score, confluency_percent=50.0 + i)
        return keeper.figures({**fields, key: replace(fields[key], score=score)})

    return {
        "everything anew": median_ms(lambda _: FigureKeeper(fields, settings).figures(fields), 3),
        "one field changed": median_ms(one_field),
        "nothing changed": median_ms(lambda _: keeper.figures(fields)),
    }


if __name__ == "__main__":
    print(figure_times_ms())
