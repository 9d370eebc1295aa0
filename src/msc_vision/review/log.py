"""The folder ``reviews/`` of a run: one file per event, so that two people never write to the same one."""

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from msc_vision.errors import InvalidDataError
from msc_vision.io.output import output_errors, write_whole
from msc_vision.records import Region
from msc_vision.review.events import ReviewEvent, event_text, parse_event
from msc_vision.review.masks import MaskPatch, parse_patch, patch_bytes

REVIEWS_NAME = "reviews"
PATCHES_NAME = "patches"


@dataclass(frozen=True, slots=True)
class ReadLog:
    """What a folder of reviews holds.

    Attributes
    ----------
    events : tuple of ReviewEvent
        In the order of their times.
    sha256 : mapping of str to str
        Of every file that could be read, by its name within the run folder, such as ``reviews/….json``.
    problems : tuple of str
        Files that cannot be relied on, and why; sentences.
    """

    events: tuple[ReviewEvent, ...] = ()
    sha256: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def read_log(run: Path, known: Collection[str] = (), only: Collection[str] | None = None) -> ReadLog:
    """Return every event in a run folder; one that is damaged is named among the problems, the others are read.

    Parameters
    ----------
    run : Path
    known : collection of str
        Names of files that were read before and are left out.
    only : collection of str, optional
        Names within the run folder, such as ``reviews/….json``, of the files to read; None: all.
    """
    events, sha256, problems = [], {}, []
    folder = run / REVIEWS_NAME
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        name = f"{REVIEWS_NAME}/{path.name}"
        if path.name in known or (only is not None and name not in only):
            continue
        try:
            content = path.read_bytes()
        except OSError as err:
            problems.append(f"{name} cannot be read ({err.strerror or err}).")
            continue
        sha256[name] = hashlib.sha256(content).hexdigest()
        try:
            event = parse_event(content)
        except InvalidDataError as err:
            problems.append(f"{name} {err}.")
            continue
        events.append(event)
    events.sort(key=lambda one: (one.at, one.event_id))
    return ReadLog(tuple(events), sha256, tuple(problems))


def review_stamp(run: Path) -> tuple[tuple[str, int, int], ...]:
    """Return what changes when anything in the folder of reviews does: name, time and size of every file."""
    found = []
    for folder in (run / REVIEWS_NAME, run / REVIEWS_NAME / PATCHES_NAME):
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    status = entry.stat()
                    if entry.is_file():
                        found.append((entry.path, status.st_mtime_ns, status.st_size))
        except FileNotFoundError:
            continue  # nobody reviewed it, or a file was put in its place just now
    return tuple(sorted(found))


def append_event(run: Path, event: ReviewEvent) -> Path:
    """Write an event, synced to disk; return its file.

    Raises
    ------
    OutputError
        If it cannot be written: the disk is full or read-only, …
    """
    path = run / REVIEWS_NAME / event.name
    with output_errors(path):
        path.parent.mkdir(exist_ok=True)
    write_whole(path, event_text(event).encode())
    return path


def save_patch(run: Path, patch: MaskPatch) -> tuple[str, str]:
    """Write a patch, named by its content; return its name within the run folder and its sha256.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    content = patch_bytes(patch)
    return save_blob(run, content, ".tif")


def save_blob(run: Path, content: bytes, suffix: str) -> tuple[str, str]:
    """Write a file that an event speaks of, named by its content; return its name within the run folder and its sha256.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    digest = hashlib.sha256(content).hexdigest()
    name = f"{REVIEWS_NAME}/{PATCHES_NAME}/{digest}{suffix}"
    path = run / name
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        is_there = path.exists()
    if not is_there:
        write_whole(path, content)
    return name, digest


def blobs_of(events: Iterable[ReviewEvent]) -> Iterator[tuple[str, str]]:
    """Return name and sha256 of every file that some events speak of."""
    for event in events:
        after = event.after or {}
        for name in ("patch", "objects"):
            if isinstance(after.get(name), str):
                yield after[name], str(after.get(f"{name}_sha256"))


def read_blob(run: Path, name: str, sha256: str) -> bytes:
    """Return a file that an event speaks of.

    Raises
    ------
    InvalidDataError
        If it is missing, lies elsewhere, or was altered.
    """
    path = run / name
    if Path(name).parts[:2] != (REVIEWS_NAME, PATCHES_NAME) or ".." in Path(name).parts:
        raise InvalidDataError(f"{name} does not lie in {REVIEWS_NAME}/{PATCHES_NAME} of the run folder.")
    try:
        content = path.read_bytes()
    except OSError as err:
        raise InvalidDataError(f"{path}: cannot be read ({err.strerror or err}).") from err
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InvalidDataError(f"{path}: was altered: it does not have the sha256 that its event names.")
    return content


def read_patch(run: Path, event: ReviewEvent) -> MaskPatch:
    """Return the patch of an event ``edited``.

    Raises
    ------
    InvalidDataError
        If it is missing or was altered, or the event names none.
    """
    after = event.after or {}
    try:
        region, kinds = Region(*map(int, after["region"])), tuple(after["kinds"])
        content = read_blob(run, after["patch"], after["patch_sha256"])
    except (KeyError, TypeError) as err:
        raise InvalidDataError(f"Event {event.event_id} names no patch.") from err
    return parse_patch(content, region, kinds)
