"""Annotated images and their predictions: read the list, score pair by pair, name what could not be scored."""

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msc_vision.errors import InvalidDataError, MscVisionError
from msc_vision.io.masks import read_mask
from msc_vision.statistics.validation import (
    GroupSummary,
    PairScore,
    average_precision,
    covered_percent,
    mask_overlap,
    summarise,
    summarise_by_density,
)

KINDS = ("foreground", "instances")


@dataclass(frozen=True, slots=True)
class Pair:
    """One annotated image. Without ``truth`` there is only an expert's ``confluency_percent``.

    ``kind`` tells what the truth is: ``foreground`` (non-zero = cell) or ``instances`` (one integer per cell);
    ``ignore`` is a mask whose non-zero pixels nobody judged.
    """

    image: str
    set_name: str
    kind: str
    truth: Path | None
    ignore: Path | None
    confluency_percent: float | None
    pixel_size_um: float | None
    source: Path

    @property
    def stem(self) -> str:
        """Name under which `segment` writes the masks of this image."""
        return self.source.stem


@dataclass(frozen=True, slots=True)
class FailedPair:
    """A pair that could not be scored; it never counts as empty."""

    image: str
    set_name: str
    reason: str


@dataclass(frozen=True, slots=True)
class SetResult:
    """One set of images: everything together, and by density band where there are masks."""

    summary: GroupSummary
    bands: tuple[GroupSummary, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Every pair scored or failed, and what the sets say."""

    pairs_file: Path
    predictions: Path
    pairs: tuple[Pair, ...]
    scores: tuple[PairScore, ...]
    failures: tuple[FailedPair, ...]
    sets: tuple[SetResult, ...]
    bands: tuple[GroupSummary, ...]


def read_pairs(path: Path) -> tuple[Pair, ...]:
    """Return the annotated images of a list; paths in it are relative to the list.

    Rows with neither a truth mask nor a confluency are left out: there is nothing to compare with.

    Raises
    ------
    InvalidDataError
        If the file cannot be read, a column is missing, or a row makes no sense; the row is named.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            missing = {"image", "truth", "kind"} - set(reader.fieldnames or ())
            if missing:
                raise InvalidDataError(
                    f"{path}: column {', '.join(sorted(missing))} is missing; it has {reader.fieldnames}."
                )
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise InvalidDataError(f"{path}: cannot be read as a CSV file of pairs ({err}).") from err
    pairs = [_pair(row, number, path) for number, row in enumerate(rows, start=1)]
    kept = tuple(p for p in pairs if p.truth is not None or p.confluency_percent is not None)
    if not kept:
        raise InvalidDataError(f"{path}: none of {len(rows)} rows has a truth mask or a confluency_percent.")
    return kept


def _pair(row: dict[str, str], number: int, path: Path) -> Pair:
    text = {
        key: (value or "").strip() for key, value in row.items() if key is not None and isinstance(value, str | None)
    }
    where = f"{path}: row {number}"
    if not text["image"]:
        raise InvalidDataError(f"{where}: image is empty; name the image file.")
    if text["truth"] and text["kind"] not in KINDS:
        raise InvalidDataError(f"{where}: kind is {text['kind']!r}; write {' or '.join(KINDS)}.")
    return Pair(
        image=text["image"],
        set_name=text.get("set") or "all",
        kind=text["kind"],
        truth=path.parent / text["truth"] if text["truth"] else None,
        ignore=path.parent / text["ignore"] if text.get("ignore") else None,
        confluency_percent=_number(text.get("confluency_percent"), "confluency_percent", where),
        pixel_size_um=_number(text.get("pixel_size_um"), "pixel_size_um", where),
        source=path.parent / text["image"],
    )


def _number(text: str | None, column: str, where: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError as err:
        raise InvalidDataError(f"{where}: {column} is {text!r}, not a number.") from err
    if not np.isfinite(value):
        raise InvalidDataError(f"{where}: {column} is {text}; leave it empty when it is not known.")
    return value


def evaluate_pairs(pairs_file: Path, predictions: Path, on_done: Callable[[], None] = lambda: None) -> Evaluation:
    """Score every pair of a list against a folder of masks as `segment` writes them.

    Parameters
    ----------
    pairs_file
        CSV with the columns image, truth, kind and, when known, set, ignore, confluency_percent, pixel_size_um.
    predictions
        Folder with ``<stem>_foreground.tif`` and, for instances, ``<stem>_labels.tif``.
    on_done
        Called after each pair.

    Raises
    ------
    InvalidDataError
        If the list cannot be used or the folder is missing; a pair that cannot be scored is in ``failures`` instead.
    """
    pairs = read_pairs(pairs_file)
    if not predictions.is_dir():
        raise InvalidDataError(
            f"{predictions}: no such folder of predictions; make it with `msc-vision segment … --out`."
        )
    scores, failures = [], []
    for pair in pairs:
        try:
            scores.append(score_pair(pair, predictions))
        except MscVisionError as err:
            failures.append(FailedPair(pair.image, pair.set_name, str(err)))
        on_done()
    return Evaluation(
        pairs_file=pairs_file,
        predictions=predictions,
        pairs=pairs,
        scores=tuple(scores),
        failures=tuple(failures),
        sets=tuple(_set_results(scores, failures)),
        bands=summarise_by_density(scores),
    )


def _set_results(scores: Iterable[PairScore], failures: Iterable[FailedPair]) -> Iterable[SetResult]:
    scores, failures = list(scores), list(failures)
    for name in sorted({s.set_name for s in scores} | {f.set_name for f in failures}):
        own = [s for s in scores if s.set_name == name]
        n_failed = sum(f.set_name == name for f in failures)
        yield SetResult(summarise(name, own, n_failed), summarise_by_density(own))


def score_pair(pair: Pair, predictions: Path) -> PairScore:
    """Score one image.

    Raises
    ------
    InvalidDataError
        If a mask is missing, cannot be read, or has another size.
    UndefinedResultError
        If nothing of the image is judged.
    """
    foreground_path = predictions / f"{pair.stem}_foreground.tif"
    if not foreground_path.is_file():
        raise InvalidDataError(f"{foreground_path}: no such mask{_why_missing(predictions, pair)}.")
    foreground = read_mask(foreground_path) > 0
    judged = read_mask(pair.ignore) == 0 if pair.ignore else np.ones(foreground.shape, bool)
    _same_shape(judged, foreground, pair.ignore, foreground_path)
    measured = covered_percent(foreground, judged)
    if pair.truth is None:
        if pair.confluency_percent is None:
            raise InvalidDataError(f"{pair.image}: neither a truth mask nor a confluency_percent.")
        return PairScore(pair.image, pair.set_name, False, pair.confluency_percent, measured)
    truth = read_mask(pair.truth)
    _same_shape(truth, foreground, pair.truth, foreground_path)
    overlap = mask_overlap(truth > 0, foreground, judged)
    reference = covered_percent(truth > 0, judged)
    if pair.kind != "instances":
        return PairScore(pair.image, pair.set_name, True, reference, measured, overlap.dice, overlap.iou)
    labels_path = predictions / f"{pair.stem}_labels.tif"
    labels = read_mask(labels_path)
    _same_shape(labels, truth, labels_path, pair.truth)
    precision = average_precision(np.where(judged, truth, 0), np.where(judged, labels, 0))
    return PairScore(
        image=pair.image,
        set_name=pair.set_name,
        has_mask=True,
        reference_percent=reference,
        measured_percent=measured,
        dice=overlap.dice,
        iou=overlap.iou,
        ap50=float(precision[0]),
        ap=float(precision.mean()),
        n_reference=_n_instances(truth),
        n_measured=_n_instances(labels),
    )


def _why_missing(predictions: Path, pair: Pair) -> str:
    """Return what `segment` noted for an image without masks, if it did."""
    noted = predictions / "fields.csv"
    if not noted.is_file():
        return ""
    with noted.open(newline="", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            if Path(row.get("path") or "").stem == pair.stem and row.get("reason"):
                reason = row["reason"].removeprefix(f"{pair.source.absolute()}: ").rstrip(".")
                return f", because the image was {row.get('status')}: {reason}"
    return ""


def _same_shape(a: NDArray[np.generic], b: NDArray[np.generic], path_a: Path | None, path_b: Path | None) -> None:
    if a.shape != b.shape:
        raise InvalidDataError(f"{path_a} is {a.shape}, {path_b} is {b.shape}: both must have the size of the image.")


def _n_instances(labels: NDArray[np.integer]) -> int:
    return int(np.count_nonzero(np.unique(labels)))
