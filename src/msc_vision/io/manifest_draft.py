"""Draft a manifest from a folder: metadata, folder levels and file names, and every disagreement between them."""

import logging
import math
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any

from msc_vision.errors import InvalidDataError, MscVisionError
from msc_vision.io.manifest_files import (
    INTEGER_COLUMNS,
    NUMBER_COLUMNS,
    UNKNOWN_LAYER,
    parse_time,
    row_problems,
)
from msc_vision.io.patterns import (
    COLUMN_GROUPS,
    PLANE_GROUPS,
    SitePattern,
    clock_time,
    field_name,
    parse_folder,
    parse_name,
    plain_number,
    site_pattern,
    well_name,
)
from msc_vision.records import Complaint, ImageInfo, Manifest, ManifestRow
from msc_vision.vessels import Catalogue, VesselType
from msc_vision.vessels.vessel_type import spelling_key

OpenInfo = Callable[[Path], ImageInfo]

SKIPPED_FOLDERS = frozenset({"labels", "__macosx", "thumbnails", "thumbs"})
RUN_MARK = "run.json"
MADE_BY_US = re.compile(r".+_(labels|foreground)\.tiff?", re.IGNORECASE)
THUMBNAIL = re.compile(r".*_thumb.*", re.IGNORECASE)
METADATA_COLUMNS = ("pixel_size_um", "acquired_at", "objective", "modality", "instrument", "y_um", "x_um", "z_um")
OWN_RULES = frozenset({"vessel_id", "vessel_type", "layer", "field", "acquired_at"})  # settled by their own functions
PIXEL_SIZE_TOLERANCE = 1e-3  # relative; exports round to three or four digits
MAX_ZONE_H = 14

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Claim:
    """What one source says of a column."""

    value: Any
    source: str


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the caller says of the whole folder."""

    catalogue: Catalogue
    vessel: VesselType | None
    vessel_id: str | None
    own: SitePattern | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of one image before the sources are weighed against each other."""

    path: str
    info: ImageInfo | None
    pattern: str | None
    name: Mapping[str, str]
    folders: tuple[tuple[str, str | None, Mapping[str, str]], ...]

    @property
    def planes(self) -> dict[str, str]:
        """What the file name says of time point, z plane and channel, as plain numbers."""
        return {group: plain_number(self.name[group]) for group in PLANE_GROUPS if group in self.name}

    def claims(self, group: str) -> list[Claim]:
        """Return what folder levels and the file name say of a group, outermost folder first."""
        said = [Claim(groups[group], f"folder {folder!r}") for folder, _, groups in self.folders if group in groups]
        if group in self.name:
            said.append(Claim(self.name[group], f"the file name (as {self.pattern})"))
        return said


def draft_manifest(
    folder: Path | str,
    catalogue: Catalogue,
    *,
    vessel_type: str | None = None,
    vessel_id: str | None = None,
    pattern: str | None = None,
    open_info: OpenInfo | None = None,
) -> tuple[Manifest, tuple[Complaint, ...]]:
    """Draft a manifest of all images in a folder, in natural order of their paths.

    Embedded metadata, folder levels (``L01/``, ``Layer 3/``, ``P4/``) and file names are read. Where two disagree, the
    cell stays empty and a complaint names both. A well of a plate is a vessel of one layer, ``PLATE:A1``.
    Where the layer of a stacked vessel is not told, ``layer`` is 0, which is written as an empty cell.

    Parameters
    ----------
    folder : path
        Searched with its subfolders. Hidden files, run folders, ``labels`` folders and thumbnails are left out; a
        ``.zarr`` folder is one image.
    catalogue : Catalogue
        Known vessel types.
    vessel_type : str, optional
        Vessel type of all images, in any spelling. Without it a folder must bear the name of a type.
    vessel_id : str, optional
        The vessel, or the plate, of all images.
    pattern : str, optional
        A site's own name pattern, see `msc_vision.io.patterns.site_pattern`.
    open_info : callable, optional
        Returns the `ImageInfo` of a path; `msc_vision.io.images.open_image` by default.

    Returns
    -------
    Manifest
        Paths are relative to ``folder``.
    tuple of Complaint
        What could not be settled. `check_manifest` finds what is wrong between rows.

    Raises
    ------
    InvalidArgumentError
        If the vessel type or the pattern is wrong.
    InvalidDataError
        If the folder is missing, unreadable, a run folder, or holds no image.
    """
    folder = Path(folder)
    vessel = catalogue.get(vessel_type) if vessel_type is not None else None
    own = site_pattern(pattern) if pattern is not None else None
    defaults = Defaults(catalogue, vessel, vessel_id, own)
    images, left_out = find_images(folder)
    evidences, rows, unsettled = _draft_rows(folder, images, defaults, open_info or read_info)
    named, told_apart = _tell_planes_apart(rows, [evidence.planes for evidence in evidences])
    complaints = (
        *left_out,
        *unsettled,
        *_complain_of_several_vessels(evidences, defaults),
        *_complain_of_shared_names(evidences, rows, defaults),
        *told_apart,
    )
    return Manifest(folder, tuple(named)), complaints


def _draft_rows(
    folder: Path, images: Sequence[str], defaults: Defaults, open_info: OpenInfo
) -> tuple[list[Evidence], list[ManifestRow], list[Complaint]]:
    """Return what is known of each image, the row it makes, and complaints that name row and file."""
    evidences: list[Evidence] = []
    rows: list[ManifestRow] = []
    complaints: list[Complaint] = []
    for number, path in enumerate(images, start=1):
        info, unreadable = look_inside(folder / path, open_info)
        evidence = _gather(path, info, defaults)
        row, problems = _settle(evidence, defaults, folder.resolve().name)
        evidences.append(evidence)
        rows.append(row)
        complaints += [replace(one, row=number, path=path) for one in (*unreadable, *problems)]
    return evidences, rows, complaints


# --- finding -----------------------------------------------------------------------------------------------------


def natural_key(text: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Return a key that sorts ``L2`` before ``L10``."""
    parts = re.split(r"([0-9]+)", text)
    return tuple(
        (0, int(part), "") if part.isdecimal() and part.isascii() else (1, 0, part) for part in parts if part
    ), text


def find_images(folder: Path) -> tuple[list[str], list[Complaint]]:
    """Return the images under a folder as ``/``-separated relative paths in natural order, and what was left out.

    Raises
    ------
    InvalidDataError
        If the folder is missing, unreadable, a run folder, one image, or without images.
    """
    from msc_vision.io.images import IMAGE_SUFFIXES  # numpy: tables of names need none

    if not folder.is_dir():
        raise InvalidDataError(f"{folder}: there is no such folder.")
    if (folder / RUN_MARK).is_file():
        raise InvalidDataError(
            f"{folder}: this is a run folder ({RUN_MARK} lies in it); give the folder of the images."
        )
    if folder.suffix.lower() == ".zarr":
        raise InvalidDataError(f"{folder}: this is one image; give the folder in which it lies.")
    found = sorted((path.relative_to(folder).as_posix() for path in _walk(folder, IMAGE_SUFFIXES)), key=natural_key)
    left_out = [path for path in found if _is_by_product(path)]
    images = [path for path in found if not _is_by_product(path)]
    if not images:
        raise InvalidDataError(f"{folder}: no image found; looked for {', '.join(sorted(IMAGE_SUFFIXES))}.")
    note = "left out: by its name a mask of ours or a thumbnail, not a field."
    return images, [Complaint("warning", note, path=path) for path in left_out]


def _is_by_product(path: str) -> bool:
    name = PurePosixPath(path).name
    return MADE_BY_US.fullmatch(name) is not None or THUMBNAIL.fullmatch(name) is not None


def _walk(folder: Path, suffixes: frozenset[str]) -> Iterator[Path]:
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, onerror=_raise_unreadable, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add(real)
        images = [name for name in folders if Path(name).suffix.lower() == ".zarr" and not name.startswith(".")]
        yield from (Path(parent) / name for name in images)
        folders[:] = [name for name in folders if name not in images and not _is_skipped(Path(parent) / name)]
        yield from (
            Path(parent) / name
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes - {".zarr"}
        )


def _raise_unreadable(error: OSError) -> None:
    raise InvalidDataError(f"{error.filename}: this folder cannot be read: {error.strerror}.") from error


def _is_skipped(folder: Path) -> bool:
    skipped = folder.name.startswith(".") or folder.name.lower() in SKIPPED_FOLDERS or (folder / RUN_MARK).is_file()
    if skipped:
        _log.debug("%s: not searched for images", folder)
    return skipped


def read_info(path: Path) -> ImageInfo:
    """Return what the package's own reader says of an image, without keeping it open."""
    from msc_vision.io.images import open_image  # heavy

    with open_image(path) as image:
        return image.info


def look_inside(path: Path, open_info: OpenInfo) -> tuple[ImageInfo | None, list[Complaint]]:
    """Return what an image says of itself, and complaints; an unreadable one is named and will fail as a field."""
    try:
        info = open_info(path)
    except (MscVisionError, OSError) as err:
        reason = str(err).removeprefix(f"{path}: ")
        return None, [Complaint("warning", f"cannot be read and will count as a failed field: {reason}")]
    complaints = []
    if info.n_scenes > 1:
        complaints.append(
            Complaint(
                "error", f"holds {info.n_scenes} scenes or positions, a row means one; export each to its own file."
            )
        )
    if info.n_time > 1:
        complaints.append(
            Complaint(
                "warning", f"holds {info.n_time} time points; number {info.time} (from 0) is the one that is read."
            )
        )
    return info, complaints


# --- weighing ----------------------------------------------------------------------------------------------------


def _gather(path: str, info: ImageInfo | None, defaults: Defaults) -> Evidence:
    recognised = parse_name(path, defaults.own)
    pattern, name = recognised if recognised is not None else (None, {})
    folders = []
    for folder in PurePosixPath(path).parts[:-1]:
        level, groups = parse_folder(folder) or (None, {})
        folders.append((folder, level, groups))
    return Evidence(path, info, pattern, name, tuple(folders))


def _settle(evidence: Evidence, defaults: Defaults, root: str) -> tuple[ManifestRow, list[Complaint]]:
    """Return the row that the sources agree on, and a complaint for each column on which they do not."""
    complaints: list[Complaint] = []
    vessel = _settle_type(evidence, defaults, complaints)
    n_wells = vessel.wells if vessel is not None else 1
    well = well_name(evidence.name) or next(
        (well_name(groups) for _, _, groups in evidence.folders if "well" in groups), None
    )
    row = ManifestRow(
        path=evidence.path,
        vessel_id=_settle_vessel_id(evidence, defaults, root, complaints),
        vessel_type=vessel.id if vessel is not None else "",
        layer=_settle_layer(evidence, vessel, complaints),
        field=field_name(evidence.name, with_well=n_wells == 1) or PurePosixPath(evidence.path).name.split(".")[0],
        acquired_at=_settle_time(evidence, complaints),
        **_settle_others(evidence, complaints),
    )
    if n_wells > 1 and well is not None and row.vessel_id:
        row = replace(row, vessel_id=f"{row.vessel_id}:{well}")
    if defaults.own is not None and evidence.pattern is None:
        complaints.append(Complaint("warning", "the site's own pattern does not match this name."))
    return row, complaints


def agreed(column: str, claims: Sequence[Claim], complaints: list[Complaint], same: Callable[[Any, Any], bool]) -> Any:
    """Return what all sources say of a column, or None with a complaint that names them if two disagree."""
    for claim in claims[1:]:
        if not same(claims[0].value, claim.value):
            said = "; ".join(f"{one.source} says {one.value}" for one in claims)
            complaints.append(Complaint("error", f"sources disagree on {column}: {said}. Correct the wrong one."))
            return None
    return claims[0].value if claims else None


def _is_equal(one: Any, other: Any) -> bool:
    return bool(one == other)


def _settle_type(evidence: Evidence, defaults: Defaults, complaints: list[Complaint]) -> VesselType | None:
    claims = [Claim(defaults.vessel.id, "the vessel type given")] if defaults.vessel is not None else []
    for claim in evidence.claims("vessel_type"):
        found = defaults.catalogue.get(claim.value, None)
        if found is None:
            complaints.append(Complaint("error", f"{claim.source} says vessel type {claim.value!r}, which is unknown."))
            return None
        claims.append(Claim(found.id, claim.source))
    for folder, _, _ in evidence.folders:
        found = defaults.catalogue.get(folder, None)
        if found is not None and (found.wells == 1 or "well" in folder.lower()):  # `plate 6` may be the sixth plate
            claims.append(Claim(found.id, f"folder {folder!r}"))
    agreed_id = agreed("vessel_type", claims, complaints, _is_equal)
    if not claims:
        complaints.append(
            Complaint("error", "nothing tells the vessel type; give one, such as --vessel hyperstack-36.")
        )
    return defaults.catalogue[agreed_id] if agreed_id is not None else None


def _settle_vessel_id(evidence: Evidence, defaults: Defaults, root: str, complaints: list[Complaint]) -> str:
    claims = [Claim(defaults.vessel_id, "the vessel id given")] if defaults.vessel_id is not None else []
    claims += evidence.claims("vessel_id")
    above = folder_above_layer(evidence)
    if above is not None and defaults.vessel_id is None:
        claims.append(Claim(above, f"folder {above!r}"))
    if claims:
        return agreed("vessel_id", claims, complaints, _is_same_spelling) or ""
    named = [name for name, level, _ in evidence.folders if level is None]
    return evidence.name.get("vessel") or (named[-1] if named else root)


def _is_same_spelling(one: str, other: str) -> bool:
    return spelling_key(one) == spelling_key(other)


def folder_above_layer(evidence: Evidence) -> str | None:
    """Return the folder right above a layer folder, unless it says something else (a date, a passage)."""
    for (name, level, _), (_, below, _) in zip(evidence.folders, evidence.folders[1:], strict=False):
        if below == "layer" and level is None:
            return name
    return None


def _settle_layer(evidence: Evidence, vessel: VesselType | None, complaints: list[Complaint]) -> int:
    claims = [
        Claim(int(claim.value) if claim.value.isdecimal() else claim.value, claim.source)
        for claim in evidence.claims("layer")
    ]
    before = len(complaints)
    layer = agreed("layer", claims, complaints, _is_equal)
    if layer is None and not claims and vessel is not None:
        if vessel.layers == 1:
            return 1
        complaints.append(
            Complaint(
                "error", f"nothing tells the layer of this {vessel.id} (1..{vessel.layers}); use a folder such as L01."
            )
        )
    elif layer is not None and (not isinstance(layer, int) or layer < 1):
        complaints.append(Complaint("error", f"{claims[0].source} says layer {layer}; layers are numbers from 1 up."))
    return layer if isinstance(layer, int) and layer >= 1 and len(complaints) == before else UNKNOWN_LAYER


def _settle_time(evidence: Evidence, complaints: list[Complaint]) -> str | None:
    claims = []
    if evidence.info is not None and evidence.info.acquired_at:
        claims.append(Claim(evidence.info.acquired_at, "the image's metadata"))
    claims += evidence.claims("acquired_at")
    clock = clock_time(evidence.name)
    if clock is not None:
        claims.append(Claim(clock, f"the file name (as {evidence.pattern})"))
    readable = [claim for claim in claims if parse_time(claim.value) is not None]
    complaints += [
        Complaint("warning", f"{claim.source} says acquired_at {claim.value!r}, which is no date and time; left out.")
        for claim in claims
        if claim not in readable
    ]
    readable.sort(key=lambda claim: not has_zone(claim.value))  # a time with a zone tells more
    time: str | None = agreed("acquired_at", readable, complaints, is_same_time)
    if time is not None and not has_zone(time):
        complaints.append(Complaint("warning", zone_note(time)))
    return time


def zone_note(time: str) -> str:
    """Return the complaint about a time without a zone."""
    return f"acquired_at {time} has no time zone; add one, such as +02:00, or times between sites cannot be compared."


def has_zone(time: str) -> bool:
    """Return whether a date and time states its zone."""
    parsed = parse_time(time)
    return parsed is not None and parsed.tzinfo is not None


def is_same_time(one: str, other: str) -> bool:
    """Return whether two times mean the same minute; one without a zone may be off by any zone there is."""
    first, second = parse_time(one), parse_time(other)
    if first is None or second is None:
        return False
    if (first.tzinfo is None) == (second.tzinfo is None):
        return abs(first - second) <= timedelta(minutes=1)
    apart = abs(first.replace(tzinfo=None) - second.replace(tzinfo=None))
    off = apart % timedelta(minutes=15)
    return apart <= timedelta(hours=MAX_ZONE_H) and min(off, timedelta(minutes=15) - off) <= timedelta(minutes=1)


def is_same_pixel_size(one: float, other: float) -> bool:
    """Return whether two pixel sizes are one within what exports round."""
    return abs(one - other) <= PIXEL_SIZE_TOLERANCE * max(abs(one), abs(other))


def _settle_others(evidence: Evidence, complaints: list[Complaint]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for column in sorted(COLUMN_GROUPS - OWN_RULES):
        claims = []
        stored = _stored(evidence.info, column)
        if stored is not None:
            claims.append(Claim(stored, "the image's metadata"))
        claims += [Claim(_typed(column, claim.value), claim.source) for claim in evidence.claims(column)]
        same = is_same_pixel_size if column == "pixel_size_um" and _all_numbers(claims) else _is_equal
        value = agreed(column, claims, complaints, same)
        if value is None:
            continue
        problems = row_problems({"path": "-", "vessel_id": "-", "vessel_type": "-", "layer": 1, column: value})
        complaints += [Complaint("error", f"{claims[0].source}: {text}") for text in problems]
        if not problems:
            values[column] = value
    return values


def _stored(info: ImageInfo | None, column: str) -> Any:
    """Return what the image's metadata says of a column; blank text and NaN say nothing."""
    value = getattr(info, column, None) if column in METADATA_COLUMNS else None
    if isinstance(value, str):
        return value.strip() or None
    return value if value is None or math.isfinite(value) else None


def _all_numbers(claims: Sequence[Claim]) -> bool:
    return all(isinstance(claim.value, int | float) for claim in claims)


def _typed(column: str, text: str) -> Any:
    """Return a text from a name as the type of its column; text that is no number stays, to be refused by name."""
    if column in INTEGER_COLUMNS and text.isdecimal():
        return int(text)
    if column in NUMBER_COLUMNS:
        try:
            return float(text)
        except ValueError:
            return text
    return text


# --- between rows ------------------------------------------------------------------------------------------------


def _complain_of_several_vessels(evidences: Sequence[Evidence], defaults: Defaults) -> list[Complaint]:
    """One vessel id given, yet the folder holds several vessel folders: they would be pooled in silence."""
    if defaults.vessel_id is None:
        return []
    above = sorted({name for one in evidences if (name := folder_above_layer(one)) is not None}, key=natural_key)
    if len(above) < 2:
        return []
    return [
        Complaint(
            "error",
            f"the vessel id {defaults.vessel_id!r} was given for all, but there are several vessel folders: "
            f"{', '.join(above)}. Draft each alone, or give no vessel id.",
        )
    ]


def _complain_of_shared_names(
    evidences: Sequence[Evidence], rows: Sequence[ManifestRow], defaults: Defaults
) -> list[Complaint]:
    """Warn of a vessel that only an export's name tells: in several folders, it may be several vessels."""
    homes: defaultdict[str, set[str]] = defaultdict(set)
    for evidence, row in zip(evidences, rows, strict=True):
        is_weak = (
            defaults.vessel_id is None and "vessel_id" not in evidence.name and folder_above_layer(evidence) is None
        )
        named = [name for name, level, _ in evidence.folders if level is None]
        if is_weak and "vessel" in evidence.name and named:
            homes[row.vessel_id].add(named[-1])
    return [
        Complaint(
            "warning",
            f"vessel {vessel!r} is named after files in several folders: "
            f"{', '.join(sorted(folders, key=natural_key))}. If these are several vessels, draft each alone.",
        )
        for vessel, folders in homes.items()
        if len(folders) > 1
    ]


def _tell_planes_apart(
    rows: Sequence[ManifestRow], planes: Sequence[Mapping[str, str]]
) -> tuple[list[ManifestRow], list[Complaint]]:
    """Give rows that only their plane tells apart fields of their own, such as ``7_t2``, and say so per vessel."""
    groups: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        groups[row.vessel_id, row.layer, row.field, row.acquired_at].append(index)
    named = list(rows)
    told: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for members in groups.values():
        varying = [group for group in PLANE_GROUPS if len({planes[index].get(group) for index in members}) > 1]
        for index in members:
            marks = [f"{_PLANE_MARKS[group]}{planes[index][group]}" for group in varying if group in planes[index]]
            named[index] = replace(rows[index], field="_".join((rows[index].field or "", *marks)))
            for group in varying:
                told[rows[index].vessel_id, group].add(planes[index].get(group, "none"))
    complaints = [
        Complaint(
            "warning", f"vessel {vessel!r}: {_PLANE_WORDS[group].format(', '.join(sorted(values, key=natural_key)))}"
        )
        for (vessel, group), values in told.items()
    ]
    return named, complaints


_PLANE_MARKS = {"time": "t", "z": "z", "channel": "ch"}
_PLANE_WORDS = {
    "time": "file names tell time points {} apart; each is a field of its own here. Keep the rows of one time point.",
    "z": "file names tell z planes {} apart; each is a field of its own here. Keep the rows of the sharpest plane.",
    "channel": "file names tell channels {} apart; each is a field of its own here. Keep the transmitted-light rows.",
}
