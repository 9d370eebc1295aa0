"""Weights that tell budding yeast from other small bodies: ``python -m msc_vision.learning.signs --out FILE``.

Fields are drawn with and without yeast, cells are found by a recipe, and a logistic regression weighs the figures of
every small body against where the simulator put yeast. The same fields also give the benchmark of signs its settings.
"""

import argparse
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from msc_vision.batch.masks import mask_paths, segment_images
from msc_vision.batch.pipeline import load_pipeline
from msc_vision.batch.plan import RunSettings, available_cores
from msc_vision.findings.background import BODY_FIGURES, find_bodies
from msc_vision.io.masks import read_mask
from msc_vision.io.output import write_whole
from msc_vision.io.sealed import sealed_text
from msc_vision.synth import FieldSettings, render_field
from msc_vision.synth.contamination import contaminate

Kind = Literal["none", "haze", "dots", "budding", "filaments"]
SEED = 778_000
LEARNED: tuple[tuple[Kind, float, int, int], ...] = (
    ("none", 0.0, 0, 300),
    ("budding", 0.3, 8, 20),
    ("budding", 0.6, 9, 20),
)
"""Kind, amount, second number of the seed, and how many fields."""
SIDE_PX, PIXEL_SIZE_UM = 768, 1.3
LEAST_PROBABILITY = 0.3
"""From here on a body counts as yeast."""
_SCALE = 2**20


@dataclass(frozen=True, slots=True)
class Drawn:
    """A field to be drawn."""

    settings: FieldSettings
    seed: int

    @property
    def contaminated(self) -> NDArray[np.bool_]:
        """Where contamination lies, (Y, X)."""
        settings = self.settings
        stream = np.random.SeedSequence(self.seed).spawn(2)[1]  # as `render_field` draws it
        shape = settings.height_px, settings.width_px
        rng = np.random.Generator(np.random.PCG64(stream))
        return contaminate(shape, settings.contamination, settings.pixel_size_um, rng).mask


def main() -> None:
    """Fit and write the weights."""
    parser = argparse.ArgumentParser(prog="msc_vision.learning.signs", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pipeline", default="default", help="finds the cells (default: %(default)s)")
    arguments = parser.parse_args()
    fields = [drawn_field(kind, amount, [SEED, number, i]) for kind, amount, number, n in LEARNED for i in range(n)]
    figures, is_yeast = learning_rows(fields, arguments.pipeline)
    weights, bias = fitted(figures, is_yeast)
    found = {"budding": {"weights": dict(zip(BODY_FIGURES, weights, strict=True)), "bias": bias}}
    write_whole(arguments.out, sealed_text(found).encode())


def learning_rows(fields: Sequence[Drawn], pipeline: str) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """Return the figures of every small body, (n, len(BODY_FIGURES)), and whether it is yeast."""
    figures, truth = [], []
    with tempfile.TemporaryDirectory(prefix="msc-vision-signs-") as folder:
        for field, image, labels in _seen(fields, pipeline, Path(folder)):
            working = image.astype(np.uint16) * np.uint16(256 if image.dtype == np.uint8 else 1)
            rows = find_bodies(working, labels, np.ones(image.shape, np.uint8), field.settings.pixel_size_um)
            near = cv2.dilate(field.contaminated.astype(np.uint8), np.ones((5, 5), np.uint8))
            figures.append(rows["figures"])
            truth.append(near[rows["y_px"], rows["x_px"]] > 0)
    return np.concatenate(figures), np.concatenate(truth)


def fitted(figures: NDArray[np.integer], is_yeast: NDArray[np.bool_]) -> tuple[list[int], int]:
    """Return whole weights and a bias: figures @ weights + bias >= 0 from `LEAST_PROBABILITY` on.

    Parameters
    ----------
    figures : (n, m) integer array
    is_yeast : (n,) bool array
    """
    values = figures.astype(np.float64)
    middle, spread = values.mean(axis=0), np.maximum(values.std(axis=0), 1e-9)
    model = LogisticRegression(max_iter=1000).fit((values - middle) / spread, is_yeast)
    weights = model.coef_[0] / spread
    bias = float(model.intercept_[0] - weights @ middle) - math.log(LEAST_PROBABILITY / (1 - LEAST_PROBABILITY))
    return [round(float(weight) * _SCALE) for weight in weights], round(bias * _SCALE)


def _seen(
    fields: Sequence[Drawn], pipeline: str, folder: Path
) -> Iterator[tuple[Drawn, NDArray[np.uint8 | np.uint16], NDArray[np.int32]]]:
    """Yield fields, their pictures and the cells found on them; rejected ones are left out."""
    paths = [folder / f"{i:04}.tif" for i in range(len(fields))]
    for path, field in zip(paths, fields, strict=True):
        tifffile.imwrite(path, render_field(field.settings, field.seed).image)
    sizes = {path: field.settings.pixel_size_um for path, field in zip(paths, fields, strict=True)}
    scores = segment_images(
        paths,
        folder / "masks",
        load_pipeline(pipeline),
        settings=RunSettings(workers=available_cores()),
        pixel_sizes_um=sizes,
    )
    for path, field, score in zip(paths, fields, scores, strict=True):
        if score.status == "scored":
            labels = read_mask(mask_paths(path, folder / "masks").labels).astype(np.int32)
            yield field, tifffile.imread(path), labels


def drawn_field(kind: Kind, amount: float, seed: Sequence[int], side_px: int = SIDE_PX) -> Drawn:
    """Return a field of an ordinary laboratory, with its faults; ``amount`` is not read without contamination."""
    rng = np.random.Generator(np.random.PCG64(list(seed)))
    level, noise = rng.uniform(0.25, 0.6), _log_uniform(rng, 5e-4, 0.01)
    plain = {
        "height_px": side_px,
        "width_px": side_px,
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
    return Drawn(FieldSettings.model_validate(plain), int(rng.integers(2**31)))


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return low * math.exp(rng.random() * math.log(high / low))


if __name__ == "__main__":
    main()
