"""Where pictures with truth come from: annotated ones, the simulator, and a teacher's opinion on plain ones."""

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from msc_vision.learning.prepared import Made, hash_of, hash_of_files
from msc_vision.learning.recipe import Truth
from msc_vision.learning.sources import SourceImage, read_judged, read_picture, read_truth
from msc_vision.learning.targets import (
    EVERYTHING,
    FOREGROUND,
    INSTANCES,
    area_maps,
    foreground_maps,
    instance_maps,
    resampled,
    resampled_labels,
)
from msc_vision.learning.visible import has_bare_surface, hidden_cells

if TYPE_CHECKING:
    from msc_vision.synth import FieldSettings, RenderedField

CLASSICAL = "contrast"
SYNTHETIC = "synthetic"


@cache
def _code_hash(*paths: Path) -> str:
    """Hash the code that makes items, so that a cache never outlives a change of it."""
    return hash_of_files(*paths)


def own_code_hash() -> str:
    """Return the hash of the code that reads pictures and makes maps."""
    return _code_hash(*(Path(__file__).with_name(f"{name}.py") for name in ("jobs", "sources", "targets", "visible")))


@dataclass(frozen=True, slots=True)
class AnnotatedJob:
    """An annotated picture at the canonical pixel size."""

    source: SourceImage
    truth: Truth
    assumed_pixel_size_um: float | None
    canonical_pixel_size_um: float

    @property
    def name(self) -> str:
        """Name in its list."""
        return self.source.name

    @property
    def set_name(self) -> str:
        """Name of its set."""
        return self.source.set_name

    @property
    def key(self) -> str:
        """Hash of files and settings."""
        size = self.source.pixel_size_um, self.assumed_pixel_size_um, self.canonical_pixel_size_um
        files = [_stamp(self.source.image), _stamp(self.source.truth), _stamp(self.source.ignore)]
        return hash_of("annotated", own_code_hash(), files, self.truth, size)

    def read(self) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
        """Return picture and labels at the canonical pixel size, labels numbered from 1."""
        picture, labels, _ = self._read()
        return picture, labels

    def _read(self) -> tuple[NDArray[np.uint16], NDArray[np.int32], NDArray[np.bool_] | None]:
        """Return picture, labels, and what somebody judged, which is None where that is all of it."""
        picture, size_um = read_picture(self.source, self.assumed_pixel_size_um)
        height, width = picture.shape
        mask, judged = read_truth(self.source, (height, width)), read_judged(self.source, (height, width))
        factor = size_um / self.canonical_pixel_size_um
        known = None if judged is None else resampled_labels(judged.view(np.uint8), factor) > 0
        return resampled(picture, factor), _numbered(resampled_labels(mask, factor)), known

    def make(self) -> Made:
        """Read picture and mask, and make the maps that this kind of truth allows."""
        picture, labels, judged = self._read()
        is_known = self.assumed_pixel_size_um is None or self.source.pixel_size_um is not None
        if self.truth == "instances":
            return Made(picture, instance_maps(labels, judged), INSTANCES, is_known)
        if self.truth == "foreground":
            return Made(picture, foreground_maps(labels > 0, judged), FOREGROUND, is_known)
        return Made(picture, area_maps(labels > 0, judged), FOREGROUND, is_known)


def _numbered(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return labels with the numbers from 1 on, without gaps: files may hold any."""
    numbers, order = np.unique(labels, return_inverse=True)
    first = 0 if numbers[0] == 0 else 1
    return (order.reshape(labels.shape) + first).astype(np.int32)


@dataclass(frozen=True, slots=True)
class SyntheticJob:
    """A field of the simulator."""

    seed: int
    number: int
    side_px: int
    canonical_pixel_size_um: float

    @property
    def name(self) -> str:
        """Seed and number."""
        return f"synthetic {self.seed}/{self.number}"

    @property
    def set_name(self) -> str:
        """Always `SYNTHETIC`."""
        return SYNTHETIC

    @property
    def key(self) -> str:
        """Hash of the settings and of the simulator's code."""
        import msc_vision.synth

        code = _code_hash(Path(msc_vision.synth.__file__).parent)
        return hash_of("synthetic", own_code_hash(), code, self.seed, self.number, self.side_px, self._size)

    @property
    def _size(self) -> float:
        return self.canonical_pixel_size_um

    def make(self) -> Made:
        """Draw settings, render them, and make all maps."""
        from msc_vision.synth import render_field
        from msc_vision.synth.variety import random_settings

        rng = np.random.default_rng([self.seed, self.number])
        settings = random_settings(rng, height_px=self.side_px, width_px=self.side_px)
        seed = int(rng.integers(2**31))
        field = render_field(settings, seed)
        return field_item(field, settings.pixel_size_um / self._size, _hidden(field, settings, seed))


def _hidden(field: "RenderedField", settings: "FieldSettings", seed: int) -> NDArray[np.bool_]:
    """Return which cells cannot be seen; a field that shows no bare surface is compared with the same one without."""
    from msc_vision.synth import render_field

    if has_bare_surface(field.labels):
        return hidden_cells(field.image, field.labels)
    # a camera's automatic contrast would stretch a bare field until its grain looks like cells
    linear = settings.model_copy(update={"camera": settings.camera.model_copy(update={"auto_contrast": 0.0})})
    bare = linear.model_copy(update={"confluency_percent": 0.0})
    return hidden_cells(render_field(linear, seed).image, field.labels, render_field(bare, seed).image)


def field_item(field: "RenderedField", factor: float, hidden: NDArray[np.bool_]) -> Made:
    """Return a rendered field as an item.

    Parameters
    ----------
    field : RenderedField
        With the truth of every map.
    factor : float
        Its pixel size over the canonical one.
    hidden : (Y, X) bool array
        Cells that cannot be seen: they teach nothing.
    """
    labels = resampled_labels(field.labels, factor)
    maps = np.zeros((2, *labels.shape, 4), np.uint8)
    maps[:1] = instance_maps(labels)
    maps[0, ..., 0] = _mask(field.foreground, factor)
    maps[0, ..., 1] = _mask(~field.judgeable, factor)
    maps[0, ..., 3] = _mask(field.judgeable & ~hidden, factor)
    maps[1, ..., 0] = _mask(_rounded(field), factor)
    maps[1, ..., 1] = _mask(field.aggregates > 0, factor)
    maps[1, ..., 2] = _mask(field.debris > 0, factor)
    return Made(resampled(field.image, factor), maps, EVERYTHING, True)


def _rounded(field: "RenderedField") -> NDArray[np.bool_]:
    from msc_vision.synth.culture import CellKind

    is_rounded: NDArray[np.bool_] = (field.kinds == CellKind.ROUNDED)[field.labels]
    return is_rounded


def _mask(mask: NDArray[np.bool_], factor: float) -> NDArray[np.uint8]:
    return resampled_labels(mask.astype(np.uint8), factor).astype(np.uint8) * np.uint8(255)


@dataclass(frozen=True, slots=True)
class TaughtJob:
    """A plain picture with a teacher's opinion where it is sure."""

    source: SourceImage
    teacher: str
    teacher_sha256: str
    sure: tuple[float, float]
    assumed_pixel_size_um: float | None
    canonical_pixel_size_um: float

    @property
    def name(self) -> str:
        """Name in its list."""
        return self.source.name

    @property
    def set_name(self) -> str:
        """Name of its set."""
        return self.source.set_name

    @property
    def key(self) -> str:
        """Hash of file, teacher and settings."""
        size = self.source.pixel_size_um, self.assumed_pixel_size_um, self.canonical_pixel_size_um
        teacher = self.teacher, self.teacher_sha256, self.sure
        return hash_of("taught", own_code_hash(), _stamp(self.source.image), teacher, size)

    def make(self) -> Made | None:
        """Let the teacher judge the picture; None if it refuses to."""
        picture, size_um = read_picture(self.source, self.assumed_pixel_size_um)
        factor = size_um / self.canonical_pixel_size_um
        canonical = resampled(picture, factor)
        if self.teacher != CLASSICAL:
            probability = _model_opinion(self.teacher, canonical)
            low, high = self.sure
            is_sure = (probability < low) | (probability > high)
            return Made(canonical, foreground_maps(probability > 0.5, is_sure), FOREGROUND, False)
        covered = _classical_opinion(self.source, size_um)
        if covered is None:
            return None
        return Made(canonical, area_maps(resampled_labels(covered.astype(np.uint8), factor) > 0), FOREGROUND, False)


def teacher_sha256(teacher: str) -> str:
    """Return what identifies a teacher: of a model its sha256, of the classical path that of its recipe."""
    if teacher == CLASSICAL:
        from msc_vision.batch.pipeline import load_pipeline

        return load_pipeline(CLASSICAL).sha256
    from msc_vision.segmentation.network.weights import load_model

    return load_model(teacher).sha256


def _model_opinion(teacher: str, canonical: NDArray[np.uint16]) -> NDArray[np.float32]:
    from msc_vision.learning.score import foreground_probability
    from msc_vision.segmentation.network.weights import load_model

    model = load_model(teacher)
    return foreground_probability(model.network, canonical, temperature=model.config.calibration_temperature)


def _classical_opinion(source: SourceImage, pixel_size_um: float) -> NDArray[np.bool_] | None:
    from msc_vision.batch.field import FieldTask, score_field
    from msc_vision.batch.pipeline import load_pipeline
    from msc_vision.io.labels import read_labels, read_meta, to_native
    from msc_vision.records import ManifestRow

    row = ManifestRow(path=str(source.image), vessel_id="", vessel_type="", layer=1, pixel_size_um=pixel_size_um)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "opinion.ome.zarr"
        score = score_field(FieldTask("0", source.image, row, load_pipeline(CLASSICAL), store, None))
        if score.status != "scored":
            return None
        foreground, _, _ = read_labels(store)
        meta = read_meta(store)
        return to_native(foreground, meta.factor, meta.image_shape)


def _stamp(path: Path | None) -> list[str | int]:
    """Return what changes when a file does, without reading it."""
    if path is None or not path.is_file():
        return []
    state = path.stat()
    return [str(path.resolve()), state.st_size, state.st_mtime_ns]
