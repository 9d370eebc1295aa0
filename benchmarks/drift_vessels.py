"""Simulated vessels for the drift benchmark: with and without drifted cells, under ordinary and odd imaging.

A vessel's light, camera, focus and cells differ a little from those of the next even where nothing has drifted. Its
profiles are kept in ``benchmarks/.cache/drift`` under a name that holds what it is and what measured it.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from msc_vision.batch import describe
from msc_vision.batch.field import FieldTask, score_field
from msc_vision.batch.pipeline import Pipeline, load_pipeline
from msc_vision.morphology.baseline import ProfiledField
from msc_vision.records import ManifestRow
from msc_vision.statistics.character import profiled
from msc_vision.synth import FieldSettings, render_field
from msc_vision.synth.vessel import write_image

CACHE = Path(__file__).parent / ".cache" / "drift"
SIDE_PX, PIXEL_UM = 768, 1.3
FIELD_SD = 6.0
N_LAYERS = 3
SHARES = {"spindle": 0.55, "stellate": 0.36, "flattened": 0.05, "cuboidal": 0.0, "lipid": 0.0, "rounded": 0.02}
CONTEXT = {"bank": "simulated", "medium": "none", "objective": "10x"}


@dataclass(frozen=True, slots=True)
class VesselPlan:
    """One vessel.

    ``kind`` and ``share``: which part of the cells was turned into what. ``imaging`` overrides the vessel's ordinary
    light and camera, which are drawn from its seed. ``split_percent`` and ``merged_percent`` of its cells are cut in
    two, or made one with a neighbour, after the segmentation.
    """

    name: str
    seed: int
    confluency_percent: float
    n_fields: int
    kind: str | None = None
    share: float = 0.0
    imaging: Mapping[str, Any] = field(default_factory=dict)
    split_percent: float = 0.0
    merged_percent: float = 0.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of a vessel."""

    plan: VesselPlan
    fields: tuple[ProfiledField, ...]
    n_flagged_focus: int


def measure_vessel(plan: VesselPlan, recipe: str) -> Measured:
    """Draw a vessel and measure its fields as a run does, or take them from the cache."""
    cv2.setNumThreads(1)
    pipeline = _pipeline(recipe)
    path = CACHE / f"{plan.name}-{_key(plan, pipeline)}.json"
    if path.is_file():
        stored = json.loads(path.read_text(encoding="utf-8"))
        return Measured(plan, tuple(ProfiledField(**one) for one in stored["fields"]), stored["n_flagged_focus"])
    fields, n_flagged = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for number, (settings, seed) in enumerate(vessel_fields(plan)):
            image = Path(folder) / f"{number}.ome.tif"
            write_image(image, render_field(settings, seed).image, PIXEL_UM, "ome-tiff")
            row = ManifestRow(f"{plan.name}_{number}", plan.name, "t-75", 1 + number % N_LAYERS, **CONTEXT)
            task = FieldTask(f"f{number}", image, row, pipeline, None, None)
            with describe_with_errors(plan, seed):
                score = score_field(task)
            if score.status != "scored":
                raise RuntimeError(f"{plan.name}, field {number}: {score.reason}")
            n_flagged += "soft-focus" in score.flags
            fields.append(profiled(row, score, "simulated"))
    CACHE.mkdir(parents=True, exist_ok=True)
    content = {"fields": [asdict(one) for one in fields], "n_flagged_focus": n_flagged}
    path.write_text(json.dumps(content), encoding="utf-8")
    return Measured(plan, tuple(fields), n_flagged)


@lru_cache(maxsize=2)
def _pipeline(recipe: str) -> Pipeline:
    return load_pipeline(recipe)


def _key(plan: VesselPlan, pipeline: Pipeline) -> str:
    deciding = {"scale", "artefacts", "contrast", "network", "shape", "order"}
    settings = pipeline.model_dump(mode="json", include=deciding)
    text = json.dumps([asdict(plan), settings, SIDE_PX, PIXEL_UM, SHARES], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def vessel_fields(plan: VesselPlan) -> list[tuple[FieldSettings, int]]:
    """Return settings and seed of each field of a vessel."""
    rng = np.random.default_rng([20_261_122, plan.seed])
    picture = _merged(_ordinary(rng), plan.imaging)
    picture["cells"] = {**picture["cells"], "shares": _shares(plan)}
    confluency = (plan.confluency_percent + FIELD_SD * rng.standard_normal(plan.n_fields)).clip(3, 99)
    seeds = rng.integers(0, 2**31, plan.n_fields)
    size = {"height_px": SIDE_PX, "width_px": SIDE_PX, "pixel_size_um": PIXEL_UM}
    return [
        (FieldSettings.model_validate(picture | size | {"confluency_percent": float(percent)}), int(seed))
        for percent, seed in zip(confluency, seeds, strict=True)
    ]


def _ordinary(rng: np.random.Generator) -> dict[str, Any]:
    """Draw what differs from vessel to vessel though nothing has drifted."""
    return {
        "optics": {
            "ring_transmission": rng.uniform(0.34, 0.42),
            "blur_um": rng.uniform(0.6, 0.8),
            "defocus_um": rng.uniform(0.0, 0.4),
            "stray_light": rng.uniform(0.0, 0.1),
        },
        "background": {
            "level": rng.uniform(0.3, 0.45),
            "vignetting": rng.uniform(0.05, 0.2),
            "tilt": rng.uniform(0.0, 0.1),
        },
        "camera": {"electrons": rng.uniform(30_000, 90_000), "read_noise": rng.uniform(0.0, 0.004)},
        "cells": {
            "area_um2": 2100 * float(np.exp(0.04 * rng.standard_normal())),
            "slenderness": 5.0 * float(np.exp(0.04 * rng.standard_normal())),
            "phase": 0.45 * float(np.exp(0.06 * rng.standard_normal())),
            "debris_per_mm2": rng.uniform(30, 90),
        },
    }


def _shares(plan: VesselPlan) -> dict[str, float]:
    total = sum(SHARES.values())
    shares = {name: share / total * (1 - plan.share) for name, share in SHARES.items()}
    if plan.kind is not None:
        shares[plan.kind] += plan.share
    return shares


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        merged[key] = {**merged.get(key, {}), **value} if isinstance(value, Mapping) else value
    return merged


# --- errors of the segmentation ---------------------------------------------------------------------------------------


@contextmanager
def describe_with_errors(plan: VesselPlan, seed: int) -> Iterator[None]:
    """Within the block, cells are split and merged at random between segmentation and description."""
    plain = describe.Describer.describe

    def described(own: describe.Describer, _: Any, tiles: Any, tile_map: Any, hints: Any) -> Any:
        view = own.read(tiles[0])
        changed = view._replace(labels=with_errors(view.labels, plan.split_percent, plan.merged_percent, seed))

        def read(region: Any) -> Any:
            at = np.s_[..., region.y0 : region.y1, region.x0 : region.x1]
            return describe.View(*(plane[at] for plane in changed))

        other = describe.Describer(read, own.scale, own.settings)
        return plain(other, table_of(changed.labels, own.scale.factor), tiles, tile_map, hints)

    if plan.split_percent or plan.merged_percent:
        describe.Describer.describe = described  # type: ignore[method-assign]
    try:
        yield
    finally:
        describe.Describer.describe = plain  # type: ignore[method-assign]


def with_errors(labels: np.ndarray, split_percent: float, merged_percent: float, seed: int) -> np.ndarray:
    """Return labels of which some cells are cut across their long axis, and some made one with a neighbour."""
    rng = np.random.default_rng(seed)
    labels = labels.copy()
    n = int(labels.max())
    chosen = rng.permutation(np.arange(1, n + 1))
    n_split, n_merged = round(n * split_percent / 100), round(n * merged_percent / 100)
    following = n + 1
    for label in chosen[:n_split]:
        ys, xs = np.nonzero(labels == label)
        spread = np.linalg.eigh(np.cov(np.stack([ys, xs]))) if ys.size > 2 else None
        if spread is None:
            continue
        along = np.stack([ys - ys.mean(), xs - xs.mean()], axis=1) @ spread.eigenvectors[:, 1]
        labels[ys[along > 0], xs[along > 0]] = following
        following += 1
    merged = 0
    for label in chosen[n_split:]:
        if merged == n_merged:
            break
        mask = (labels == label).view(np.uint8)
        ring = cv2.dilate(mask, np.ones((5, 5), np.uint8)) > mask
        touching = np.unique(labels[ring])
        touching = touching[(touching > 0) & (touching != label)]
        if touching.size:
            labels[labels == touching[0]] = label
            merged += 1
    _, compact = np.unique(labels, return_inverse=True)
    return compact.reshape(labels.shape).astype(np.int32)


def table_of(labels: np.ndarray, factor: int) -> np.ndarray:
    """Return what describing needs of `OBJECT_COLUMNS` for any labels."""
    from scipy import ndimage

    from msc_vision.segmentation.objects import OBJECT_COLUMNS

    boxes = ndimage.find_objects(labels)
    table = np.zeros(len(boxes), OBJECT_COLUMNS)
    table["label"] = np.arange(1, len(boxes) + 1)
    for i, (rows, columns) in enumerate(boxes):
        table["y0_px"][i], table["y1_px"][i] = rows.start * factor, rows.stop * factor
        table["x0_px"][i], table["x1_px"][i] = columns.start * factor, columns.stop * factor
        ends = rows.stop == labels.shape[0] or columns.stop == labels.shape[1]
        table["touches_border"][i] = ends or 0 in (rows.start, columns.start)
    return table
