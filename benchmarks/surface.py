"""Flaws of the surface on synthetic fields: how often each is found, and how often fields without any show one."""

import math
import multiprocessing
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.findings import exact_interval
from benchmarks.setup import Setup
from benchmarks.tables import Figure, Section, at_least, at_most, table
from msc_vision.batch.field import FieldTask, score_field
from msc_vision.batch.pipeline import Pipeline
from msc_vision.batch.plan import available_cores
from msc_vision.findings.surface import FLAW_FLAGS
from msc_vision.learning.signs import drawn_field
from msc_vision.records import ManifestRow
from msc_vision.synth import FieldSettings, render_field
from msc_vision.synth.vessel import write_image

Changes = Mapping[str, Any]
FLAWS: Mapping[str, Changes] = {
    "bubbles": {"faults": {"bubbles": (1, 3)}},
    "bright-scratches": {"faults": {"bright_scratches": (1, 3)}},
    "detaching": {"faults": {"detaching_um": (50.0, 140.0)}, "confluency_percent": (50.0, 100.0)},
}
"""What is drawn, by the flag that it should raise; pairs are limits between which a value is drawn."""
CLEAN: Mapping[str, Changes] = {
    "0-80 % covered": {},
    "85-100 % spindles": {"confluency_percent": (85.0, 100.0), "cells": {"shares": {"spindle": 1.0}, "alignment": 0.9}},
    "aggregates": {"cells": {"aggregates": {"per_mm2": 8.0, "diameter_um": 130.0}}},
    "a wound": {"confluency_percent": (40.0, 75.0), "cells": {"scratch": {"width_um": 350.0}}},
    "dead cells, debris, dust": {
        "cells": {"dead_per_mm2": 150.0, "debris_per_mm2": 900.0, "shares": {"rounded": 0.15}},
        "background": {"dust_per_mm2": 25.0},
    },
}
"""Fields without flaws."""
N_FLAWED, N_CLEAN, SEED = 30, 25, 20_261_124
SIDE_PX = 768
INTRO = """Fields of 768 x 768 working pixels of 1.3 µm in phase contrast as for signs of contamination, without drawn
scratches but with fibres in one of ten. A field counts as found if it carries the flag. Exact 95 % intervals. Limits
were chosen on fields of another seed (31000) of the same simulator, and on real pictures without such flaws; these
fields played no part. Real bubbles, bright scratches and detaching layers have not been tested."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One field to be drawn: what it shows, by name, and its seed."""

    name: str
    changes: Changes
    seed: tuple[int, int, int]


Seen = frozenset[str] | None
"""Flags of a field, None where it was refused."""


def measure(setup: Setup) -> Section:
    """Draw the fields, let the recipe with a network read them, and count flags."""
    if setup.network is None:
        return Section("Needs a recipe with a network.")
    seen = surface_flags(setup.network, SEED, *((2, 2) if setup.is_trial else (N_FLAWED, N_CLEAN)))
    clean = [flags for name in CLEAN for flags in seen[name] if flags is not None]
    figures: list[Figure] = []
    rows = []
    for flag in FLAWS:
        assessed = [flags for flags in seen[flag] if flags is not None]
        n_found, n_false = sum(flag in flags for flags in assessed), sum(flag in flags for flags in clean)
        n, n_clean = len(assessed), len(clean)
        rows.append((flag, n, _share(n_found, n), _interval(n_found, n), _share(n_false, n_clean)))
        figures.append(at_least(f"{flag}: found", n_found / n if n else math.nan, 0.9))
        figures.append(
            at_most(f"{flag}: shown by fields without flaws", n_false / n_clean if n_clean else math.nan, 0.03)
        )
        figures.append(Figure("its interval", f"{_interval(n_false, n_clean)}, {n_clean} fields"))
    header = ("flaw", "fields", "found", "95 % interval", "of clean fields")
    by_kind = [_clean_row(name, seen[name]) for name in CLEAN]
    tables = (table(header, rows), table(("fields without flaws", "assessed", *FLAWS), by_kind))
    return Section(" ".join(INTRO.split()), tuple(figures), tables)


def surface_flags(recipe: Pipeline, seed: int, n_flawed: int, n_clean: int) -> dict[str, list[Seen]]:
    """Return the flags of each field, by what it shows.

    Parameters
    ----------
    recipe : Pipeline
        Finds the cells; a recipe with a network.
    seed : int
        Decides all fields.
    n_flawed, n_clean : int
        Fields of each flaw, and of each kind without any.
    """
    groups = [*((name, changes, n_flawed) for name, changes in FLAWS.items())]
    groups += [(name, changes, n_clean) for name, changes in CLEAN.items()]
    wanted = [Wanted(name, changes, (seed, i, j)) for i, (name, changes, n) in enumerate(groups) for j in range(n)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(available_cores(), mp_context=context) as pool:
        seen = list(pool.map(_look, wanted, [recipe] * len(wanted)))
    return {name: [s for w, s in zip(wanted, seen, strict=True) if w.name == name] for name, *_ in groups}


def _look(wanted: Wanted, recipe: Pipeline) -> Seen:
    cv2.setNumThreads(1)
    drawn = drawn_field("none", 0.0, wanted.seed, SIDE_PX)
    rng = np.random.Generator(np.random.PCG64([*wanted.seed, 1]))
    plain = _changed(drawn.settings.model_dump(), {"faults": {"scratches": 0}}, rng)
    settings = FieldSettings.model_validate(_changed(plain, wanted.changes, rng))
    with tempfile.TemporaryDirectory(prefix="msc-vision-bench-") as folder:
        path = Path(folder) / "field.ome.tif"
        write_image(path, render_field(settings, drawn.seed).image, settings.pixel_size_um, "ome-tiff")
        row = ManifestRow(str(path), "V", "t-75", 1, pixel_size_um=settings.pixel_size_um)
        score = score_field(FieldTask("field", path, row, recipe, None, None))
    return frozenset(score.flags) & frozenset(FLAW_FLAGS.values()) if score.status == "scored" else None


def _changed(settings: dict[str, Any], changes: Changes, rng: np.random.Generator) -> dict[str, Any]:
    """Return settings with others in their place, those between limits drawn."""
    changed = dict(settings)
    for name, value in changes.items():
        if isinstance(value, Mapping) and isinstance(changed.get(name), dict):
            changed[name] = _changed(changed[name], value, rng)
        else:
            changed[name] = _drawn(value, rng) if isinstance(value, tuple) else value
    return changed


def _drawn(limits: tuple[float, float], rng: np.random.Generator) -> float:
    low, high = limits
    return int(rng.integers(low, high + 1)) if isinstance(low, int) else float(rng.uniform(low, high))


def _clean_row(name: str, seen: Sequence[Seen]) -> tuple[object, ...]:
    assessed = [flags for flags in seen if flags is not None]
    return (name, len(assessed), *(sum(flag in flags for flags in assessed) for flag in FLAWS))


def _share(n_hits: int, n: int) -> str:
    return f"{n_hits} of {n}"


def _interval(n_hits: int, n: int) -> str:
    low, high = exact_interval(n_hits, n)
    return f"{low:.2f}-{high:.2f}"
