"""Synthetic cultures of MSC-like cells with known truth: error by density, by image fault, bare and full."""

import math
import multiprocessing
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile

from benchmarks.annotated import aspect_ratios, n_cells
from benchmarks.setup import Setup
from benchmarks.tables import Figure, Section, at_least, at_most, table
from msc_vision.batch.masks import mask_paths, segment_images
from msc_vision.batch.pipeline import Pipeline
from msc_vision.batch.plan import RunSettings, available_cores
from msc_vision.io.masks import read_mask
from msc_vision.statistics.validation import average_precision
from msc_vision.synth import FieldSettings, render_field
from msc_vision.synth.culture_settings import CellSettings, KindShares

COVERS = (0, 10, 30, 50, 70, 85, 95, 100)
BARRED = (10, 30, 50, 70, 85, 95)
FAULT_COVERS = (0, 30, 70, 100)
N_SEEDS, N_FAULT_SEEDS = 5, 1
SIDE_PX = 1024
SEED = 20_261_122
"""Training draws from seeds of one or two digits; no field is one that a network has seen."""
PIXEL_SIZES_UM = (0.65, 1.3)
NAN = math.nan

Change = Mapping[str, Mapping[str, Any]]
FAULTS: Mapping[str, Change] = {  # near the worst that training shows, one at a time
    "none": {},
    "out of focus, 2.5 µm blur": {"optics": {"defocus_um": 2.5}},
    "noise, 1.5 % of full scale": {"camera": {"electrons": 1700.0}},
    "a quarter of the contrast": {"optics": {"stray_light": 0.75}},
    "vignetting, half the light in the corners": {"background": {"vignetting": 0.5}},
    "tilted light, 30 %": {"background": {"tilt": 0.3}},
    "uneven light, 3 %": {"background": {"unevenness": 0.03}},
    "strong film on the surface": {"background": {"film": 0.016}},
    "dust, 15 per mm²": {"background": {"dust_per_mm2": 15.0}},
    "debris, 600 per mm²": {"cells": {"debris_per_mm2": 600.0}},
    "dead and floating cells, 50 per mm²": {"cells": {"dead_per_mm2": 50.0}},
    "6 scratches": {"faults": {"scratches": 6}},
    "2 fibres": {"faults": {"fibres": 2}},
    "3 bubbles": {"faults": {"bubbles": 3}},
    "streaky plastic": {"faults": {"plastic": 0.02}},
    "condensation": {"faults": {"condensation": 0.3}},
    "meniscus": {"faults": {"meniscus": 0.6}},
    "layer above": {"faults": {"layer_above": 0.2}},
    "wall over a fifth": {"faults": {"wall": 0.2}},
    "stage moved 4 µm": {"faults": {"motion_um": 4.0}},
    "2 stitching seams each way": {"faults": {"seams": 2}},
    "scale bar and text": {"faults": {"burnt_in": "box"}},
    "frame": {"faults": {"frame": 0.05}},
    "JPEG, quality 50": {"camera": {"jpeg_quality": 50}, "": {"bit_depth": 8}},
    "phone at the eyepiece": {"camera": {"eyepiece": 1.0, "jpeg_quality": 75}, "": {"bit_depth": 8}},
    "negative phase contrast": {"optics": {"mode": "negative-phase-contrast"}},
    "brightfield, 15 µm off focus": {"optics": {"mode": "brightfield", "focus_height_um": 15.0}},
    "relief": {"optics": {"mode": "relief"}},
    "contamination: haze": {"contamination": {"kind": "haze", "amount": 0.4}},
    "contamination: dots": {"contamination": {"kind": "dots", "amount": 0.4}},
    "contamination: budding chains": {"contamination": {"kind": "budding", "amount": 0.4}},
    "contamination: filaments": {"contamination": {"kind": "filaments", "amount": 0.4}},
}
TRIAL_FAULTS = ("none", "a quarter of the contrast")
INTRO = """Fields of {side} x {side} pixels, {low:g}-{high:g} µm per pixel, in phase contrast unless said otherwise:
spindle and stellate cells with up to a fifth of flattened ones, of the size of MSC and as thick as a dry mass of some
200 pg makes them (flattened ones 550), less than a rounded cell of the same culture has; drawn anew for each field
({n_seeds} at each density, {n_faults} for each fault and density). Training has seen other fields of the same
simulator, so this shows whether the reading follows a known truth over the whole range and where a fault breaks it,
not how well real cells are outlined. Errors in points, measured minus true. Fields that a recipe refuses to judge are
not scored and are counted; the bars are those of the network."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One field to be drawn."""

    cover: int
    fault: str
    number: int

    @property
    def stem(self) -> str:
        """Name of its files."""
        return f"c{self.cover:03d}_f{list(FAULTS).index(self.fault):02d}_{self.number}"


@dataclass(frozen=True, slots=True)
class Drawn:
    """A field on disk and its truth."""

    wanted: Wanted
    image: Path
    labels: Path
    pixel_size_um: float
    true_percent: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What a recipe read; NaN where it refused to, ``ap50`` and ``count_error_percent`` also where nothing is."""

    wanted: Wanted
    error: float
    measured_percent: float
    ap50: float
    count_error_percent: float
    aspect_error_percent: float
    within_points: float
    flags: tuple[str, ...]


def measure(setup: Setup) -> Section:
    """Draw the fields once and let each recipe read them."""
    wanted = _wanted(is_trial=setup.is_trial)
    with tempfile.TemporaryDirectory(prefix="msc-vision-bench-") as scratch:
        fields = _draw(wanted, Path(scratch))
        readings = {
            name: _read(fields, recipe, Path(scratch) / f"masks-{name}") for name, recipe in setup.recipes.items()
        }
    network = setup.network
    figures = _figures(readings[network.name]) if network else ()
    tables = [
        _cover_table(readings),
        _cell_table(readings),
        _trust_table(readings),
        *(_fault_table(name, r) for name, r in readings.items()),
    ]
    n_seeds, n_faults = (1, 1) if setup.is_trial else (N_SEEDS, N_FAULT_SEEDS)
    sizes = {"side": SIDE_PX, "low": PIXEL_SIZES_UM[0], "high": PIXEL_SIZES_UM[1]}
    intro = INTRO.format(n_seeds=n_seeds, n_faults=n_faults, **sizes)
    return Section(" ".join(intro.split()), figures, tuple(tables))


def _wanted(*, is_trial: bool) -> list[Wanted]:
    n_seeds, n_faults = (1, 1) if is_trial else (N_SEEDS, N_FAULT_SEEDS)
    faults = TRIAL_FAULTS if is_trial else tuple(FAULTS)
    clean = [Wanted(cover, "none", i) for cover in COVERS for i in range(n_seeds)]
    faulty = [Wanted(cover, fault, i) for fault in faults for cover in FAULT_COVERS for i in range(n_faults)]
    return list(dict.fromkeys([*clean, *faulty]))


# --- fields ----------------------------------------------------------------------------------------------------------


def _draw(wanted: Sequence[Wanted], folder: Path) -> list[Drawn]:
    context = multiprocessing.get_context("spawn")  # this process may run threads, and a fork of them can hang
    with ProcessPoolExecutor(available_cores(), mp_context=context, initializer=_one_thread) as pool:
        return list(pool.map(_draw_one, wanted, [folder] * len(wanted), chunksize=4))


def _one_thread() -> None:
    cv2.setNumThreads(1)


def _draw_one(wanted: Wanted, folder: Path) -> Drawn:
    # the same cells with every fault, so that a row of the table shows the fault and not other cells
    rng = np.random.Generator(np.random.PCG64([SEED, wanted.cover, wanted.number]))
    settings = changed(_msc_field(wanted.cover, rng), FAULTS[wanted.fault])
    field = render_field(settings, int(rng.integers(2**31)))
    image, labels = folder / f"{wanted.stem}.tif", folder / f"{wanted.stem}_truth.npy"
    tifffile.imwrite(image, field.image)
    np.save(labels, field.labels)
    return Drawn(wanted, image, labels, settings.pixel_size_um, field.confluency_percent)


def _msc_field(cover: int, rng: np.random.Generator) -> FieldSettings:
    low, high = PIXEL_SIZES_UM
    shares = KindShares(
        spindle=rng.uniform(0.3, 0.7), stellate=rng.uniform(0.2, 0.5), flattened=rng.uniform(0.0, 0.2), rounded=0.02
    )
    cells = CellSettings(
        shares=shares,
        area_um2=rng.uniform(1500, 2700),
        slenderness=rng.uniform(3.5, 7.0),
        phase=rng.uniform(0.3, 0.7),
        alignment=rng.uniform(0.5, 1.0),
    )
    return FieldSettings(
        height_px=SIDE_PX,
        width_px=SIDE_PX,
        pixel_size_um=low * math.exp(rng.random() * math.log(high / low)),
        confluency_percent=cover,
        cells=cells,
    )


def changed(settings: FieldSettings, change: Change) -> FieldSettings:
    """Return the settings with some groups changed; the group "" is the field itself."""
    plain = settings.model_dump()
    for group, values in change.items():
        if group:
            plain[group] |= values
        else:
            plain |= values
    return FieldSettings.model_validate(plain)


# --- readings --------------------------------------------------------------------------------------------------------


def _read(fields: Sequence[Drawn], recipe: Pipeline, out: Path) -> list[Reading]:
    sizes = {field.image: field.pixel_size_um for field in fields}
    settings = RunSettings(workers=available_cores())
    scores = segment_images([f.image for f in fields], out, recipe, settings=settings, pixel_sizes_um=sizes)
    by_path = {score.path: score for score in scores}
    found = []
    for field in fields:
        score = by_path[str(field.image)]
        measured, within = score.confluency_percent, score.quality.get("confluency_within_points", NAN)
        if measured is None:
            found.append(Reading(field.wanted, NAN, NAN, NAN, NAN, NAN, NAN, score.flags))
            continue
        cells = _cells(field, out) if field.wanted.fault == "none" and recipe.network else (NAN, NAN, NAN)
        found.append(Reading(field.wanted, measured - field.true_percent, measured, *cells, within, score.flags))
    return found


def _cells(field: Drawn, out: Path) -> tuple[float, float, float]:
    """Return AP50, and the errors of count and of the median aspect ratio in percent."""
    truth, labels = np.load(field.labels), read_mask(mask_paths(field.image, out).labels)
    if not truth.any():
        return NAN, NAN, NAN
    ratios = [aspect_ratios(part) for part in (truth, labels)]
    aspect = 100 * (np.median(ratios[1]) / np.median(ratios[0]) - 1) if all(r.size for r in ratios) else NAN
    return float(average_precision(truth, labels)[0]), 100 * (n_cells(labels) / n_cells(truth) - 1), float(aspect)


# --- tables ----------------------------------------------------------------------------------------------------------


def _clean(readings: Sequence[Reading], cover: int) -> list[Reading]:
    return [r for r in readings if r.wanted.fault == "none" and r.wanted.cover == cover]


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else NAN


def _cell(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(value, form)


def _figures(readings: Sequence[Reading]) -> tuple[Figure, ...]:
    errors = {cover: [r.error for r in _clean(readings, cover)] for cover in COVERS}
    figures = [
        at_most(f"{cover} % covered: mean absolute error", _mean([abs(e) for e in errors[cover]]), 2, " points")
        for cover in BARRED
    ]
    bare = [r.measured_percent for r in _clean(readings, 0) if not math.isnan(r.error)]
    full = [r.measured_percent for r in _clean(readings, 100) if not math.isnan(r.error)]
    figures.append(at_most("bare surface reads at most", max(bare, default=NAN), 0.5, " %"))
    figures.append(at_least("full layer reads at least", min(full, default=NAN), 97, " %"))
    return (*figures, *_fault_figures(readings))


def _fault_figures(readings: Sequence[Reading]) -> list[Figure]:
    """Return what happens to bare and full fields under faults, and how many fields are not scored at all."""
    faulty = [r for r in readings if r.wanted.fault != "none"]
    scored = [r for r in faulty if not math.isnan(r.error)]
    bare = [r.measured_percent for r in scored if r.wanted.cover == 0]
    full = [r.measured_percent for r in scored if r.wanted.cover == 100]
    middle = [abs(r.error) for r in scored if r.wanted.cover in (30, 70)]
    n_refused = len(faulty) - len(scored)
    return [
        at_most("bare surface under faults reads at most", max(bare, default=NAN), 0.5, " %"),
        at_least("full layer under faults reads at least", min(full, default=NAN), 97, " %"),
        at_most("30 and 70 % under faults: mean absolute error", _mean(middle), 2, " points"),
        Figure("fields under faults that are refused", f"{n_refused} of {len(faulty)}"),
    ]


def _by_cover(readings: Mapping[str, Sequence[Reading]], cells_of: Callable[[list[Reading]], list[str]]) -> list[Any]:
    return [
        (f"{cover} %", *(cell for some in readings.values() for cell in cells_of(_clean(some, cover))))
        for cover in COVERS
    ]


def _cover_table(readings: Mapping[str, Sequence[Reading]]) -> str:
    def cells(some: list[Reading]) -> list[str]:
        errors = [r.error for r in some]
        known = [abs(e) for e in errors if not math.isnan(e)]
        n_refused = sum(math.isnan(e) for e in errors)
        worst = max(known, default=NAN)
        return [_cell(_mean(known), ".1f"), _cell(_mean(errors), "+.1f"), _cell(worst, ".1f"), str(n_refused)]

    header = ("true", *(f"{name}: {c}" for name in readings for c in ("MAE", "bias", "worst", "refused")))
    return "By density, without faults:\n\n" + table(header, _by_cover(readings, cells))


def _cell_table(readings: Mapping[str, Sequence[Reading]]) -> str:
    """Return how well cells are told apart, for recipes that look for cells."""
    looking = {name: some for name, some in readings.items() if any(not math.isnan(r.ap50) for r in some)}
    if not looking:
        return "No recipe looks for single cells."

    def cells(some: list[Reading]) -> list[str]:
        values = (_mean([r.ap50 for r in some]), _mean([r.count_error_percent for r in some]))
        aspect = _mean([r.aspect_error_percent for r in some])
        return [_cell(values[0], ".2f"), _cell(values[1], "+.0f"), _cell(aspect, "+.0f")]

    columns = ("AP50", "count off by, %", "median aspect ratio off by, %")
    header = ("true", *(f"{name}: {column}" for name in looking for column in columns))
    lines = [line for line in _by_cover(looking, cells) if any(line[1:])]
    return "Cells, without faults (truth counts every cell that shows, however little of it):\n\n" + table(
        header, lines
    )


def _trust_table(readings: Mapping[str, Sequence[Reading]]) -> str:
    """Return how often the truth lies as near as a recipe says that it does."""
    speaking = {name: some for name, some in readings.items() if any(not math.isnan(r.within_points) for r in some)}
    if not speaking:
        return "No recipe says how far it may be off."

    def cells(some: list[Reading]) -> list[str]:
        known = [r for r in some if not math.isnan(r.within_points)]
        inside = sum(abs(r.error) <= r.within_points for r in known)
        return [_cell(_mean([r.within_points for r in known]), ".1f"), f"{inside} of {len(known)}"]

    header = ("true", *(f"{name}: {column}" for name in speaking for column in ("mean ± points", "within them")))
    return "`confluency_within_points`, without faults:\n\n" + table(header, _by_cover(speaking, cells))


def _fault_table(name: str, readings: Sequence[Reading]) -> str:
    lines = []
    for fault in FAULTS:
        of_fault = [r for r in readings if r.wanted.fault == fault and r.wanted.number < N_FAULT_SEEDS]
        if of_fault:
            by_cover = [[r.error for r in of_fault if r.wanted.cover == cover] for cover in FAULT_COVERS]
            known = [abs(e) for errors in by_cover for e in errors if not math.isnan(e)]
            n_refused = sum(math.isnan(e) for errors in by_cover for e in errors)
            worst = _cell(max(known, default=NAN), ".1f")
            n_flagged = sum(bool(r.flags) for r in of_fault)
            lines.append((fault, *(_cell(_mean(errors), "+.1f") for errors in by_cover), worst, n_refused, n_flagged))
    header = ("fault", *(f"{cover} %" for cover in FAULT_COVERS), "worst", "refused", "flagged")
    return f"By fault, `{name}`: mean error at each true density\n\n{table(header, lines)}"
