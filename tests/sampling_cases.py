"""What the tests of sampling share: fields at places of a layer, whole stacks, and run folders that read as wanted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile

from batch_cases import plain_score
from msc_vision.batch.pipeline import load_pipeline
from msc_vision.batch.plan import RunSettings, Yardsticks, compared_with, plan_run
from msc_vision.batch.run import run_folder
from msc_vision.records import FieldScore, Manifest, ManifestRow
from msc_vision.statistics.layer_study import LayerStudy
from msc_vision.statistics.rollup import ScoredField
from msc_vision.statistics.settings import SamplingSettings
from msc_vision.vessels import load_catalogue

CATALOGUE = load_catalogue()
SAMPLING = SamplingSettings(method_error_points=5.0, flagged_error_points=25.0)
"""Of tests that state an interval: what a recipe assumes of its method is measured anew from time to time."""
SIDE_PX = 100
"""Of a drawn picture: 100 x 100 pixels, of which any hundredth of a percent can be covered."""
GRID_9 = tuple((y, x) for y in (37.0, 111.0, 185.0) for x in (37.0, 111.0, 185.0))
"""Nine places evenly over a layer of 500 cm², which is 224 mm a side; rows before columns, mm."""


def grid(n_side, area_cm2=500.0):
    """Return n_side² places evenly over a square layer, mm."""
    side = area_cm2**0.5 * 10
    at = (np.arange(n_side) + 0.5) * side / n_side
    return tuple((float(y), float(x)) for y in at for x in at)


def placed(layer, percent, place_mm=None, *, name, vessel="HS-A", kind="hyperstack-12", area=1.0, flags=(), **columns):
    """Return a scored field of ``area`` mm² whose middle lies at a place of the layer, or somewhere unknown."""
    y_um, x_um = (None, None) if place_mm is None else (1000 * place_mm[0], 1000 * place_mm[1])
    key = f"{vessel}-{layer}-{name}"
    row = ManifestRow(f"{key}.tif", vessel, kind, layer, field=name, y_um=y_um, x_um=x_um, **columns)
    score = FieldScore(
        key, row.path, "scored", confluency_percent=percent, judgeable_percent=100.0, judgeable_area_mm2=area,
        field_area_mm2=area, height_px=SIDE_PX, width_px=SIDE_PX, flags=flags,
    )  # fmt: skip
    return ScoredField(row, score)


def spread_layer(layer, percents, places=GRID_9, **rest):
    """Return fields with these confluencies at these places of one layer."""
    return [placed(layer, p, at, name=f"f{i}", **rest) for i, (p, at) in enumerate(zip(percents, places, strict=True))]


def around(percent, spread=6.0, n=9, seed=0):
    """Return n confluencies with this mean and about this spread, the same on each call."""
    own = np.random.default_rng(seed).standard_normal(n)
    return np.clip(percent + spread * (own - own.mean()), 0, 100).tolist()


def study(n_layers=12, *, offsets=None, between=0.08, kind="hyperstack-12", site=None):
    """Return a layer study; without offsets no layer is usually denser than another."""
    return LayerStudy(
        vessel_type=kind,
        site=site,
        n_vessels=5,
        offsets=offsets or (0.0,) * n_layers,
        between=between,
        freedom=44.0,
        source="five opened stacks (test)",
    )


GROWTH = {"2026-11-16T09:00:00+00:00": 20.0, "2026-11-17T09:00:00+00:00": 40.0, "2026-11-18T09:00:00+00:00": 62.0}
"""Confluency of a culture on three mornings."""


def imaged(vessel, kind, layers, course, places, spread=4.0, **columns):
    """Return fields at these places of some layers of a vessel at each time; what they show scatters by ``spread``."""
    return [
        placed(layer, p, at, name=f"f{i}", vessel=vessel, kind=kind, acquired_at=time, **columns)
        for time, level in course.items()
        for layer in layers
        for i, (p, at) in enumerate(zip(around(level, spread, len(places), seed=layer), places, strict=True))
    ]


def growing_vessels():
    """Return the fields of four vessels over time.

    ========  ===================================================================
    GROWS     a flask with three time points, four fields over its layer each
    BLIND     the same without coordinates
    TIMELESS  a flask without times
    STACK     a HYPERStack 12 of which only layers 1 and 2 were ever seen, twice
    ========  ===================================================================
    """
    flask = grid(2, 75.0)
    return [
        *imaged("GROWS", "t-75", (1,), GROWTH, flask, bank="MCB-7"),
        *imaged("BLIND", "t-75", (1,), GROWTH, (None, None)),
        *imaged("TIMELESS", "t-75", (1,), {None: 50.0}, flask),
        *imaged("STACK", "hyperstack-12", (1, 2), dict(list(GROWTH.items())[1:]), grid(2)),
    ]


def draw(path, percent):
    """Write a picture of which a share is bright: ``plain_score`` reads that share back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full(SIDE_PX**2, 1000, np.uint16)
    pixels[: round(percent / 100 * SIDE_PX**2)] = 3000
    tifffile.imwrite(path, pixels.reshape(SIDE_PX, SIDE_PX), metadata=None)


def write_run(folder, fields, *, layer_study=None, flags=()) -> Path:
    """Write pictures of these fields and their run below a folder, and return the run folder.

    A field is a `ScoredField` as `placed` makes it; its confluency is drawn and read back.
    """
    images, out = folder / "images", folder / "RUN"
    rows = []
    for one in fields:
        acquired = (one.row.acquired_at or "").replace(":", "")
        row = replace(one.row, path=f"{one.row.path.removesuffix('.tif')}{acquired}.tif", pixel_size_um=1.24)
        draw(images / row.path, one.score.confluency_percent)
        rows.append(row)

    def score(task, *, tile_map=map):
        return replace(plain_score(task, tile_map=tile_map), flags=flags)

    plan = plan_run(
        Manifest(images, tuple(rows)), CATALOGUE, load_pipeline("contrast"), out, settings=RunSettings(workers=1)
    )
    run_folder(compared_with(plan, Yardsticks(layer_study=layer_study)), scorer=score)
    return out
