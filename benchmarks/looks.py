"""Looks of cells in synthetic cultures of other seeds than those learnt from: who is taken for whom, and the shares."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.setup import Setup
from benchmarks.tables import Figure, Section, table
from msc_vision.batch.plan import available_cores
from msc_vision.learning.looks import LabelledField, label_fields
from msc_vision.morphology.looks import LOOKS, UNSURE, LookSettings, field_looks

SEED = 7001
N_FIELDS, N_TRIAL = 64, 4
BANDS = ((20, 40), (40, 60), (60, 70), (70, 86))
INTRO = """Exploratory: looks are resemblances to drawn cells, no lineages. {n} synthetic fields in phase contrast of
random light, camera and mixture of looks, 20 to 85 % covered, pixels of 0.65 to 1.6 µm, of a seed that the weights have
not seen, from the same simulator. Cells are those that the recipe segments; each is given the look of the true cell
with which it shares more than half of their union. {unmatched:.0f} % of the measured cells have none: parts of cells,
or several in one."""


class Shares(NamedTuple):
    """Shares of one field, 0 to 1, in the order of `LOOKS`.

    ``told`` is the figure of the field, ``counted`` plain counts of the most probable look, ``drawn`` of all true
    cells, ``segmented`` of those that were segmented well.
    """

    confluency_percent: float
    told: NDArray[np.float64]
    counted: NDArray[np.float64]
    drawn: NDArray[np.float64]
    segmented: NDArray[np.float64]


def measure(setup: Setup) -> Section:
    """Draw the fields, look at them with the network and compare."""
    recipe = setup.network
    if recipe is None:
        return Section("No recipe with a network: there are no cells.")
    n = N_TRIAL if setup.is_trial else N_FIELDS
    return section(label_fields(range(n), SEED, recipe, available_cores()), recipe.looks)


def section(fields: Sequence[LabelledField], settings: LookSettings) -> Section:
    """Return what is right in fields whose truth is known."""
    named = confusion(fields, settings)
    shares = [one for field in fields if (one := shares_of(field, settings)) is not None]
    kinds = np.concatenate([field.kind[field.cells["is_measured"]] for field in fields])
    intro = INTRO.format(n=len(fields), unmatched=100 * np.mean(kinds < 0))
    header = (*LOOKS, UNSURE)
    rows = [
        (name, *(f"{100 * one:.0f}" for one in line / max(line.sum(), 1)), int(line.sum()))
        for name, line in zip(LOOKS, named, strict=True)
    ]
    tables = (
        "Named (columns, in percent) of the cells that are (rows):\n\n" + table(("true", *header, "cells"), rows),
        "Mean absolute error of the shares in points, against all true cells of the field:\n\n" + _share_table(shares),
    )
    return Section(" ".join(intro.split()), _figures(named, shares), tables)


def confusion(fields: Sequence[LabelledField], settings: LookSettings) -> NDArray[np.int64]:
    """Return (6, 7) counts: true look by named look, the last column those that are unsure."""
    counts = np.zeros((len(LOOKS), len(LOOKS) + 1), np.int64)
    columns = {name: i for i, name in enumerate((*LOOKS, UNSURE))}
    for field in fields:
        look = field_looks(field.cells, settings).cells["look"]
        for kind, name in zip(field.kind, look, strict=True):
            if kind >= 0 and name:
                counts[kind, columns[str(name)]] += 1
    return counts


def shares_of(field: LabelledField, settings: LookSettings) -> Shares | None:
    """Return the shares of one field, None where too few cells are measured."""
    looks = field_looks(field.cells, settings)
    told = np.array(list(looks.figures.values())) / 100
    if not np.isfinite(told).all() or not field.truth.any():
        return None
    always = field_looks(field.cells, settings.model_copy(update={"sure_from": 0.0})).cells["look"]
    weights = np.where(field.cells["is_measured"], field.cells["border_weight"], 0.0)
    counted = np.array([weights[always == name].sum() for name in LOOKS])
    segmented = np.array([weights[field.kind == i].sum() for i in range(len(LOOKS))])
    return Shares(
        field.confluency_percent,
        told,
        counted / counted.sum(),
        field.truth / field.truth.sum(),
        segmented / max(segmented.sum(), 1e-9),
    )


def _mean_and_worst(percents: Sequence[float]) -> str:
    return f"mean {np.mean(percents):.1f} %, worst {max(percents):.1f} %" if percents else "no such field"


def _share_table(shares: Sequence[Shares]) -> str:
    rows = []
    for low, high in BANDS:
        some = [one for one in shares if low <= one.confluency_percent < high]
        if some:
            errors = 100 * np.mean([np.abs(one.told - one.drawn) for one in some], axis=0)
            rows.append((f"{low} to {high} %", *(f"{e:.1f}" for e in errors), f"{errors.mean():.1f}", len(some)))
    for name in ("told", "counted"):
        errors = 100 * np.mean([np.abs(getattr(one, name) - one.drawn) for one in shares], axis=0)
        words = "all" if name == "told" else "all, plain counts"
        rows.append((words, *(f"{e:.1f}" for e in errors), f"{errors.mean():.1f}", len(shares)))
    return table(("covered", *LOOKS, "mean", "fields"), rows)


def _figures(named: NDArray[np.int64], shares: Sequence[Shares]) -> tuple[Figure, ...]:
    sure = named[:, :-1]
    right = np.trace(sure) / max(sure.sum(), 1)
    recall = np.mean(np.diag(sure) / np.maximum(named.sum(axis=1), 1))
    apart = 100 * np.mean([np.abs(one.told - one.segmented) for one in shares])
    drawn = 100 * np.mean([np.abs(one.told - one.drawn) for one in shares])
    places = [LOOKS.index("cuboidal"), LOOKS.index("lipid")]
    together = 100 * np.mean([abs((one.told - one.drawn)[places].sum()) for one in shares])
    free = [100 * one.told[places].sum() for one in shares if one.drawn[places].sum() == 0]
    return (
        Figure("cells that get a name", f"{100 * sure.sum() / max(named.sum(), 1):.0f} %"),
        Figure("right of those named", f"{100 * right:.0f} %"),
        Figure("named rightly, mean over looks", f"{100 * recall:.0f} %"),
        Figure("mean error of a share, against all true cells", f"{drawn:.1f} points"),
        Figure("mean error of a share, against the cells that were segmented well", f"{apart:.1f} points"),
        Figure("mean error of cuboidal and lipid together", f"{together:.1f} points"),
        Figure(f"cuboidal and lipid together in {len(free)} fields without any", _mean_and_worst(free)),
    )
