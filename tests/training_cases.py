"""A data folder small enough to train on in a second: bright discs on grey, in three sets and one that is sealed."""

import csv
from pathlib import Path

import cv2
import numpy as np
import tifffile

from msc_vision.learning.recipe import parse_recipe
from msc_vision.learning.train import TrainPlan

SIDE_PX = 128
COLUMNS = ("image", "truth", "kind", "set", "use", "pixel_size_um")
SETS = {
    "discs": ("instances", "train", 6),
    "areas": ("foreground", "train-area", 2),
    "plain": ("none", "train", 2),
    "sealed": ("instances", "evaluation-only", 1),
}


def disc_field(seed, side_px=SIDE_PX):
    """Return a picture and its labels: up to nine discs of 9 to 14 px on a grid, the upper ones touching in pairs."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((side_px, side_px), np.int32)
    for i in range(9):
        centre = 20 + 40 * (i % 3), 20 + 40 * (i // 3)
        cv2.circle(labels, centre, int(rng.integers(9, 15)), i + 1, -1)
    picture = 1000 + 400 * (labels > 0) + rng.normal(0, 20, labels.shape)
    return np.clip(picture, 0, 65535).astype(np.uint16), labels


def write_data(folder):
    """Write images, masks and ``pairs.csv``; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for set_name, (kind, use, n) in SETS.items():
        for i in range(n):
            picture, labels = disc_field(i + 10 * len(rows))
            image, truth = f"{set_name}-{i}.tif", "" if kind == "none" else f"{set_name}-{i}-mask.tif"
            tifffile.imwrite(folder / image, picture)
            if truth:
                mask = labels if kind == "instances" else (labels > 0).astype(np.uint8)
                tifffile.imwrite(folder / truth, mask)
            rows.append((image, truth, kind, set_name, use, "0.8"))
    with (folder / "pairs.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([COLUMNS, *rows])
    return folder


def tiny_recipe(**changes):
    """Return a recipe that trains a network of a few hundred weights for twelve steps."""
    content = {
        "name": "tiny",
        "description": "Discs.",
        "network": {"widths": [8, 8, 8], "n_deep": 1},
        "sources": [
            {"sets": ["discs"], "truth": "instances", "share": 0.7},
            {"sets": ["areas"], "truth": "area", "share": 0.3},
        ],
        "training": {"n_steps": 12, "batch": 2, "crop_px": 64, "checkpoint_every": 4, "warm_up_steps": 2},
    }
    return parse_recipe(content | changes, "tiny")


def tiny_plan(data: Path, out: Path, **changes):
    """Return a plan for that recipe; the cache is shared by all plans on the same data."""
    given = {"recipe": tiny_recipe(), "name": "tiny", "data": data, "out": out, "cache": data.parent / "cache"}
    return TrainPlan(**(given | {"workers": 1, "threads": 1} | changes))
