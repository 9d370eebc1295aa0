"""Check a manifest against the catalogue and against its images: all complaints at once, each naming row and file."""

import hashlib
import re
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from itertools import combinations
from pathlib import Path

from msc_vision.errors import InvalidArgumentError, MscVisionError
from msc_vision.io.manifest_draft import (
    OpenInfo,
    has_zone,
    is_same_pixel_size,
    is_same_time,
    look_inside,
    natural_key,
    read_info,
    zone_note,
)
from msc_vision.io.manifest_files import UNKNOWN_LAYER, parse_time, row_problems
from msc_vision.io.patterns import parse_folder
from msc_vision.records import Complaint, ImageInfo, Manifest, ManifestRow, Severity
from msc_vision.vessels import Catalogue, VesselType, layer_ranges

SETTLE_S = 0.3  # between two looks at the sizes of the files
SAMPLE_BYTES = 4096  # read at the start, the middle and the end before two files of one size are hashed in full
SAME_PLACE_UM = 0.1
SPHEROID_SURFACE = re.compile(r"\bula\b|ultra[- ]?low", re.IGNORECASE)
LEVELS_LOOKED_AT = 2  # folders right above an image may name its layer; farther up, L2 may well be a laboratory

Hasher = Callable[[Path], str]
SizeOf = Callable[[Path], int]


@dataclass(frozen=True, slots=True)
class Numbered:
    """A row, its 1-based number, where its image lies, and its vessel type if the catalogue has it."""

    number: int
    row: ManifestRow
    source: Path
    vessel: VesselType | None

    def complain(self, severity: Severity, message: str) -> Complaint:
        """Return a complaint about this row."""
        return Complaint(severity, message, self.number, self.row.path)


def check_manifest(
    manifest: Manifest,
    catalogue: Catalogue,
    *,
    optics_profile: str = "standard",
    hash_contents: Hasher | None = None,
    open_info: OpenInfo | None = None,
    size_of: SizeOf | None = None,
    wait: Callable[[], None] | None = None,
) -> tuple[Complaint, ...]:
    """Return everything that is wrong with a manifest, in the order of its rows; what concerns whole vessels is last.

    An error contradicts the manifest's meaning and must be mended; a warning must be read. A file that cannot be read
    is a warning, because it costs one field and is named in the run.

    Parameters
    ----------
    manifest : Manifest
        As read or drafted.
    catalogue : Catalogue
        Known vessel types.
    optics_profile : str
        Tells which of the missing layers could be imaged.
    hash_contents : callable, optional
        SHA-256 of an image's path; called only where a row states one, or where size and samples of two files agree.
    open_info : callable, optional
        `ImageInfo` of a path; `msc_vision.io.images.open_image` by default.
    size_of : callable, optional
        Size in bytes of an image, a folder's in all.
    wait : callable, optional
        Passes the time between two looks at the sizes; 0.3 s by default.

    Raises
    ------
    InvalidArgumentError
        If a vessel type has no such optics profile.
    """
    rows = [_number(number, row, manifest, catalogue) for number, row in enumerate(manifest.rows, start=1)]
    size_of, wait = size_of or size_bytes, wait or _wait
    complaints = [complaint for one in rows for complaint in _check_row(one, catalogue)]
    complaints += _check_vessel_types(rows)
    complaints += _check_same_fields(rows)
    sizes, missing = _sizes(rows, size_of)
    complaints += missing
    present = [one for one in rows if one.number in sizes]
    infos = [(one, *look_inside(one.source, open_info or read_info)) for one in present if sizes[one.number]]
    complaints += _check_metadata(infos)
    complaints += _check_pixel_sizes(infos)
    complaints += _check_contents(present, sizes, hash_contents or _content_sha256)
    wait()
    complaints += _check_still_copying(present, sizes, size_of)
    ordered = sorted(complaints, key=lambda one: (one.row is None, one.row or 0))
    return (*dict.fromkeys(ordered), *_check_layers(rows, optics_profile))


def _number(number: int, row: ManifestRow, manifest: Manifest, catalogue: Catalogue) -> Numbered:
    return Numbered(number, row, manifest.image_path(row), catalogue.get(row.vessel_type, None))


def _wait() -> None:
    time.sleep(SETTLE_S)


def _content_sha256(path: Path) -> str:
    from msc_vision.io.images import content_sha256  # heavy

    return content_sha256(path)


# --- one row -----------------------------------------------------------------------------------------------------


def _check_row(one: Numbered, catalogue: Catalogue) -> Iterator[Complaint]:
    row = one.row
    plain = {name: value for name in row.__dataclass_fields__ if (value := getattr(row, name)) not in (None, "")}
    if row.layer == UNKNOWN_LAYER:
        del plain["layer"]
    yield from (one.complain("error", problem) for problem in row_problems(plain))
    if row.acquired_at is not None and parse_time(row.acquired_at) is not None and not has_zone(row.acquired_at):
        yield one.complain("warning", zone_note(row.acquired_at))
    if row.surface is not None and SPHEROID_SURFACE.search(row.surface):
        yield one.complain(
            "warning", f"surface is {row.surface!r}: cells form spheroids there, confluency has no meaning."
        )
    if row.vessel_type:
        yield from _check_place(one, catalogue)


def _check_place(one: Numbered, catalogue: Catalogue) -> Iterator[Complaint]:
    row, vessel = one.row, one.vessel
    if vessel is None:
        try:
            catalogue.get(row.vessel_type)
        except InvalidArgumentError as err:
            yield one.complain("error", str(err))
        return
    if row.layer > vessel.layers:
        has = "1 layer" if vessel.layers == 1 else f"layers 1 to {vessel.layers}"
        yield one.complain("error", f"layer is {row.layer}, but a {vessel.id} has {has}.")
    elif vessel.layers > 1:
        yield from _check_layer_folder(one)
    if vessel.wells > 1 and row.vessel_id:
        plate, mark, well = row.vessel_id.rpartition(":")
        if not mark or not plate:
            yield one.complain(
                "error",
                f"vessel_id is {row.vessel_id!r}; each well of a {vessel.id} is a vessel: write {row.vessel_id}:A1.",
            )
        elif not vessel.has_well(well):
            last = f"{chr(ord('A') + vessel.well_rows - 1)}{vessel.well_columns}"
            yield one.complain("error", f"vessel_id is {row.vessel_id!r}, but a {vessel.id} has wells A1 to {last}.")


def _check_layer_folder(one: Numbered) -> Iterator[Complaint]:
    for folder in one.source.parts[:-1][-LEVELS_LOOKED_AT:]:
        _, groups = parse_folder(folder) or (None, {})
        if "layer" in groups and int(groups["layer"]) != one.row.layer != UNKNOWN_LAYER:
            yield one.complain(
                "error",
                f"sources disagree on layer: the manifest says {one.row.layer}; folder {folder!r} says "
                f"{int(groups['layer'])}. Correct the wrong one.",
            )


# --- between rows ------------------------------------------------------------------------------------------------


def _grouped(rows: Iterable[Numbered], key: Callable[[Numbered], Hashable]) -> dict[Hashable, list[Numbered]]:
    groups: defaultdict[Hashable, list[Numbered]] = defaultdict(list)
    for one in rows:
        groups[key(one)].append(one)
    return dict(groups)


def _named(one: Numbered) -> str:
    return f"row {one.number} ({one.row.path})"


def _check_vessel_types(rows: Sequence[Numbered]) -> Iterator[Complaint]:
    for vessel_id, members in _grouped(rows, lambda one: one.row.vessel_id).items():
        first = members[0]
        for other in members[1:]:
            one_type, other_type = _type_name(first), _type_name(other)
            if vessel_id and one_type and other_type and one_type != other_type:
                yield other.complain(
                    "error", f"vessel {vessel_id!r} is a {other_type} here, but a {one_type} in {_named(first)}."
                )


def _type_name(one: Numbered) -> str:
    return one.vessel.id if one.vessel is not None else one.row.vessel_type


def _check_same_fields(rows: Sequence[Numbered]) -> Iterator[Complaint]:
    def moment(one: Numbered) -> str | None:
        parsed = parse_time(one.row.acquired_at) if one.row.acquired_at is not None else None
        return None if parsed is None else (parsed.astimezone(UTC) if parsed.tzinfo else parsed).isoformat()

    for members in _grouped(rows, lambda one: one.source).values():
        for other in members[1:]:
            yield other.complain("error", f"this image is listed twice, first in row {members[0].number}.")
    at = lambda one: (one.row.vessel_id, one.row.layer, moment(one))  # noqa: E731
    with_field = [one for one in rows if one.row.field is not None]
    for members in _grouped(with_field, lambda one: (one.row.field, *at(one))).values():
        for other in members[1:]:
            row = other.row
            yield other.complain(
                "error",
                f"field {row.field!r} of vessel {row.vessel_id!r}, layer {row.layer} is already in "
                f"{_named(members[0])}; it would count twice.",
            )
    placed = [one for one in rows if one.row.y_um is not None and one.row.x_um is not None]
    for members in _grouped(placed, lambda one: (_place(one.row), *at(one))).values():
        for other in members[1:]:
            if other.row.field != members[0].row.field or other.row.field is None:
                yield other.complain(
                    "warning",
                    f"the same place (y {other.row.y_um:g} µm, x {other.row.x_um:g} µm), layer and time as "
                    f"{_named(members[0])}; is it one field saved twice?",
                )


def _place(row: ManifestRow) -> tuple[int, int]:
    return round((row.y_um or 0.0) / SAME_PLACE_UM), round((row.x_um or 0.0) / SAME_PLACE_UM)


def _check_layers(rows: Sequence[Numbered], optics_profile: str) -> Iterator[Complaint]:
    groups = _grouped(rows, lambda one: one.row.vessel_id)
    for vessel_id, members in sorted(groups.items(), key=lambda item: natural_key(str(item[0]))):
        vessel = members[0].vessel
        if vessel is None or any(one.vessel != vessel for one in members):
            continue
        absent = set(range(1, vessel.layers + 1)) - {one.row.layer for one in members}
        if not absent:
            continue
        reachable = absent & set(vessel.reachable_layers(optics_profile))
        which = f"layers {layer_ranges(reachable)} can be" if reachable else "none can be"
        yield Complaint(
            "warning",
            f"vessel {vessel_id!r} ({vessel.id}): no image of layers {layer_ranges(absent)}; "
            f"of these, {which} imaged with {optics_profile} optics.",
        )


# --- against the files -------------------------------------------------------------------------------------------


def size_bytes(path: Path) -> int:
    """Return the size of a file, or of all files of a folder.

    Raises
    ------
    OSError
        If it is missing or cannot be looked at.
    """
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def _sizes(rows: Sequence[Numbered], size_of: SizeOf) -> tuple[dict[int, int], list[Complaint]]:
    """Return the sizes by row number of the images that are there, and complaints about the others."""
    sizes: dict[int, int] = {}
    complaints = []
    for one in rows:
        try:
            sizes[one.number] = size_of(one.source)
        except FileNotFoundError:
            hint = " Write / between folders." if "\\" in one.row.path else " Correct the path or take the row out."
            complaints.append(one.complain("error", f"there is no such file ({one.source}).{hint}"))
        except OSError as err:
            complaints.append(one.complain("error", f"the file cannot be looked at: {err.strerror or err}."))
    return sizes, complaints


def _check_metadata(infos: Sequence[tuple[Numbered, ImageInfo | None, list[Complaint]]]) -> Iterator[Complaint]:
    for one, info, unreadable in infos:
        yield from (one.complain(said.severity, said.message) for said in unreadable)
        if info is None:
            continue
        column, stored = one.row.pixel_size_um, info.pixel_size_um
        if column is not None and stored is not None and not is_same_pixel_size(column, stored):
            yield one.complain(
                "error",
                f"sources disagree on pixel_size_um: the manifest says {column:g}; "
                f"the image's metadata says {stored:g}. Correct the wrong one.",
            )
        told, recorded = one.row.acquired_at, info.acquired_at
        if told and recorded and parse_time(told) and parse_time(recorded) and not is_same_time(told, recorded):
            yield one.complain(
                "error",
                f"sources disagree on acquired_at: the manifest says {told}; the image's metadata says {recorded}. "
                "Correct the wrong one.",
            )


def _check_pixel_sizes(infos: Sequence[tuple[Numbered, ImageInfo | None, list[Complaint]]]) -> Iterator[Complaint]:
    """Warn where the images of one vessel were taken with different pixel sizes, or only some state one."""
    by_vessel: defaultdict[str, list[tuple[Numbered, float | None]]] = defaultdict(list)
    for one, info, _ in infos:
        if info is not None:
            by_vessel[one.row.vessel_id].append((one, one.row.pixel_size_um or info.pixel_size_um))
    for vessel_id, members in by_vessel.items():
        first, usual = next(((one, size) for one, size in members if size is not None), (None, None))
        if first is None or usual is None:
            continue
        for one, size in members:
            here = "unknown" if size is None else f"{size:g} µm"
            if size is None or not is_same_pixel_size(size, usual):
                yield one.complain(
                    "warning",
                    f"mixed pixel sizes in vessel {vessel_id!r}: {here} here, {usual:g} µm in {_named(first)}.",
                )


def _check_contents(rows: Sequence[Numbered], sizes: dict[int, int], hash_contents: Hasher) -> Iterator[Complaint]:
    """Compare stated hashes, and find duplicates: by size, then by samples, and only then by hash of the content."""
    digests: dict[Path, str] = {}

    def digest(path: Path) -> str:
        if path not in digests:
            digests[path] = hash_contents(path)
        return digests[path]

    for one in rows:
        if one.row.sha256 is None:
            continue
        try:
            seen = digest(one.source)
        except (MscVisionError, OSError) as err:
            yield one.complain("warning", f"its sha256 cannot be checked: {err}")
            continue
        if seen.lower() != one.row.sha256.lower():
            yield one.complain(
                "error", f"sha256 is {seen[:12]}…, but the manifest says {one.row.sha256[:12]}…: the file was changed."
            )
    for members in _grouped((one for one in rows if sizes[one.number]), lambda one: sizes[one.number]).values():
        if len({one.source for one in members}) > 1:
            yield from _duplicates(members, sizes[members[0].number], digest)


def _duplicates(rows: Sequence[Numbered], size: int, digest: Hasher) -> Iterator[Complaint]:
    try:
        alike = _grouped(rows, lambda one: _sample(one.source, size))
        for group in alike.values():
            if len(group) < 2:
                continue
            for same in _grouped(group, lambda one: digest(one.source)).values():
                for one, other in combinations(same, 2):
                    if one is same[0] and one.source != other.source:
                        yield other.complain("error", f"the same content as {_named(one)}; it would count twice.")
    except (MscVisionError, OSError) as err:
        yield rows[0].complain("warning", f"could not be compared with other files of its size: {err}")


def _sample(path: Path, size: int) -> bytes:
    """Return a digest of the start, middle and end of a file; of a folder none, so that only its hash decides."""
    if path.is_dir():
        return b""
    sample = hashlib.sha256()
    with path.open("rb") as file:
        for start in (0, max(0, size // 2), max(0, size - SAMPLE_BYTES)):
            file.seek(start)
            sample.update(file.read(SAMPLE_BYTES))
    return sample.digest()


def _check_still_copying(rows: Sequence[Numbered], sizes: dict[int, int], size_of: SizeOf) -> Iterator[Complaint]:
    for one in rows:
        before = sizes[one.number]
        try:
            after = size_of(one.source)
        except OSError as err:
            yield one.complain("error", f"the file vanished while it was checked: {err.strerror or err}.")
            continue
        if after != before:
            yield one.complain(
                "error", f"still being copied: its size went from {before} to {after} bytes; wait until it is there."
            )
        elif after == 0:
            yield one.complain("warning", "half-copied: the file is empty (0 bytes); it will count as a failed field.")
