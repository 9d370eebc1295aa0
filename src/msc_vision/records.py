"""Frozen records that cross the borders between modules. Every dimensional number carries its unit in its name."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from msc_vision.flags import Flag

FieldStatus = Literal["scored", "rejected", "failed"]
LayerState = Literal["measured", "measured-degraded", "inferred", "unobservable", "missing"]
Severity = Literal["error", "warning"]
VisualSigns = Literal["suspect", "no visual sign", "not assessable"]
"""What a picture can say of contamination; never more."""


@dataclass(frozen=True, slots=True)
class Region:
    """A half-open rectangle of pixels, rows before columns: ``image[y0:y1, x0:x1]``."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.y1 - self.y0, self.x1 - self.x0


@dataclass(frozen=True, slots=True)
class PlaneChoice:
    """Which plane of a multi-page file is wanted; None leaves the choice to the reader, which says what it took."""

    time: int | None = None
    channel: int | str | None = None
    z: int | None = None
    scene: int | str | None = None


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What a reader learned about one field before its pixels were read.

    ``pixel_size_um`` is None when the file does not state one: never guessed, never 1.0.
    ``missing_percent`` is the share of the plane's stored pieces that have no file. ``notes`` are full sentences about
    choices the reader made (plane, channel, focus, colour to luma).
    ``n_scenes`` counts the positions or series of a container (CZI, ND2, LIF): one manifest row can name only one.
    """

    path: Path
    format: str
    shape: tuple[int, int]
    dtype: str
    saturation_level: float | None
    pixel_size_um: float | None
    n_time: int = 1
    n_channels: int = 1
    n_z: int = 1
    time: int = 0
    channel: int = 0
    channel_name: str | None = None
    z: int = 0
    acquired_at: str | None = None
    objective: str | None = None
    modality: str | None = None
    instrument: str | None = None
    y_um: float | None = None
    x_um: float | None = None
    z_um: float | None = None
    notes: tuple[str, ...] = ()
    n_scenes: int = 1
    scene: int = 0
    scene_name: str | None = None
    missing_percent: float = 0.0


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One field of a manifest (DESIGN section 4); ``path`` is as written in the manifest, ``source`` where it lies."""

    path: str
    vessel_id: str
    vessel_type: str
    layer: int
    field: str | None = None
    y_um: float | None = None
    x_um: float | None = None
    z_um: float | None = None
    acquired_at: str | None = None
    pixel_size_um: float | None = None
    modality: str | None = None
    objective: str | None = None
    site: str | None = None
    instrument: str | None = None
    operator: str | None = None
    bank: str | None = None
    donor: str | None = None
    lot: str | None = None
    passage: int | None = None
    pdl: float | None = None
    medium: str | None = None
    medium_lot: str | None = None
    surface: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The fields of a folder, in the order of the file; paths are relative to ``folder`` or absolute."""

    folder: Path
    rows: tuple[ManifestRow, ...]

    def image_path(self, row: ManifestRow) -> Path:
        """Return where the image of a row lies."""
        return self.folder / row.path


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing wrong with a manifest; ``row`` is the 1-based data row (None: the manifest as a whole)."""

    severity: Severity
    message: str
    row: int | None = None
    path: str | None = None

    def __str__(self) -> str:
        """Return the complaint as one line that names row and file."""
        place = "".join((f"row {self.row}: " if self.row is not None else "", f"{self.path}: " if self.path else ""))
        return f"{self.severity}: {place}{self.message}"


@dataclass(frozen=True, slots=True)
class QualityReport:
    """Can this field be judged? Figures are named with their units; a rejection carries the figure that caused it."""

    is_judgeable: bool
    reason: str | None
    flags: tuple[Flag, ...] = ()
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FieldScore:
    """The outcome of one field. A rejected or failed field has a reason and no confluency.

    ``confluency_percent`` is the covered share of the judgeable area, 0 to 100. Areas need a pixel size; without one
    they are None. ``morphology`` is the profile of its cells and its layer, ``findings`` are figures of aggregates and
    of the background, both without what could not be measured; ``contamination`` is None where nobody looked;
    ``contamination_places`` are where a sign is strongest, as ``dots 0:128,640:768`` (rows, columns of the image).
    """

    key: str
    path: str
    status: FieldStatus
    reason: str | None = None
    confluency_percent: float | None = None
    judgeable_percent: float | None = None
    field_area_mm2: float | None = None
    judgeable_area_mm2: float | None = None
    n_objects: int | None = None
    height_px: int | None = None
    width_px: int | None = None
    dtype: str | None = None
    pixel_size_um: float | None = None
    working_pixel_size_um: float | None = None
    working_factor: int | None = None
    channel_name: str | None = None
    time_index: int | None = None
    z_index: int | None = None
    quality: dict[str, float] = field(default_factory=dict)
    morphology: dict[str, float] = field(default_factory=dict)
    findings: dict[str, float] = field(default_factory=dict)
    contamination: VisualSigns | None = None
    contamination_note: str | None = None
    contamination_places: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    image_sha256: str | None = None
    labels_sha256: str | None = None
