"""A synthetic vessel on disk: pictures, their manifest, and the truth about them."""

import csv
import hashlib
import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msc_vision.errors import InvalidArgumentError, OutputError
from msc_vision.io.images import content_sha256
from msc_vision.io.manifest import write_manifest
from msc_vision.records import Manifest, ManifestRow
from msc_vision.synth.field import RenderedField, render_field
from msc_vision.synth.recipe import FileFormat, LayerRecipe, VesselRecipe, grid_positions, load_recipe
from msc_vision.synth.settings import FieldSettings
from msc_vision.vessels import Catalogue, load_catalogue

logger = logging.getLogger(__name__)

MANIFEST_NAME, TRUTH_NAME, LAYERS_NAME, PAIRS_NAME = "manifest.csv", "truth.csv", "truth_layers.csv", "pairs.csv"
LABELS_FOLDER = "labels"  # a name that a search for images passes over
_SUFFIXES: Mapping[FileFormat, str] = {"ome-tiff": ".ome.tif", "tiff": ".tif", "png": ".png"}


@dataclass(frozen=True, slots=True)
class FieldTruth:
    """What is known of one synthetic field: a row of ``truth.csv``."""

    path: str
    vessel_id: str
    layer: int
    field: str
    confluency_percent: float
    n_cells: int
    is_usable: bool


@dataclass(frozen=True, slots=True)
class LayerTruth:
    """What is known of one layer: a row of ``truth_layers.csv``.

    ``confluency_percent`` is that of the layer as the recipe wants it, ``fields_confluency_percent`` the mean of the
    usable fields that were made of it: what a perfect reading of the pictures gives.
    """

    vessel_id: str
    layer: int
    n_fields: int
    n_usable_fields: int
    confluency_percent: float
    fields_confluency_percent: float


@dataclass(frozen=True, slots=True)
class _Place:
    """One field before it is drawn."""

    layer: LayerRecipe
    number: int
    y_um: float
    x_um: float
    settings: FieldSettings
    seed: int

    @property
    def name(self) -> str:
        return f"F{self.number:02d}"


def synthesise(recipe_path: Path, out: Path, *, catalogue: Catalogue | None = None) -> Manifest:
    """Make the vessel of a recipe file in a new folder: the one call behind ``msc-vision synth``.

    Raises
    ------
    InvalidArgumentError
        If the recipe is wrong, or ``out`` holds something already.
    OutputError
        If a file cannot be written.
    """
    catalogue = catalogue or load_catalogue()
    return render_vessel(load_recipe(recipe_path, catalogue), out, catalogue=catalogue)


def render_vessel(recipe: VesselRecipe, out: Path, *, catalogue: Catalogue) -> Manifest:
    """Make a vessel in a new folder.

    ``out`` gets ``L01/VESSEL_L01_F01.ome.tif`` …, ``manifest.csv``, ``truth.csv`` (a row per field),
    ``truth_layers.csv`` (a row per layer), ``labels/`` (a picture per field: 0 or the number of a cell) and
    ``pairs.csv`` (picture and labels, for ``msc-vision evaluate``). The same recipe gives the same pixels.

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
        places = tuple(_places(recipe, catalogue.get(recipe.vessel_type).area_per_layer_cm2))
        made = [_make_field(recipe, place, out) for place in places]
        manifest = Manifest(out, tuple(row for row, _ in made))
        truths = [truth for _, truth in made]
        _write_rows(out / TRUTH_NAME, [_plain(truth) for truth in truths])
        _write_rows(out / LAYERS_NAME, [_plain(_layer_truth(recipe, layer, truths)) for layer in recipe.layers])
        _write_rows(out / PAIRS_NAME, [_pair(recipe, row, truth) for row, truth in made if truth.is_usable])
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


def _places(recipe: VesselRecipe, area_cm2: float) -> Iterator[_Place]:
    for layer in recipe.layers:
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([recipe.seed, layer.layer])))
        start = float(rng.random()), float(rng.random())
        wanted = np.clip(rng.normal(layer.confluency_percent, recipe.field_spread, layer.n_fields), 0, 100)
        seeds = rng.integers(0, 2**32, layer.n_fields)
        for i, (y_um, x_um) in enumerate(grid_positions(layer.n_fields, area_cm2, start)):
            settings = recipe.settings_of(layer.layer, i + 1, confluency_percent=float(wanted[i]))
            yield _Place(layer, i + 1, y_um, x_um, settings, int(seeds[i]))


def _make_field(recipe: VesselRecipe, place: _Place, out: Path) -> tuple[ManifestRow, FieldTruth]:
    field = render_field(place.settings, place.seed)
    stem = f"{recipe.vessel_id}_L{place.layer.layer:02d}_{place.name}"
    path = f"L{place.layer.layer:02d}/{stem}{_SUFFIXES[recipe.file_format]}"
    (out / path).parent.mkdir(parents=True, exist_ok=True)
    write_image(out / path, field.image, place.settings.pixel_size_um, recipe.file_format)
    _write_labels(out / LABELS_FOLDER / f"{stem}.png", field.labels)
    return _row(recipe, place, path, content_sha256(out / path)), _truth(recipe, place, path, field)


def _row(recipe: VesselRecipe, place: _Place, path: str, sha256: str) -> ManifestRow:
    return ManifestRow(
        path=path,
        vessel_id=recipe.vessel_id,
        vessel_type=recipe.vessel_type,
        layer=place.layer.layer,
        field=place.name,
        y_um=round(place.y_um, 1),
        x_um=round(place.x_um, 1),
        pixel_size_um=place.settings.pixel_size_um,
        sha256=sha256,
        **recipe.context.model_dump(),
    )


def _truth(recipe: VesselRecipe, place: _Place, path: str, field: RenderedField) -> FieldTruth:
    odd = recipe.odd_field(place.layer.layer, place.number)
    return FieldTruth(
        path=path,
        vessel_id=recipe.vessel_id,
        layer=place.layer.layer,
        field=place.name,
        confluency_percent=round(field.confluency_percent, 3),
        n_cells=int(np.unique(field.labels[field.foreground]).size),
        is_usable=odd is None or odd.is_usable,
    )


def _layer_truth(recipe: VesselRecipe, layer: LayerRecipe, truths: Sequence[FieldTruth]) -> LayerTruth:
    usable = [t.confluency_percent for t in truths if t.layer == layer.layer and t.is_usable]
    return LayerTruth(
        vessel_id=recipe.vessel_id,
        layer=layer.layer,
        n_fields=layer.n_fields,
        n_usable_fields=len(usable),
        confluency_percent=layer.confluency_percent,
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


def _write_png(path: Path, image: NDArray[np.uint8 | np.uint16]) -> None:
    import cv2

    _, encoded = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    path.write_bytes(encoded.tobytes())  # not imwrite: it fails on names outside the Windows code page


def _plain(record: FieldTruth | LayerTruth) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
