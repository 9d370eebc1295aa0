"""Lists of annotated pictures: what may be learned from, and what may not."""

import csv
import fnmatch
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msc_vision.errors import InvalidArgumentError, InvalidDataError
from msc_vision.io.images import IMAGE_SUFFIXES, open_image
from msc_vision.io.masks import read_mask
from msc_vision.learning.recipe import PseudoRecipe, SourceRecipe

PAIRS = "pairs.csv"
LABELS_SUFFIX = "_labels.tif"
IGNORE_SUFFIX = "_ignore.tif"
"""Of a mask whose pixels other than 0 nobody judged: they teach nothing."""
EVALUATION_ONLY = "evaluation-only"
_KINDS_FOR = {
    "instances": ("instances",),
    "foreground": ("instances", "foreground"),
    "area": ("instances", "foreground"),
}


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One picture of a list."""

    name: str
    set_name: str
    image: Path
    truth: Path | None
    kind: str
    pixel_size_um: float | None
    sha256: str | None
    ignore: Path | None = None


def annotated_images(source: SourceRecipe, data: Path) -> tuple[SourceImage, ...]:
    """Return the pictures of a source, each with its mask.

    The list may be a CSV file, or a folder with a ``pairs.csv``, or with ``X_labels.tif`` beside each image ``X.*``;
    a column ``ignore``, or a mask ``X_ignore.tif``, says with pixels other than 0 what nobody judged.

    Raises
    ------
    InvalidDataError
        If the list cannot be read, lacks a set, or has pictures without the mask that the recipe asks for.
    InvalidArgumentError
        If a set is for evaluation only.
    """
    listed = _listed(data / source.pairs, source.sets)
    without = [one for one in listed if one.truth is None or one.kind not in _KINDS_FOR[source.truth]]
    if without:
        names = ", ".join(sorted({one.set_name for one in without}))
        raise InvalidDataError(
            f"{data / source.pairs}: {len(without)} of {len(listed)} pictures of {names} have no mask of kind "
            f"{source.truth}, such as {without[0].name}; annotate them, or list the set under `pseudo`."
        )
    return listed


def plain_images(source: PseudoRecipe, data: Path) -> tuple[SourceImage, ...]:
    """Return the pictures of sets whose masks, if any, are not used; errors as `annotated_images`."""
    return _listed(data / source.pairs, source.sets)


def _listed(listing: Path, sets: tuple[str, ...]) -> tuple[SourceImage, ...]:
    pairs = listing / PAIRS if (listing / PAIRS).is_file() else listing
    if pairs.is_dir():
        return _beside(pairs)
    rows = [row for row in list_rows(pairs) if not sets or row["set"] in sets]
    if missing := [name for name in sets if not any(row["set"] == name for row in rows)]:
        raise InvalidDataError(f"{pairs}: has no set {', '.join(missing)}.")
    if forbidden := sorted({row["set"] for row in rows if row.get("use") == EVALUATION_ONLY}):
        raise InvalidArgumentError(
            f"{pairs}: {', '.join(forbidden)} is for evaluation only; name the sets to train on without it."
        )
    if not rows:
        raise InvalidDataError(f"{pairs}: lists no picture.")
    return tuple(_source_image(row, pairs, number) for number, row in enumerate(rows, start=1))


def list_rows(pairs: Path) -> list[dict[str, str]]:
    """Return the rows of a list of pictures, as text without blanks around it.

    Raises
    ------
    InvalidDataError
        If it cannot be read, or is no such list.
    """
    try:
        with pairs.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            if missing := {"image", "truth", "kind"} - set(reader.fieldnames or ()):
                raise InvalidDataError(f"{pairs}: column {', '.join(sorted(missing))} is missing.")
            rows = [{k: (v or "").strip() for k, v in row.items() if isinstance(k, str)} for row in reader]
    except FileNotFoundError as err:
        raise InvalidDataError(f"{pairs}: there is no such list of pictures; say where the data lie: --data.") from err
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise InvalidDataError(f"{pairs}: cannot be read as a CSV file of pairs ({err}).") from err
    return [row | {"set": row.get("set") or "all"} for row in rows]


def _source_image(row: dict[str, str], pairs: Path, number: int) -> SourceImage:
    if not row["image"]:
        raise InvalidDataError(f"{pairs}: row {number}: image is empty; name the image file.")
    return SourceImage(
        name=row["image"],
        set_name=row["set"],
        image=pairs.parent / row["image"],
        truth=pairs.parent / row["truth"] if row["truth"] else None,
        kind=row["kind"],
        pixel_size_um=_size(row.get("pixel_size_um"), f"{pairs}: {row['image']}"),
        sha256=row.get("sha256") or None,
        ignore=pairs.parent / row["ignore"] if row.get("ignore") else None,
    )


def _size(text: str | None, where: str) -> float | None:
    if not text:
        return None
    try:
        size = float(text)
    except ValueError:
        size = math.nan
    if not 0 < size < 1000:
        raise InvalidDataError(f"{where}: pixel_size_um is {text!r}; give µm, such as 0.65, or leave it empty.")
    return size


def read_picture(
    source: SourceImage, assumed_pixel_size_um: float | None
) -> tuple[NDArray[np.uint8 | np.uint16 | np.float32], float]:
    """Return the grey values of a picture and its pixel size in µm.

    Raises
    ------
    InvalidDataError
        If it cannot be read, is not the file that was listed, or nobody knows its pixel size.
    """
    if source.sha256 and source.image.is_file():
        found = hashlib.sha256(source.image.read_bytes()).hexdigest()
        if found != source.sha256:
            raise InvalidDataError(f"{source.image}: was altered: its sha256 is not the one listed.")
    with open_image(source.image) as image:
        size = source.pixel_size_um or image.info.pixel_size_um or assumed_pixel_size_um
        if size is None:
            raise InvalidDataError(
                f"{source.image}: its pixel size is not known; give --pixel-size-um, or put "
                "pixel_size_um into the list or assumed_pixel_size_um into the recipe."
            )
        return image.read(), size


def read_truth(source: SourceImage, shape: tuple[int, int]) -> NDArray[np.integer]:
    """Return the mask of a picture.

    Raises
    ------
    InvalidDataError
        If it is missing, no mask, or of another size than the picture.
    """
    if source.truth is None:
        raise InvalidDataError(f"{source.image}: has no mask.")
    mask = read_mask(source.truth)
    if mask.shape != shape:
        raise InvalidDataError(
            f"{source.truth}: is {mask.shape[0]} x {mask.shape[1]}, its picture {shape[0]} x {shape[1]} pixels."
        )
    return mask


def read_judged(source: SourceImage, shape: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Return what of a picture somebody judged; None where that is all of it.

    Raises
    ------
    InvalidDataError
        As `read_truth`.
    """
    if source.ignore is None:
        return None
    ignored = read_mask(source.ignore)
    if ignored.shape != shape:
        raise InvalidDataError(
            f"{source.ignore}: is {ignored.shape[0]} x {ignored.shape[1]}, its picture {shape[0]} x {shape[1]} pixels."
        )
    return ignored == 0


def group_of(names: list[str], n_groups: int, patterns: tuple[tuple[str, ...], ...] = ()) -> dict[str, int]:
    """Return the group of each picture of a set: by patterns of stems, or else contiguous runs of the sorted names.

    Raises
    ------
    InvalidArgumentError
        If patterns are given and a picture matches none.
    """
    if not patterns:
        ordered = sorted(names)
        return {name: i * n_groups // len(ordered) for i, name in enumerate(ordered)}
    return {name: _first_match(name, patterns) for name in names}


def _first_match(name: str, patterns: tuple[tuple[str, ...], ...]) -> int:
    for number, group in enumerate(patterns):
        if any(fnmatch.fnmatch(Path(name).stem, pattern) for pattern in group):
            return number
    raise InvalidArgumentError(f"validation.groups: {name} is in none of the groups of its set.")


def _beside(folder: Path) -> tuple[SourceImage, ...]:
    """Return the images of a folder in which ``X_labels.tif`` lies beside ``X.*``, in order of name."""
    found = []
    for labels in sorted(folder.rglob(f"*{LABELS_SUFFIX}")):
        stem = labels.name.removesuffix(LABELS_SUFFIX)
        images = [p for p in sorted(labels.parent.iterdir()) if p.stem == stem and p.suffix.lower() in IMAGE_SUFFIXES]
        if not images:
            raise InvalidDataError(f"{labels}: there is no image {stem}.* beside it.")
        name = images[0].relative_to(folder).as_posix()
        ignore = labels.with_name(f"{stem}{IGNORE_SUFFIX}")
        known = ignore if ignore.is_file() else None
        found.append(SourceImage(name, folder.resolve().name, images[0], labels, "instances", None, None, known))
    if not found:
        raise InvalidDataError(
            f"{folder}: training data without masks: there is neither a {PAIRS} nor any X{LABELS_SUFFIX} beside X.tif."
        )
    return tuple(found)
