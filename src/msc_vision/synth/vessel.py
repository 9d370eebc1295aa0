"""A synthetic vessel on disk: pictures, their manifest, and the truth about them."""

import csv
import hashlib
import logging
import math
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msc_vision.errors import InvalidArgumentError, OutputError
from msc_vision.io.images import content_sha256
from msc_vision.io.manifest import write_manifest
from msc_vision.records import Manifest, ManifestRow
from msc_vision.synth.culture import CellKind
from msc_vision.synth.field import RenderedField, render_field
from msc_vision.synth.recipe import FileFormat, VesselRecipe, grid_positions, load_recipe
from msc_vision.synth.settings import FieldSettings
from msc_vision.vessels import Catalogue, load_catalogue

logger = logging.getLogger(__name__)

MANIFEST_NAME, TRUTH_NAME, LAYERS_NAME, PAIRS_NAME = "manifest.csv", "truth.csv", "truth_layers.csv", "pairs.csv"
CELLS_NAME = "truth_cells.csv"
LABELS_FOLDER, MASKS_FOLDER = "labels", "labels/foreground"  # a search for images passes over these
_SUFFIXES: Mapping[FileFormat, str] = {"ome-tiff": ".ome.tif", "tiff": ".tif", "png": ".png"}


@dataclass(frozen=True, slots=True)
class FieldTruth:
    """What is known of one synthetic field: a row of ``truth.csv``.

    Percentages are of the judgeable part of the picture; ``elapsed_h`` is empty without a time course.
    """

    path: str
    vessel_id: str
    layer: int
    field: str
    elapsed_h: float | None
    confluency_percent: float
    aggregates_percent: float
    debris_percent: float
    judgeable_percent: float
    n_cells: int
    is_usable: bool


@dataclass(frozen=True, slots=True)
class CellTruth:
    """What is known of one cell: a row of ``truth_cells.csv``. Its area is what can be seen of it."""

    path: str
    label: int
    kind: str
    area_um2: float


@dataclass(frozen=True, slots=True)
class LayerTruth:
    """What is known of one layer: a row of ``truth_layers.csv``.

    ``confluency_percent`` is that of the whole layer, at most 100: what the recipe says, moved by the spread between
    layers and grown to the time. ``fields_confluency_percent`` is the mean of the usable fields that were made of it:
    what a perfect reading of the pictures gives.
    """

    vessel_id: str
    layer: int
    elapsed_h: float | None
    n_fields: int
    n_usable_fields: int
    confluency_percent: float
    fields_confluency_percent: float


@dataclass(frozen=True, slots=True)
class _Place:
    """One field before it is drawn."""

    layer: int
    number: int
    elapsed_h: float | None
    y_um: float
    x_um: float
    settings: FieldSettings
    seed: int

    @property
    def name(self) -> str:
        return f"F{self.number:02d}"

    @property
    def stem(self) -> str:
        time = "" if self.elapsed_h is None else f"_T{round(self.elapsed_h):04d}"
        return f"L{self.layer:02d}_{self.name}{time}"


@dataclass(frozen=True, slots=True)
class _LayerPlan:
    """One layer at one time."""

    layer: int
    elapsed_h: float | None
    confluency_percent: float
    places: tuple[_Place, ...]


@dataclass(frozen=True, slots=True)
class _Made:
    """One field on disk and all that is known of it."""

    row: ManifestRow
    truth: FieldTruth
    cells: tuple[CellTruth, ...]


def synthesise(
    recipe_path: Path,
    out: Path,
    *,
    catalogue: Catalogue | None = None,
    on_field: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Make the vessel of a recipe file in a new folder: the one call behind ``msc-vision synth``.

    Raises
    ------
    InvalidArgumentError
        If the recipe is wrong, or ``out`` holds something already.
    OutputError
        If a file cannot be written.
    """
    catalogue = catalogue or load_catalogue()
    return render_vessel(load_recipe(recipe_path, catalogue), out, catalogue=catalogue, on_field=on_field)


def render_vessel(
    recipe: VesselRecipe, out: Path, *, catalogue: Catalogue, on_field: Callable[[int, int], None] | None = None
) -> Manifest:
    """Make a vessel in a new folder. The same recipe gives the same pixels.

    ``out`` gets ``L01/VESSEL_L01_F01.ome.tif`` …, ``manifest.csv``, ``truth.csv`` (a row per field),
    ``truth_layers.csv`` (a row per layer and time), ``truth_cells.csv`` (a row per cell: its kind and area),
    ``labels/`` (a picture per field: 0 or the number of a cell; in ``labels/foreground/`` 255 where cells are) and
    ``pairs.csv`` (picture and labels, for ``msc-vision evaluate``).

    Parameters
    ----------
    recipe : VesselRecipe
        What to make.
    out : Path
        A new or empty folder.
    catalogue : Catalogue
        Vessel types.
    on_field : callable, optional
        Hears after each field how many are done, and of how many.

    Raises
    ------
    InvalidArgumentError
        If ``out`` holds something already.
    OutputError
        If a file cannot be written.
    """
    with _writing(out):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InvalidArgumentError(f"{out} is not empty; choose another --out for the synthetic vessel.")
        plans = tuple(_plans(recipe, catalogue.get(recipe.vessel_type).area_per_layer_cm2))
        n_fields = sum(len(plan.places) for plan in plans)
        made: list[_Made] = []
        for place in (place for plan in plans for place in plan.places):
            made.append(_make_field(recipe, place, out))
            if on_field is not None:
                on_field(len(made), n_fields)
        manifest = Manifest(out, tuple(one.row for one in made))
        truths = [one.truth for one in made]
        _write_rows(out / TRUTH_NAME, [_plain(truth) for truth in truths])
        _write_rows(out / LAYERS_NAME, [_plain(_layer_truth(recipe, plan, truths)) for plan in plans])
        _write_rows(out / CELLS_NAME, [_plain(cell) for one in made for cell in one.cells])
        _write_rows(out / PAIRS_NAME, [_pair(recipe, one.row, one.truth) for one in made if one.truth.is_usable])
    write_manifest(manifest, out / MANIFEST_NAME)
    logger.info("%s: %d fields of %s", out, len(made), recipe.vessel_type)
    return manifest


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        if isinstance(err, OutputError):
            raise
        raise OutputError(f"{err.filename or out}: cannot be written: {err.strerror or err}.") from err


def _plans(recipe: VesselRecipe, area_cm2: float) -> Iterator[_LayerPlan]:
    """Return each layer at each time. A layer keeps its places, seeds and luck over time: only growth moves it."""
    uneven = recipe.unevenness
    for layer in recipe.layers:
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([recipe.seed, layer.layer])))
        start = float(rng.random()), float(rng.random())
        luck = rng.normal(0.0, 1.0, layer.n_fields)
        seeds = rng.integers(0, 2**32, layer.n_fields)
        base = min(max(layer.confluency_percent + float(rng.normal(0.0, 1.0)) * uneven.layer_spread, 0.0), 100.0)
        positions = grid_positions(layer.n_fields, area_cm2, start)
        side_um = math.sqrt(area_cm2) * 1e4
        for elapsed_h in recipe.times_h:
            grown = base
            if recipe.time_course is not None and elapsed_h is not None:
                grown = recipe.time_course.growth.confluency_percent(base, elapsed_h)
            places = []
            for i, (y_um, x_um) in enumerate(positions):
                wanted = grown + uneven.offset(y_um / side_um, x_um / side_um) + recipe.field_spread * float(luck[i])
                settings = recipe.settings_of(layer.layer, i + 1, confluency_percent=max(wanted, 0.0))
                places.append(_Place(layer.layer, i + 1, elapsed_h, y_um, x_um, settings, int(seeds[i])))
            yield _LayerPlan(layer.layer, elapsed_h, grown, tuple(places))


def _make_field(recipe: VesselRecipe, place: _Place, out: Path) -> _Made:
    field = render_field(place.settings, place.seed)
    stem = f"{recipe.vessel_id}_{place.stem}"
    path = f"L{place.layer:02d}/{stem}{_SUFFIXES[recipe.file_format]}"
    (out / path).parent.mkdir(parents=True, exist_ok=True)
    write_image(out / path, field.image, place.settings.pixel_size_um, recipe.file_format)
    _write_labels(out / LABELS_FOLDER / f"{stem}.png", field.labels)
    _write_mask(out / MASKS_FOLDER / f"{stem}.png", field.foreground)
    row = _row(recipe, place, path, content_sha256(out / path))
    return _Made(row, _truth(recipe, place, path, field), _cell_truths(path, field, place.settings.pixel_size_um))


def _row(recipe: VesselRecipe, place: _Place, path: str, sha256: str) -> ManifestRow:
    context = recipe.context.model_dump()
    if place.elapsed_h is not None and context["acquired_at"] is not None:
        start = datetime.fromisoformat(context["acquired_at"])
        context["acquired_at"] = (start + timedelta(hours=place.elapsed_h)).isoformat()
    return ManifestRow(
        path=path,
        vessel_id=recipe.vessel_id,
        vessel_type=recipe.vessel_type,
        layer=place.layer,
        field=place.name,
        y_um=round(place.y_um, 1),
        x_um=round(place.x_um, 1),
        pixel_size_um=place.settings.pixel_size_um,
        sha256=sha256,
        **context,
    )


def _truth(recipe: VesselRecipe, place: _Place, path: str, field: RenderedField) -> FieldTruth:
    odd = recipe.odd_field(place.layer, place.number)
    seen = field.judgeable
    n_seen = max(int(np.count_nonzero(seen)), 1)
    return FieldTruth(
        path=path,
        vessel_id=recipe.vessel_id,
        layer=place.layer,
        field=place.name,
        elapsed_h=place.elapsed_h,
        confluency_percent=round(field.confluency_percent, 3),
        aggregates_percent=round(100 * int(np.count_nonzero(field.aggregates[seen])) / n_seen, 3),
        debris_percent=round(100 * int(np.count_nonzero(field.debris[seen])) / n_seen, 3),
        judgeable_percent=round(100 * float(seen.mean()), 3),
        n_cells=len(field.kinds) - 1,
        is_usable=odd is None or odd.is_usable,
    )


def _cell_truths(path: str, field: RenderedField, pixel_size_um: float) -> tuple[CellTruth, ...]:
    areas_px = np.bincount(field.labels.ravel(), minlength=len(field.kinds))
    return tuple(
        CellTruth(path, label, CellKind(int(kind)).name.lower(), round(float(area_px) * pixel_size_um**2, 1))
        for label, (kind, area_px) in enumerate(zip(field.kinds, areas_px, strict=True))
        if label > 0
    )


def _layer_truth(recipe: VesselRecipe, plan: _LayerPlan, truths: Sequence[FieldTruth]) -> LayerTruth:
    made = [t for t in truths if (t.layer, t.elapsed_h) == (plan.layer, plan.elapsed_h)]
    usable = [t.confluency_percent for t in made if t.is_usable]
    return LayerTruth(
        vessel_id=recipe.vessel_id,
        layer=plan.layer,
        elapsed_h=plan.elapsed_h,
        n_fields=len(made),
        n_usable_fields=len(usable),
        confluency_percent=round(min(plan.confluency_percent, 100.0), 3),
        fields_confluency_percent=round(float(np.mean(usable)), 3) if usable else float("nan"),
    )


def _pair(recipe: VesselRecipe, row: ManifestRow, truth: FieldTruth) -> dict[str, Any]:
    stem = Path(row.path).name.removesuffix(_SUFFIXES[recipe.file_format])
    return {
        "image": row.path,
        "truth": f"{LABELS_FOLDER}/{stem}.png",
        "kind": "instances",
        "set": recipe.vessel_id,
        "use": "synthetic",
        "confluency_percent": truth.confluency_percent,
        "pixel_size_um": row.pixel_size_um,
        "sha256": row.sha256,
    }


# --- files -----------------------------------------------------------------------------------------------------------


def write_image(
    path: Path, image: NDArray[np.uint8 | np.uint16], pixel_size_um: float, file_format: FileFormat
) -> None:
    """Write a picture; the formats that can hold the pixel size get it. The same pixels give the same file."""
    if file_format == "png":
        _write_png(path, image)
        return
    import tifffile

    size: dict[str, Any] = {"PhysicalSizeX": pixel_size_um, "PhysicalSizeY": pixel_size_um}
    is_ome = file_format == "ome-tiff"
    if is_ome:
        digest = hashlib.sha256(image.tobytes()).digest()
        size |= {"axes": "YX", "UUID": f"urn:uuid:{uuid.UUID(bytes=digest[:16], version=4)}"}
    tifffile.imwrite(
        path,
        image,
        ome=is_ome,
        photometric="minisblack",
        compression="zlib",
        compressionargs={"level": 9},
        predictor=True,
        rowsperstrip=256,
        resolution=(1e4 / pixel_size_um, 1e4 / pixel_size_um),
        resolutionunit="CENTIMETER",
        software="msc-vision synth",
        metadata=size if is_ome else None,
    )


def _write_labels(path: Path, labels: NDArray[np.int32]) -> None:
    """Write labels as a 16-bit PNG; a field of at most 8192 x 8192 pixels has fewer cells than that holds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_png(path, labels.astype(np.uint16))


def _write_mask(path: Path, foreground: NDArray[np.bool_]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_png(path, foreground.astype(np.uint8) * np.uint8(255))


def _write_png(path: Path, image: NDArray[np.uint8 | np.uint16]) -> None:
    import cv2

    _, encoded = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    path.write_bytes(encoded.tobytes())  # not imwrite: it fails on names outside the Windows code page


def _plain(record: FieldTruth | LayerTruth | CellTruth) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
