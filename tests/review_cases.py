"""What the tests of reviews share: a stack with a nearly empty field, and people who say things of it."""

import json
from dataclasses import replace

import numpy as np

from evidence_cases import CONTEXT
from msc_vision.batch.reviewed import ReviewedRun
from msc_vision.batch.store import layers_table, vessels_content
from msc_vision.review.events import Deed, Reviewer
from msc_vision.review.masks import FieldMasks, difference
from msc_vision.statistics.vessel_rollup import run_components
from sampling_cases import around, grid, spread_layer

ANNA, BEN, CARO = Reviewer("Anna"), Reviewer("Ben"), Reviewer("Caro")


def flask_with_empty_field(vessel="FLASK"):
    """Return nine fields over a flask at about 80 %, the first of which shows next to nothing."""
    percents = around(80.0)
    return spread_layer(1, [2.0, *percents[1:]], grid(3, 75.0), vessel=vessel, kind="t-75", **CONTEXT)


def stack_with_empty_field():
    """Return nine fields on layers 1, 3 and 6 of a stack at about 80 %; the first of layer 3 is nearly empty."""
    found = []
    for layer in (1, 3, 6):
        percents = around(80.0, seed=layer)
        first = 2.0 if layer == 3 else percents[0]
        found += spread_layer(layer, [first, *percents[1:]], vessel="STACK", kind="hyperstack-12", **CONTEXT)
    return found


def first_key(run, layer=1):
    """Return the key of the first field of a layer."""
    return next(key for key, one in run.original.fields.items() if one.row.layer == layer)


def say(run, who, action, key, code=None, reason=None, after=None):
    """Let somebody say something of a field."""
    return run.act(who, Deed(action, run.target(key), after=after, reason_code=code, reason=reason))


def reject(run, who, key, code="debris", reason="a hair over the field"):
    """Let somebody reject a field."""
    return say(run, who, "rejected", key, code, reason)


def paint(run, who, key, rows=slice(90, 100), value=True):
    """Let somebody paint cover over some rows of a field, and return the event."""
    masks = run.masks(key)
    after = masks.copy()
    after.foreground[rows] = value
    if not value:
        after.cells[rows] = 0
    return run.edit(key, difference(masks, after), who, "paint" if value else "erase")


def figures_content(figures):
    """Return figures as vessels.json would hold them."""
    components = run_components(figures.fields.values())
    made = vessels_content(figures.vessels, figures.batches, components, figures.characters)
    return json.loads(json.dumps(made))


def layers_of(figures):
    """Return figures as layers.parquet would hold them."""
    return layers_table([one for vessel in figures.vessels for one in vessel.layers], figures.characters)


def random_masks(rng, shape=(24, 31)):
    """Return masks with some of everything."""
    cells = rng.integers(0, 5, shape).astype(np.int32)
    return FieldMasks(
        (cells > 0) | (rng.random(shape) < 0.1),
        cells,
        rng.random(shape) < 0.9,
        rng.integers(0, 3, shape).astype(np.int32),
    )


def doubtful(fields, *flags):
    """Return fields that all carry flags."""
    return [replace(one, score=replace(one.score, flags=flags)) for one in fields]


def opened(out) -> ReviewedRun:
    """Open a run folder for review."""
    return ReviewedRun.open(out)
