"""The error that all fields of a vessel share because one method measured them: intervals of vessels take it in."""

import multiprocessing
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from benchmarks.setup import Setup
from benchmarks.tables import Section, table
from msc_vision.batch.field import FieldTask, score_field
from msc_vision.batch.pipeline import Pipeline, load_pipeline
from msc_vision.batch.plan import available_cores
from msc_vision.records import ManifestRow
from msc_vision.statistics.components import variance_components
from msc_vision.statistics.scales import PERCENT
from msc_vision.statistics.settings import DOUBTFUL
from msc_vision.synth import FieldSettings, render_field
from msc_vision.synth.culture_settings import CellSettings
from msc_vision.synth.image_settings import ContaminationSettings, FaultSettings
from msc_vision.synth.variety import random_settings
from msc_vision.synth.vessel import write_image

SEED = 972_000
"""Seeds 970,000 and 971,000 were looked at when it was decided to ask for flagged fields apart."""
N_CULTURES, N_FIELDS, SIDE_PX = 80, 3, 512
MODE = "phase-contrast"
AREA_UM2 = (900.0, 3600.0)
INTRO = f"""{N_CULTURES} simulated cultures of stromal cells in phase contrast, {N_FIELDS} fields of {SIDE_PX} pixels
a side each, of 4 to 97 % confluency. Cells, light, focus and camera are drawn anew for each culture, far wider than one
laboratory has them, and are the same for its fields. Errors are on the angle scale (asin of the square root), where a
hundredth is one point at half cover. A nested mixed model splits them into what the fields of a culture share and what
each has to itself; what is shared no number of fields averages out. Simulated cultures only: real vessels with known
confluency are not at hand."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One field: its culture, what is true and what was read, percent."""

    culture: int
    true_percent: float
    read_percent: float
    is_flagged: bool

    @property
    def error(self) -> float:
        """On the angle scale, in points at half cover."""
        read, true = PERCENT.inner(np.array([self.read_percent, self.true_percent]))
        return 100 * float(read - true)


def measure(setup: Setup) -> Section:
    """Draw cultures, score their fields with each recipe, and split the errors."""
    n_cultures = 4 if setup.is_trial else N_CULTURES
    rows = []
    with ProcessPoolExecutor(available_cores(), multiprocessing.get_context("spawn")) as pool:
        for recipe in setup.pipelines:
            groups = pool.map(partial(read_culture, recipe=recipe), range(n_cultures))
            found = [one for group in groups for one in group]
            sampling = load_pipeline(recipe).sampling
            for is_flagged, stated in ((False, sampling.method_error_points), (True, sampling.flagged_error_points)):
                some = [one for one in found if one.is_flagged == is_flagged]
                shared, own, bias = split(some)
                name = f"{recipe}, {'flagged as doubtful' if is_flagged else 'not flagged'}"
                rows.append((name, f"{len(some)}", f"{bias:+.1f}", f"{shared:.1f}", f"{own:.1f}", f"{stated:g}"))
    heads = ("recipe", "fields", "bias, points", "shared by a culture, SD", "of each field, SD", "stated in the recipe")
    return Section(" ".join(INTRO.split()), (), (table(heads, rows),))


def split(readings: Sequence[Reading]) -> tuple[float, float, float]:
    """Return what cultures share, what fields have to themselves (standard deviations), and the mean error."""
    if len(readings) < 2:
        return 0.0, 0.0, 0.0
    cultures = [one.culture for one in readings]
    found = variance_components([one.error for one in readings], cultures, ["all"] * len(cultures))
    return found.layer or 0.0, found.field or 0.0, found.mean


def read_culture(culture: int, recipe: str) -> list[Reading]:
    """Draw one culture and return its fields as they are and as they are read; what cannot be scored is left out."""
    cv2.setNumThreads(1)
    pipeline = load_pipeline(recipe)
    rng = np.random.default_rng([SEED, culture])
    settings = _settings(rng)
    covers = rng.uniform(4, 97, N_FIELDS)
    seeds = rng.integers(0, 2**31, N_FIELDS)
    found = [
        _read(settings.model_copy(update={"confluency_percent": float(cover)}), int(seed), culture, pipeline)
        for cover, seed in zip(covers, seeds, strict=True)
    ]
    return [one for one in found if one is not None]


def _settings(rng: np.random.Generator) -> FieldSettings:
    """Draw a culture in phase contrast, without what is flagged anyway."""
    while True:
        settings = random_settings(rng, height_px=SIDE_PX, width_px=SIDE_PX)
        if settings.optics.mode == MODE and settings.cells.scratch is None and is_stromal(settings.cells):
            plain = {"faults": FaultSettings(), "contamination": ContaminationSettings()}
            return settings.model_copy(update=plain)


def is_stromal(cells: CellSettings) -> bool:
    """Return whether most cells are spindle-shaped or stellate and as large as stromal cells are."""
    shares = cells.shares
    whole = shares.spindle + shares.stellate + shares.flattened + shares.cuboidal + shares.lipid + shares.rounded
    low, high = AREA_UM2
    return shares.spindle + shares.stellate >= whole / 2 and low <= cells.area_um2 <= high


def _read(settings: FieldSettings, seed: int, culture: int, pipeline: Pipeline) -> Reading | None:
    field = render_field(settings, seed)
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "field.ome.tif"
        write_image(image, field.image, settings.pixel_size_um, "ome-tiff")
        row = ManifestRow(image.name, "BENCH", "t-75", 1)
        score = score_field(FieldTask("field", image, row, pipeline, None, None, is_described=False))
    if score.confluency_percent is None:
        return None
    return Reading(culture, field.confluency_percent, score.confluency_percent, bool(DOUBTFUL & {*score.flags}))
