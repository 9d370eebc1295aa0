"""What split and merged cells do to the profile of a field: prints `SEGMENTATION_ERRORS`, for development only.

Run by ``python -m benchmarks.drift_errors``. Its vessels have seeds below 10,000, so they judge nothing.
"""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np

from benchmarks.drift_vessels import VesselPlan, measure_vessel
from msc_vision.batch.plan import available_cores
from msc_vision.morphology.baseline import ProfiledField
from msc_vision.morphology.profile import PROFILE_TRAITS, profile_array

RECIPE = "default"
N_VESSELS, N_FIELDS = 12, 10
PERCENT = 5.0
_LEAST_TOLD = 5e-4


def main() -> None:
    """Measure the same vessels as they are, with cells split, and with cells merged."""
    plain = [VesselPlan(f"base-{i}", 1 + i, float(c), N_FIELDS) for i, c in enumerate(np.linspace(30, 92, N_VESSELS))]
    sets = {
        "plain": plain,
        "split": [replace(one, name=f"split-{one.name}", split_percent=PERCENT) for one in plain],
        "merged": [replace(one, name=f"merged-{one.name}", merged_percent=PERCENT) for one in plain],
    }
    with ProcessPoolExecutor(available_cores(), multiprocessing.get_context("spawn")) as pool:
        found = {
            name: [field for one in pool.map(partial(measure_vessel, recipe=RECIPE), plans) for field in one.fields]
            for name, plans in sets.items()
        }
    for name in ("split", "merged"):
        print(f"{PERCENT:g} % of the cells {name}")
        for trait, change in mean_change(found["plain"], found[name]).items():
            print(f'    "{trait}": {change:.3f},')


def mean_change(plain: Sequence[ProfiledField], changed: Sequence[ProfiledField]) -> dict[str, float]:
    """Return the mean change of each trait of the same fields, on the compared scale; what hardly changes left out."""
    before, after = (profile_array([one.profile for one in fields], PROFILE_TRAITS) for fields in (plain, changed))
    changes = np.nanmean(after - before, axis=0)
    named = zip(PROFILE_TRAITS, changes.tolist(), strict=True)
    return {trait.name: change for trait, change in named if abs(change) >= _LEAST_TOLD}


if __name__ == "__main__":
    main()
