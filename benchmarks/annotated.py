"""Annotated images through ``msc-vision segment``, and through the scorer that stands outside this repository."""

import csv
import json
import math
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.setup import PAIRS, SHARED, Setup, Uses
from msc_vision.io.masks import read_mask

SCORER = SHARED / "tools" / "score_masks.py"
KINDS = frozenset({"instances", "foreground", "weak"})
BARE_DISTANCE_PX = 30
"""So far from every annotated cell a pixel counts as surely bare."""
TRIAL_PICTURES = 2
NAN = math.nan

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Result:
    """What one way of segmenting all images gave.

    Attributes
    ----------
    summary : mapping
        Of the outside scorer, by group: a set, or the part of it that was held out or learned from.
    pairs : sequence of mapping
        A record per image, of the outside scorer and with ``group``, ``name``, ``bare_percent`` (share of surely bare
        surface that is called cell), ``flags``, ``within`` (points by which the confluency may be off, as it says
        itself) and, of instances, ``aspects`` (true and measured) and ``counts``.
    weak : sequence of (float, float)
        Measured and stated confluency of images without a mask.
    rejected : tuple of str
    """

    summary: Mapping[str, Mapping[str, Any]]
    pairs: Sequence[Mapping[str, Any]]
    weak: Sequence[tuple[float, float]]
    rejected: tuple[str, ...]

    @property
    def spearman(self) -> float:
        """Rank correlation with the stated confluencies."""
        from scipy.stats import spearmanr

        measured, stated = [a for a, _ in self.weak], [b for _, b in self.weak]
        return float(spearmanr(measured, stated).statistic) if len(self.weak) > 2 else NAN

    def of(self, group: str) -> Mapping[str, Any]:
        """Return the summary of a group, empty if there is none."""
        return self.summary.get(group, {})


def listed(setup: Setup, uses: Uses, kinds: frozenset[str] = KINDS) -> list[dict[str, str]]:
    """Return the rows of the list that are measured, each with its ``group``; none if there is no list."""
    if not PAIRS.exists():
        return []
    with PAIRS.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] in kinds]
    rows = [row for row in rows if setup.sets is None or row["set"] in setup.sets]
    groups: dict[str, int] = defaultdict(int)
    kept = []
    for row in rows:
        use = uses.by_picture.get(row["image"])
        group = f"{row['set']}, {use}" if use else row["set"]
        groups[group] += 1
        if not setup.is_trial or groups[group] <= TRIAL_PICTURES:
            kept.append({**row, "group": group})
    return kept


def score(rows: Sequence[Row], pipeline: str, *, with_size: bool) -> Result:
    """Segment images by a recipe and score what it wrote."""
    by_size: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_size[row["pixel_size_um"] if with_size else ""].append(row)
    weak: list[tuple[float, float]] = []
    rejected: list[str] = []
    doubts: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="msc-vision-bench-") as scratch:
        masks = Path(scratch) / "masks"
        for size, some in by_size.items():
            part = masks / (size or "unknown")
            fields = _segment([PAIRS.parent / row["image"] for row in some], part, pipeline, size)
            rejected += [f"{Path(p).name}: {row['reason']}" for p, row in fields.items() if row["status"] != "scored"]
            for row in some:
                doubts[row["image"]] = _doubts(fields[str(PAIRS.parent / row["image"])])
                got = fields[str(PAIRS.parent / row["image"])]["confluency_percent"]
                if row["kind"] == "weak" and got:
                    weak.append((float(got), float(row["confluency_percent"])))
            for path in part.glob("*.tif"):
                path.rename(masks / path.name)
        found = _outside_score(rows, Path(scratch))
        by_image = {str(PAIRS.parent / row["image"]): row for row in rows}
        pairs = [
            {**pair, **_details(by_image[pair["image"]], masks), **doubts[by_image[pair["image"]]["image"]]}
            for pair in found["pairs"]
        ]
    return Result(found["summary"], pairs, weak, tuple(rejected))


def _segment(images: Sequence[Path], out: Path, pipeline: str, pixel_size_um: str) -> dict[str, dict[str, str]]:
    """Segment images by the command, and return the rows of its table by path."""
    command = [str(Path(sys.executable).with_name("msc-vision")), "segment", *map(str, images), "--out", str(out)]
    command += ["--pipeline", pipeline] + (["--pixel-size-um", pixel_size_um] if pixel_size_um else [])
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        raise RuntimeError(f"msc-vision segment ended with {done.returncode}: {done.stderr.strip()}")
    with (out / "fields.csv").open(newline="", encoding="utf-8") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def _doubts(field: Mapping[str, str]) -> dict[str, Any]:
    """Return what a recipe says of its own answer."""
    within = field.get("quality_confluency_within_points", "")
    flags = [flag for flag in field.get("flags", "").split("; ") if flag]
    return {"flags": flags, "within": float(within) if within else NAN}


def _outside_score(rows: Sequence[Row], scratch: Path) -> dict[str, Any]:
    """Return what the scorer says of the masks in ``scratch/masks``."""
    pairs, result = scratch / "pairs.csv", scratch / "scores.json"
    with pairs.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=[*rows[0]])
        writer.writeheader()
        for row in rows:
            truth = str(PAIRS.parent / row["truth"]) if row["truth"] else ""
            writer.writerow({**row, "image": str(PAIRS.parent / row["image"]), "truth": truth})
    command = [sys.executable, str(SCORER), str(pairs), str(scratch / "masks"), "--json", str(result), "--by", "group"]
    subprocess.run(command, capture_output=True, check=False)
    found: dict[str, Any] = json.loads(result.read_text())
    return found


def _details(row: Row, masks: Path) -> dict[str, Any]:
    """Return what the outside scorer does not tell of an image that it scored."""
    stem = Path(row["image"]).stem
    details: dict[str, Any] = {"group": row["group"], "name": Path(row["image"]).name, "set_name": row["set"]}
    if not row["truth"]:
        return details
    truth = read_mask(PAIRS.parent / row["truth"])
    found = read_mask(masks / f"{stem}_foreground.tif") > 0
    bare = _surely_bare(truth > 0)
    if bare.any():
        details["bare_percent"] = 100 * float(found[bare].mean())
    if row["kind"] == "instances":
        labels = read_mask(masks / f"{stem}_labels.tif")
        details["aspects"] = (aspect_ratios(truth), aspect_ratios(labels))
        details["counts"] = (n_cells(truth), n_cells(labels))
    return details


def _surely_bare(covered: NDArray[np.bool_]) -> NDArray[np.bool_]:
    distance = cv2.distanceTransform((~covered).astype(np.uint8), cv2.DIST_L2, 5)
    far: NDArray[np.bool_] = (distance > BARE_DISTANCE_PX) if covered.any() else ~covered
    return far


def n_cells(labels: NDArray[np.integer]) -> int:
    """Return how many different numbers above 0 there are."""
    return int(np.count_nonzero(np.unique(labels)))


def aspect_ratios(labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return long over short axis of the ellipse with the moments of each cell that the picture shows whole."""
    from skimage.measure import regionprops_table

    found = regionprops_table(labels.astype(np.int32), properties=("bbox", "axis_major_length", "axis_minor_length"))
    inside = (found["bbox-0"] > 0) & (found["bbox-1"] > 0)
    inside &= (found["bbox-2"] < labels.shape[0]) & (found["bbox-3"] < labels.shape[1])
    inside &= found["axis_minor_length"] > 0
    ratios: NDArray[np.float64] = found["axis_major_length"][inside] / found["axis_minor_length"][inside]
    return ratios


def cell_figures(result: Result, group: str) -> dict[str, float]:
    """Return count and shape of the cells of a group; NaN where it has none."""
    some = [pair for pair in result.pairs if pair["group"] == group and "aspects" in pair]
    if not some:
        return dict.fromkeys(("n_true", "n_found", "count_error", "true", "found", "aspect_error"), NAN)
    true, found = (np.concatenate([pair["aspects"][i] for pair in some]) for i in (0, 1))
    n_true, n_found = (sum(pair["counts"][i] for pair in some) for i in (0, 1))
    middle = [float(np.median(part)) if part.size else NAN for part in (true, found)]
    off = [100 * abs(pair["counts"][1] / pair["counts"][0] - 1) for pair in some if pair["counts"][0]]
    return {
        "n_true": n_true,
        "n_found": n_found,
        "count_error": float(np.mean(off)) if off else NAN,
        "true": middle[0],
        "found": middle[1],
        "aspect_error": 100 * (middle[1] / middle[0] - 1),
    }
