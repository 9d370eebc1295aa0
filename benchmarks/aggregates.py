"""Aggregates in synthetic cultures: how many are found, how large they seem, and how many are invented."""

import math
import multiprocessing
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.setup import Setup
from benchmarks.tables import Figure, Section, at_least, at_most, table
from msc_vision.batch.field import FieldTask, score_field
from msc_vision.batch.pipeline import Pipeline
from msc_vision.batch.plan import available_cores
from msc_vision.findings.outline import ellipse_window
from msc_vision.io.labels import read_aggregates, read_meta
from msc_vision.records import ManifestRow
from msc_vision.synth import FieldSettings, render_field
from msc_vision.synth.vessel import write_image

COVERS = (30, 50, 70, 85, 95)
COMPACT = (0.0, 0.3, 0.6, 1.0)
FREE_COVERS = (0, 10, 30, 50, 70, 85, 95, 100)
FREE = (
    {},
    {"cells": {"debris_per_mm2": 600.0}},
    {"cells": {"shares": {"rounded": 0.1}}},
    {"cells": {"dead_per_mm2": 50.0}},
    {"background": {"dust_per_mm2": 15.0}},
    {"faults": {"bubbles": 3}},
    {"faults": {"scratches": 6}},
)
SIDE_PX = 640
SEED = 20_261_301
SMALLEST_UM = 40.0
SEEN_FROM = 0.9
JOINED_UM = 10.0
N_EACH, N_FREE_EACH = 4, 2
INTRO = """Fields of {side} x {side} pixels in phase contrast with 6 to 20 aggregates per mm², of 60 to 200 µm,
and {n_free} fields without any, with debris, dead and dividing cells, dust, bubbles and scratches. A found aggregate is
right if it and a connected part of the truth overlap by half of their union; parts of the truth below {least:g}
µm are not asked for. Where aggregates were drawn upon each other they are one part of the truth. {n_touching} parts lie
within {joined:g} µm of another, so that hardly an eye parts them: they are asked for one by one, and "touching as one"
counts them the other way. The weights of the evidence were fitted to other fields of the same simulator, and to 19 real
pictures of T98G without aggregates; limits were chosen on other fields again (seeds 9001 to 9004). {n_refused} fields
were refused."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One field to be drawn."""

    cover: int
    compactness: float | None
    fault: int
    number: int


@dataclass(frozen=True, slots=True)
class Counted:
    """What was right in a field; ``ratios`` are measured over true diameters."""

    wanted: Wanted
    n_right: int
    n_missed: int
    n_invented: int
    ratios: tuple[float, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Look:
    """A field counted by each part of the truth, and with parts that nearly touch taken as one."""

    apart: Counted
    joined: Counted
    n_touching: int


def measure(setup: Setup) -> Section:
    """Draw the fields, look at them with the network and count."""
    recipe = setup.network
    if recipe is None:
        return Section("No recipe with a network: aggregates are not looked for.")
    wanted = _wanted(is_trial=setup.is_trial)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(available_cores(), mp_context=context) as pool:
        looked = list(pool.map(_count_one, wanted, [recipe] * len(wanted)))
    looks = [look for look in looked if look is not None]
    counted = [look.apart for look in looks]
    joined = [look.joined for look in looks if look.joined.wanted.compactness is not None]
    free = [c for c in counted if c.wanted.compactness is None]
    some = [c for c in counted if c.wanted.compactness is not None]
    intro = INTRO.format(
        side=SIDE_PX,
        n_free=len(free),
        least=SMALLEST_UM,
        joined=JOINED_UM,
        n_touching=sum(look.n_touching for look in looks),
        n_refused=len(looked) - len(looks),
    )
    by_cover = [(f"{cover} %", *_cells([c for c in some if c.wanted.cover == cover])) for cover in COVERS]
    by_kind = [(f"{kind:g}", *_cells([c for c in some if c.wanted.compactness == kind])) for kind in COMPACT]
    header = ("precision", "recall", "median diameter error", "aggregates")
    tables = (
        "By density:\n\n" + table(("covered", *header), by_cover),
        "By compactness:\n\n" + table(("compactness", *header), by_kind),
    )
    return Section(" ".join(intro.split()), _figures(some, joined, free), tables)


def _wanted(*, is_trial: bool) -> list[Wanted]:
    n, n_bare = (1, 1) if is_trial else (N_EACH, N_FREE_EACH)
    covers, kinds = (COVERS[:1], COMPACT[:1]) if is_trial else (COVERS, COMPACT)
    faults = range(1) if is_trial else range(len(FREE))
    bare = FREE_COVERS[:1] if is_trial else FREE_COVERS
    some = [Wanted(cover, kind, 0, i) for cover in covers for kind in kinds for i in range(n)]
    return some + [Wanted(cover, None, fault, i) for cover in bare for fault in faults for i in range(n_bare)]


def _count_one(wanted: Wanted, recipe: Pipeline) -> Look | None:
    """Return what is right in one field, None where the recipe refuses to judge it."""
    cv2.setNumThreads(1)
    kind = -1 if wanted.compactness is None else round(10 * wanted.compactness)
    rng = np.random.Generator(np.random.PCG64([SEED, wanted.cover, kind + 1, wanted.fault, wanted.number]))
    settings = _field(wanted, rng)
    drawn = render_field(settings, int(rng.integers(2**31)))
    seen = _found(drawn.image, settings.pixel_size_um, recipe)
    if seen is None:
        return None
    labels, factor = seen
    truth = drawn.aggregates[factor // 2 :: factor, factor // 2 :: factor]
    height, width = truth.shape  # a last row of working pixels may stand for few native ones
    return looked_at(wanted, truth, labels[:height, :width], settings.pixel_size_um * factor)


def _field(wanted: Wanted, rng: np.random.Generator) -> FieldSettings:
    from benchmarks.cultures import changed

    cells = {"area_um2": rng.uniform(1500, 2700), "slenderness": rng.uniform(3.5, 7.0), "phase": rng.uniform(0.3, 0.7)}
    if wanted.compactness is not None:
        cells["aggregates"] = {
            "per_mm2": rng.uniform(6, 20),
            "diameter_um": rng.uniform(60, 200),
            "compactness": wanted.compactness,
        }
    plain = FieldSettings(
        height_px=SIDE_PX,
        width_px=SIDE_PX,
        pixel_size_um=math.exp(rng.uniform(math.log(0.7), math.log(1.6))),
        confluency_percent=wanted.cover,
    )
    return changed(changed(plain, {"cells": cells}), FREE[wanted.fault])


def _found(
    image: NDArray[np.uint8 | np.uint16], pixel_size_um: float, recipe: Pipeline
) -> tuple[NDArray[np.int32], int] | None:
    """Return the aggregates that a run writes, and how many native pixels a side a working pixel has."""
    with tempfile.TemporaryDirectory(prefix="msc-vision-bench-") as folder:
        path, store = Path(folder) / "field.ome.tif", Path(folder) / "field.ome.zarr"
        write_image(path, image, pixel_size_um, "ome-tiff")
        row = ManifestRow(str(path), "V", "t-75", 1, pixel_size_um=pixel_size_um)
        score_field(FieldTask("field", path, row, recipe, store, None))
        return (read_aggregates(store), read_meta(store).factor) if store.is_dir() else None


def looked_at(wanted: Wanted, truth: NDArray[np.uint8], labels: NDArray[np.int32], working_um: float) -> Look:
    """Return a field counted both ways; ``truth`` (Y, X) is 1 where aggregates are."""
    apart = cv2.connectedComponents(np.ascontiguousarray(truth), connectivity=8)[1]
    wider = cv2.dilate(np.ascontiguousarray(truth), ellipse_window(JOINED_UM / working_um))
    joined = cv2.connectedComponents(wider, connectivity=8)[1] * (truth > 0)
    owner = np.zeros(int(apart.max()) + 1, np.int64)
    owner[apart] = joined
    n_touching = int((np.bincount(owner[1:])[owner[1:]] > 1).sum())
    return Look(compared(wanted, apart, labels, working_um), compared(wanted, joined, labels, working_um), n_touching)


def compared(wanted: Wanted, parts: NDArray[np.int32], labels: NDArray[np.int32], working_um: float) -> Counted:
    """Return how many parts of the truth are found at an overlap of half of the union."""
    shared = np.zeros((int(parts.max()) + 1, int(labels.max()) + 1))
    np.add.at(shared, (parts.ravel(), labels.ravel()), 1)
    true, found = shared.sum(axis=1), shared.sum(axis=0)
    overlap = shared[1:, 1:] / (true[1:, None] + found[None, 1:] - shared[1:, 1:])
    is_asked = true[1:] * working_um**2 >= math.pi / 4 * SMALLEST_UM**2
    is_right = overlap >= 0.5
    is_hit = is_right.any(axis=1)
    on_small = (shared[1:, 1:][~is_asked].sum(axis=0) / found[1:]) > 1 - SEEN_FROM
    n_invented = int((~is_right.any(axis=0) & ~on_small).sum())
    rows = np.flatnonzero(is_hit & is_asked)
    ratios = [math.sqrt(found[1:][is_right[i].argmax()] / true[1:][i]) for i in rows]
    return Counted(wanted, len(rows), int((is_asked & ~is_hit).sum()), n_invented, tuple(ratios))


def _rates(counted: Sequence[Counted]) -> tuple[float, float, float, int]:
    """Return precision, recall, the median error of the diameter in percent, and how many there are."""
    right, missed, invented = (sum(getattr(c, name) for c in counted) for name in ("n_right", "n_missed", "n_invented"))
    ratios = [ratio for c in counted for ratio in c.ratios]
    error = 100 * float(np.median(np.abs(np.array(ratios) - 1))) if ratios else math.nan
    precision = right / (right + invented) if right + invented else math.nan
    recall = right / (right + missed) if right + missed else math.nan
    return precision, recall, error, right + missed


def _cells(counted: Sequence[Counted]) -> tuple[str, str, str, str]:
    precision, recall, error, n = _rates(counted)
    return f"{precision:.2f}", f"{recall:.2f}", f"{error:.1f} %", str(n)


def _figures(some: Sequence[Counted], joined: Sequence[Counted], free: Sequence[Counted]) -> tuple[Figure, ...]:
    precision, recall, error, _ = _rates(some)
    precision_joined, recall_joined, _, n_joined = _rates(joined)
    as_one = f"{precision_joined:.2f} and {recall_joined:.2f} of {n_joined}"
    per_100 = 100 * sum(c.n_invented for c in free) / len(free) if free else math.nan
    return (
        at_least("precision", precision, 0.9),
        at_least("recall", recall, 0.9),
        Figure("precision and recall, touching as one", as_one),
        at_most("median error of the diameter", error, 10, " %"),
        at_most("invented in 100 fields without aggregates", per_100, 1),
    )
