"""Confluency in float32 against bfloat16, by the whole pipeline on real images."""

import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.annotated import KINDS, Row, listed
from benchmarks.setup import PAIRS, Setup, Uses
from benchmarks.tables import Figure, Section, at_most, table
from msc_vision.batch.masks import segment_images
from msc_vision.batch.pipeline import NetworkSettings, Pipeline, Precision
from msc_vision.batch.plan import RunSettings, available_cores
from msc_vision.segmentation.network.predict import has_native_bf16

BAR_POINTS = 0.2
FORMATS: tuple[Precision, Precision] = ("float32", "bfloat16")
INTRO = """Recipe `{name}` on every real image of the list, annotated or not, once with each number format; difference
of confluency in points. {native}"""


def measure(setup: Setup) -> Section:
    """Read every real image in both number formats."""
    recipe = setup.network
    if recipe is None or recipe.network is None:
        return Section("Not measured: no recipe has a network.")
    rows = listed(setup, Uses({}), KINDS | {"none"})
    if not rows:
        return Section("Not measured: no real images of these sets beside this checkout.")
    single, half = (_confluencies(rows, _with_precision(recipe, recipe.network, name)) for name in FORMATS)
    differences: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row["image"] in single and row["image"] in half:
            differences[row["set"]].append(half[row["image"]] - single[row["image"]])
    everything = [abs(d) for some in differences.values() for d in some]
    figures = (
        at_most(f"largest difference of {len(everything)} images", max(everything), BAR_POINTS, " points", digits=3),
        Figure("mean difference", f"{np.mean(everything):.3f} points"),
        Figure("images without a result in either", str(len(rows) - len(everything))),
    )
    native = "This processor computes bfloat16 natively." if has_native_bf16() else "bfloat16 is emulated here."
    return Section(" ".join(INTRO.format(name=recipe.name, native=native).split()), figures, (_table(differences),))


def _with_precision(recipe: Pipeline, network: NetworkSettings, precision: Precision) -> Pipeline:
    return recipe.model_copy(update={"network": network.model_copy(update={"precision": precision})})


def _confluencies(rows: Sequence[Row], recipe: Pipeline) -> dict[str, float]:
    """Return the confluency of each image that can be judged."""
    by_path = {PAIRS.parent / row["image"]: row for row in rows}
    sizes = {path: float(row["pixel_size_um"]) for path, row in by_path.items() if row["pixel_size_um"]}
    settings = RunSettings(workers=available_cores())
    with tempfile.TemporaryDirectory(prefix="msc-vision-bench-") as scratch:
        scores = segment_images(list(by_path), Path(scratch), recipe, settings=settings, pixel_sizes_um=sizes)
    read = {Path(score.path): score.confluency_percent for score in scores}
    return {by_path[path]["image"]: value for path, value in read.items() if value is not None}


def _table(differences: Mapping[str, Sequence[float]]) -> str:
    lines = [
        (name, len(some), f"{np.mean(some):+.3f}", f"{np.mean(np.abs(some)):.3f}", f"{np.abs(some).max():.3f}")
        for name, some in differences.items()
    ]
    return table(("set", "n", "bfloat16 - float32, mean", "mean absolute", "largest"), lines)
