"""How the weights that tell the looks of cells are made: synthetic fields, segmented as a run does, and one small net.

``python -m msc_vision.learning.looks --out FILE`` draws, measures, fits and writes; the seed decides what is drawn.
What is learnt are looks in a simulator: exploratory, and nothing about lineages.
"""

import argparse
import logging
import math
import multiprocessing
import sys
import tempfile
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from msc_vision.batch.describe import CELL
from msc_vision.batch.field import FieldTask, score_field
from msc_vision.batch.pipeline import Pipeline, load_pipeline
from msc_vision.batch.plan import available_cores
from msc_vision.errors import UndefinedResultError
from msc_vision.io.labels import read_labels
from msc_vision.io.output import write_whole
from msc_vision.morphology.looks import LOOKS, LookModel, look_inputs, standardised
from msc_vision.records import ManifestRow
from msc_vision.synth import CellKind, FieldSettings, render_field
from msc_vision.synth.culture_settings import CellSettings, IslandSettings, KindShares
from msc_vision.synth.image_settings import ContaminationSettings, FaultSettings
from msc_vision.synth.variety import random_image_settings
from msc_vision.synth.vessel import write_image

_LOG = logging.getLogger(__name__)

SIDE_UM = 800.0
"""Side of a drawn field, about: some hundred cells."""
_SEEN_UM2 = 60.0
"""Area that has to show of a cell before the truth counts it."""
_IOU_MIN = 0.5

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class LabelledField(NamedTuple):
    """The cells of a synthetic field as a run sees them, and what they are.

    Attributes
    ----------
    cells : (n,) structured array of `DESCRIBED_COLUMNS`
    kind : (n,) int64 array
        Place in `LOOKS` of the true cell that shares more than half of the union with each; -1 where none does.
    truth : (6,) float64 array
        True cells of each look, those not cut by the border, each counted for those of its size that are.
    confluency_percent : float
        True one.
    """

    cells: NDArray[np.void]
    kind: IntArray
    truth: FloatArray
    confluency_percent: float


def draw_field(rng: np.random.Generator) -> FieldSettings:
    """Draw a mixture of looks under varied phase contrast: 20 to 85 % covered, pixels of 0.65 to 1.6 µm."""
    of_cells, of_picture = rng.spawn(2)
    pixel_size_um = _log_uniform(of_cells, 0.65, 1.6)
    picture = random_image_settings(of_picture, pixel_size_um=pixel_size_um)
    while picture.optics.mode != "phase-contrast":
        picture = random_image_settings(of_picture, pixel_size_um=pixel_size_um)
    clean = {"faults": FaultSettings(), "contamination": ContaminationSettings()}
    side = round(SIDE_UM / pixel_size_um)
    return FieldSettings(
        height_px=side,
        width_px=side,
        pixel_size_um=pixel_size_um,
        confluency_percent=of_cells.uniform(20, 85),
        cells=_mixed_cells(of_cells),
        **dict(picture) | clean,
    )


def _mixed_cells(rng: np.random.Generator) -> CellSettings:
    shares = dict(zip(LOOKS, rng.dirichlet(np.full(len(LOOKS), 0.6)), strict=True))
    shares["rounded"] *= 0.4
    if rng.random() < 0.3:  # as undifferentiated cultures are
        shares |= {"cuboidal": 0.0, "lipid": 0.0, "rounded": 0.05 * rng.random()}
    return CellSettings(
        shares=KindShares(**shares),
        area_um2=_log_uniform(rng, 1000, 3200),
        area_spread=rng.uniform(0.2, 0.4),
        flattened_area_um2=_log_uniform(rng, 5000, 14000),
        rounded_diameter_um=rng.uniform(13, 22),
        slenderness=_log_uniform(rng, 3, 9),
        process_width_um=rng.uniform(1.4, 2.6),
        process_length_um=_log_uniform(rng, 8, 45),
        roughness_um=_log_uniform(rng, 0.3, 1.4),
        phase=_log_uniform(rng, 0.25, 0.9),
        phase_spread=rng.uniform(0.2, 0.6),
        flattened_phase=_log_uniform(rng, 0.25, 0.6),
        edge_um=_log_uniform(rng, 1.0, 4.5),
        texture=_log_uniform(rng, 0.12, 0.6),
        clumping=rng.uniform(0, 2),
        alignment=rng.uniform(0, 1),
        contact=rng.uniform(0, 0.5),
        islands=IslandSettings(share=rng.uniform(0.1, 0.4) if rng.random() < 0.1 else 0.0, cell_area_um2=700.0),
        debris_per_mm2=_log_uniform(rng, 3, 300),
        dead_per_mm2=_log_uniform(rng, 0.3, 20),
    )


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return low * math.exp(rng.random() * math.log(high / low))


def label_field(number: int, seed: int, pipeline: Pipeline) -> LabelledField | None:
    """Draw one field, score it as a run does, and name its cells; None where the recipe refuses to judge it."""
    cv2.setNumThreads(1)
    rng = np.random.Generator(np.random.PCG64([seed, number]))
    settings = draw_field(rng)
    drawn = render_field(settings, int(rng.integers(2**31)))
    with tempfile.TemporaryDirectory(prefix="msc-vision-looks-") as folder:
        path, store, rows = (Path(folder) / name for name in ("field.ome.tif", "labels.ome.zarr", "objects.npy"))
        write_image(path, drawn.image, settings.pixel_size_um, "ome-tiff")
        row = ManifestRow(str(path), "V", "t-75", 1, pixel_size_um=settings.pixel_size_um)
        score = score_field(FieldTask("field", path, row, pipeline, store, rows))
        if score.status != "scored":
            return None
        objects = np.load(rows, allow_pickle=False)
        _, labels, meta = read_labels(store)
    cells = objects[objects["kind"] == CELL]
    start = meta.factor // 2
    truth = drawn.labels[start :: meta.factor, start :: meta.factor][: labels.shape[0], : labels.shape[1]]
    kind = matched_kinds(truth, drawn.kinds, labels[: truth.shape[0], : truth.shape[1]])[cells["label"]]
    counts = true_counts(drawn.labels, drawn.kinds, settings.pixel_size_um)
    return LabelledField(cells, kind, counts, drawn.confluency_percent)


def matched_kinds(truth: NDArray[np.int32], kinds: NDArray[np.uint8], labels: NDArray[np.int32]) -> IntArray:
    """Return for each label (0 included) the place in `LOOKS` of the true cell that it is, -1 where it is none."""
    n_true, n = len(kinds), int(labels.max()) + 1
    shared = np.bincount(truth.ravel().astype(np.int64) * n + labels.ravel(), minlength=n_true * n).reshape(n_true, n)
    union = shared.sum(axis=1)[:, None] + shared.sum(axis=0)[None] - shared
    overlap = shared / np.maximum(union, 1)
    overlap[0] = 0
    look = _look_of(kinds)[overlap.argmax(axis=0)]
    look[(overlap.max(axis=0) <= _IOU_MIN) | (np.arange(n) == 0)] = -1
    return look


def true_counts(labels: NDArray[np.int32], kinds: NDArray[np.uint8], pixel_size_um: float) -> FloatArray:
    """Return how many true cells of each look a field shows, weighted for those that its border cuts."""
    from scipy import ndimage

    counts, look = np.zeros(len(LOOKS)), _look_of(kinds)
    area_px = np.bincount(labels.ravel(), minlength=len(kinds))
    height, width = labels.shape
    for number, box in enumerate(ndimage.find_objects(labels, len(kinds) - 1), start=1):
        if box is None or look[number] < 0 or area_px[number] * pixel_size_um**2 < _SEEN_UM2:
            continue
        rows, columns = box
        if rows.start and columns.start and rows.stop < height and columns.stop < width:
            free = (height - (rows.stop - rows.start) - 1) * (width - (columns.stop - columns.start) - 1)
            counts[look[number]] += height * width / max(free, 1)
    return counts


def _look_of(kinds: NDArray[np.uint8]) -> IntArray:
    places = np.full(max(CellKind) + 1, -1, np.int64)
    for place, name in enumerate(LOOKS):
        places[CellKind[name.upper()]] = place
    return places[kinds]


def label_fields(numbers: Sequence[int], seed: int, pipeline: Pipeline, workers: int) -> list[LabelledField]:
    """Return the fields of some numbers in order, without those refused; the number of workers changes nothing."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        found = pool.map(label_field, numbers, [seed] * len(numbers), [pipeline] * len(numbers), chunksize=4)
        return [field for field in found if field is not None]


# --- the fit ---------------------------------------------------------------------------------------------------------


class LookRecipe(BaseModel):
    """How the weights are made. Made twice they agreed to 0.01: single pixels of segmented cells may differ."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(20_261_124, ge=0)
    n_fields: int = Field(170, ge=1, description="fields that are drawn; those that cannot be judged teach nothing")
    n_hidden: int = Field(24, ge=1, description="hidden units of the net")
    ridge: float = Field(0.3, ge=0, description="how strongly large weights are punished")
    n_passes: int = Field(30, ge=1, description="passes through the cells")
    pipeline: str = Field("default", description="recipe by which the fields are segmented")


class LookExamples(NamedTuple):
    """Measured cells with a true look: (n, d) float64 inputs, and (n,) int64 places in `LOOKS`."""

    inputs: FloatArray
    look: IntArray


def look_examples(fields: Sequence[LabelledField]) -> LookExamples:
    """Return the measured cells of fields of which it is known what they are."""
    chosen = [field.cells["is_measured"] & (field.kind >= 0) for field in fields]
    inputs = [look_inputs(field.cells[one]) for field, one in zip(fields, chosen, strict=True)]
    return LookExamples(
        np.concatenate(inputs), np.concatenate([f.kind[one] for f, one in zip(fields, chosen, strict=True)])
    )


def fit_looks(examples: LookExamples, recipe: LookRecipe) -> LookModel:
    """Fit the net to as many cells of each look, so that its probabilities are those under equal shares.

    Raises
    ------
    UndefinedResultError
        If a look has no example.
    """
    from sklearn.neural_network import MLPClassifier

    counts = np.bincount(examples.look, minlength=len(LOOKS))
    if not counts.all():
        missing = [name for name, n in zip(LOOKS, counts, strict=True) if n == 0]
        raise UndefinedResultError(f"No example of {', '.join(missing)}: draw more fields.")
    mean: FloatArray = np.nanmean(examples.inputs, axis=0)
    spread: FloatArray = np.nanstd(examples.inputs, axis=0)
    scale: FloatArray = np.where(spread > 0, spread, 1.0)
    rng = np.random.Generator(np.random.PCG64(recipe.seed))
    n_each = int(counts.max())
    places = np.concatenate([rng.choice(np.flatnonzero(examples.look == i), n_each) for i in range(len(LOOKS))])
    net = MLPClassifier(
        (recipe.n_hidden,),
        activation="tanh",
        alpha=recipe.ridge,
        batch_size=min(256, len(places)),
        learning_rate_init=3e-3,
        max_iter=recipe.n_passes,
        tol=0.0,
        random_state=recipe.seed % 2**32,
        n_iter_no_change=recipe.n_passes + 1,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Stochastic Optimizer: Maximum iterations")  # as many as wanted
        net.fit(standardised(examples.inputs, mean, scale)[places], examples.look[places])
    facts = {
        "recipe": recipe.model_dump(),
        "cells": dict(zip(LOOKS, counts.tolist(), strict=True)),
        "scikit-learn": version("scikit-learn"),
    }
    layers = tuple((np.round(w, 6), np.round(b, 6)) for w, b in zip(net.coefs_, net.intercepts_, strict=True))
    return LookModel(mean.round(6), scale.round(6), layers, facts)


def make_looks(recipe: LookRecipe, workers: int) -> LookModel:
    """Draw the fields of a recipe, measure them and fit; the number of workers changes nothing."""
    pipeline = load_pipeline(recipe.pipeline)
    return fit_looks(look_examples(label_fields(range(recipe.n_fields), recipe.seed, pipeline, workers)), recipe)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the weights and write them."""
    parser = argparse.ArgumentParser(prog="python -m msc_vision.learning.looks", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="file that is written")
    parser.add_argument("--fields", type=int, default=LookRecipe().n_fields, help="fields that are drawn")
    parser.add_argument("--seed", type=int, default=LookRecipe().seed)
    chosen = parser.parse_args(arguments)
    recipe = LookRecipe(seed=chosen.seed, n_fields=chosen.fields)
    model = make_looks(recipe, available_cores())
    write_whole(chosen.out, model.to_json().encode())
    _LOG.info("%s: looks of %s cells", chosen.out, sum(model.training["cells"].values()))
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    sys.exit(main())
