"""Visual signs of contamination on synthetic fields: how often each kind and amount is found, how often none is."""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy.stats import beta

from benchmarks.setup import Setup
from benchmarks.tables import Figure, Section, table
from msc_vision.batch.masks import mask_paths, segment_images
from msc_vision.batch.pipeline import Pipeline
from msc_vision.batch.plan import RunSettings, available_cores
from msc_vision.findings.background import TileArea, measure_background
from msc_vision.findings.contamination import BackgroundFigures, ContaminationFinding, join_background, visual_signs
from msc_vision.io.masks import read_mask
from msc_vision.synth import FieldSettings, render_field

Kind = Literal["none", "haze", "dots", "budding", "filaments"]
KINDS: tuple[Kind, ...] = ("haze", "dots", "budding", "filaments")
AMOUNTS = (0.1, 0.3, 0.6)
N_FIELDS, SEED = 20, 20_261_201
SIDE_PX, PIXEL_SIZE_UM = 1024, 1.3
INTRO = """Fields of 1024 x 1024 working pixels of 1.3 µm in phase contrast, 0-80 % covered, with light, noise, film,
debris (15-600 per mm²), dead cells, scratches and fibres drawn anew for each. Exact 95 % intervals. A field that cannot
be assessed counts neither as found nor as free of signs; how many there were is given. The limits were chosen on other
fields of the same simulator: real contamination has not been tested."""


@dataclass(frozen=True, slots=True)
class Row:
    """Fields of one kind and amount. ``rate`` is the share in which a sign shows; of ``none``, in which none does."""

    kind: Kind
    amount: float
    n_assessed: int
    n_not_assessed: int
    rate: float
    low: float
    high: float


def measure(setup: Setup) -> Section:
    """Draw the fields, let the recipe with a network read them, and judge each."""
    if setup.network is None:
        return Section("Needs a recipe with a network.")
    rows = contamination_table(2 if setup.is_trial else N_FIELDS, SEED, setup.network)
    free = next(row for row in rows if row.kind == "none")
    lines = [
        (r.kind, f"{r.amount:g}", r.n_assessed, r.n_not_assessed, f"{r.rate:.2f}", f"{r.low:.2f}-{r.high:.2f}")
        for r in rows
        if r.kind != "none"
    ]
    figures = (
        Figure("specificity", f"{free.rate:.3f} ({free.low:.3f}-{free.high:.3f}), {free.n_assessed} fields"),
        Figure("uncontaminated fields not assessed", str(free.n_not_assessed)),
    )
    header = ("kind", "amount", "fields", "not assessed", "found", "95 % interval")
    return Section(" ".join(INTRO.split()), figures, (table(header, lines),))


def contamination_table(n_fields: int, seed: int, recipe: Pipeline) -> tuple[Row, ...]:
    """Return a row for each kind and amount, and one for uncontaminated fields, of which there are ten times as many.

    Parameters
    ----------
    n_fields : int
        Of each kind and amount.
    seed : int
        Decides all fields.
    recipe : Pipeline
        Finds the cells; a recipe with a network.
    """
    wanted: list[tuple[Kind, float, int]] = [("none", 0.0, 10 * n_fields)]
    wanted += [(kind, amount, n_fields) for kind in KINDS for amount in AMOUNTS]
    return tuple(
        _row(kind, amount, [_look(_field(kind, amount, [seed, i, j]), recipe) for j in range(n)])
        for i, (kind, amount, n) in enumerate(wanted)
    )


def exact_interval(n_hits: int, n: int) -> tuple[float, float]:
    """Return the Clopper-Pearson interval of a share, 95 %."""
    low = float(beta.ppf(0.025, n_hits, n - n_hits + 1)) if n_hits else 0.0
    high = float(beta.ppf(0.975, n_hits + 1, n - n_hits)) if n_hits < n else 1.0
    return low, high


def _row(kind: Kind, amount: float, found: Sequence[ContaminationFinding]) -> Row:
    wanted = "no visual sign" if kind == "none" else "suspect"
    assessed = [finding for finding in found if finding.outcome != "not assessable"]
    n, n_hits = len(assessed), sum(finding.outcome == wanted for finding in assessed)
    low, high = exact_interval(n_hits, n)
    return Row(kind, amount, n, len(found) - n, n_hits / n if n else math.nan, low, high)


def _look(drawn: tuple[FieldSettings, int], recipe: Pipeline) -> ContaminationFinding:
    """Return what a field shows; cells stand for the network's probabilities, which masks do not hold."""
    settings, seed = drawn
    image = render_field(settings, seed).image
    with tempfile.TemporaryDirectory(prefix="msc-vision-bench-") as scratch:
        path = Path(scratch) / "field.tif"
        tifffile.imwrite(path, image)
        (score,) = segment_images(
            [path],
            Path(scratch) / "masks",
            recipe,
            settings=RunSettings(workers=available_cores()),
            pixel_sizes_um={path: settings.pixel_size_um},
        )
        if score.confluency_percent is None:
            return visual_signs(None)
        labels = read_mask(mask_paths(path, Path(scratch) / "masks").labels).astype(np.int32)
    return visual_signs(_figures(image, labels, settings.pixel_size_um), focus_ratio=score.quality.get("focus_ratio"))


def _figures(
    image: NDArray[np.uint8 | np.uint16], labels: NDArray[np.int32], pixel_size_um: float
) -> BackgroundFigures:
    working = image.astype(np.uint16) * np.uint16(256 if image.dtype == np.uint8 else 1)
    judged, foreground = np.ones(image.shape, np.uint8), (labels > 0).astype(np.uint8) * np.uint8(255)
    area = TileArea.whole((image.shape[0], image.shape[1]))
    parts = measure_background(working, labels, judged, foreground, area, pixel_size_um)
    return join_background([parts], (image.shape[0], image.shape[1]), pixel_size_um)


def _field(kind: Kind, amount: float, seed: Sequence[int]) -> tuple[FieldSettings, int]:
    """Return the settings of a field and the seed that draws it: an ordinary laboratory's, with its faults."""
    rng = np.random.Generator(np.random.PCG64(list(seed)))
    level, noise = rng.uniform(0.25, 0.6), _log_uniform(rng, 5e-4, 0.01)
    plain = {
        "height_px": SIDE_PX,
        "width_px": SIDE_PX,
        "pixel_size_um": PIXEL_SIZE_UM,
        "confluency_percent": rng.uniform(0, 80),
        "bit_depth": 8 if rng.random() < 0.3 else 16,
        "cells": {
            "shares": {"spindle": rng.uniform(0.3, 0.7), "stellate": rng.uniform(0.2, 0.5)},
            "area_um2": rng.uniform(1500, 2700),
            "phase": _log_uniform(rng, 0.25, 0.8),
            "debris_per_mm2": _log_uniform(rng, 15, 600),
            "dead_per_mm2": _log_uniform(rng, 1, 40),
        },
        "optics": {
            "ring_na": _log_uniform(rng, 0.1, 0.2),
            "blur_um": rng.uniform(0.4, 1.1),
            "stray_light": rng.uniform(0, 0.5),
        },
        "background": {
            "level": level,
            "vignetting": rng.uniform(0, 0.3),
            "tilt": rng.uniform(0, 0.2),
            "film": _log_uniform(rng, 0.0003, 0.012),
            "film_um": _log_uniform(rng, 0.7, 3.0),
            "remnants": _log_uniform(rng, 0.01, 0.1),
            "debris_per_mm2": _log_uniform(rng, 1, 100),
            "dust_per_mm2": _log_uniform(rng, 0.5, 15),
        },
        "camera": {"electrons": (level / noise) ** 2},
        "faults": {
            "plastic": _log_uniform(rng, 0.002, 0.02) if rng.random() < 0.15 else 0.0,
            "scratches": int(rng.integers(1, 7)) if rng.random() < 0.15 else 0,
            "fibres": int(rng.integers(1, 3)) if rng.random() < 0.1 else 0,
        },
        "contamination": {"kind": kind, "amount": amount or 0.3},
    }
    return FieldSettings.model_validate(plain), int(rng.integers(2**31))


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return low * math.exp(rng.random() * math.log(high / low))
