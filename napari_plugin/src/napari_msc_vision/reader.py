"""Open what was dropped on the viewer or chosen in a dialog: a run folder as a review, a picture as a layer."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import napari

from msc_vision.batch.reviewed import ReviewedRun
from msc_vision.batch.store import RUN_NAME
from msc_vision.errors import InvalidDataError
from msc_vision.io.images import identify
from msc_vision.records import PlaneChoice
from napari_msc_vision import convert
from napari_msc_vision.convert import LayerData, Placement
from napari_msc_vision.fields import load_picture

Reader = Callable[[Any], list[Any]]
NO_LAYER: list[Any] = [(None,)]
"""What a reader returns that did its work otherwise."""


def get_run_reader(path: Any) -> Reader | None:
    """Return a reader if this is a run folder, or the run.json in one."""
    folder = run_folder(path)
    return None if folder is None else (lambda _: read_run(folder))


def get_image_reader(path: Any) -> Reader | None:
    """Return a reader if all of these are pictures that the library reads."""
    paths = _paths(path)
    return read_images if paths and all(_is_image(one) for one in paths) else None


def run_folder(path: Any) -> Path | None:
    """Return the run folder that is meant; None if it is none."""
    paths = _paths(path)
    if len(paths) != 1:
        return None
    folder = paths[0].parent if paths[0].name == RUN_NAME else paths[0]
    return folder if (folder / RUN_NAME).is_file() else None


def read_run(folder: Path) -> list[Any]:
    """Open a run as a review in the viewer; without one, return the layers of its first field."""
    viewer = napari.current_viewer()
    if viewer is not None:
        from napari_msc_vision.opening import has_window, open_later

        if has_window(viewer):
            open_later(viewer, folder)
            return NO_LAYER
    return list(first_field(ReviewedRun.open(folder)))


def first_field(run: ReviewedRun) -> tuple[LayerData, ...]:
    """Return the first field of a run as layers.

    Raises
    ------
    InvalidDataError
        If its picture or its masks cannot be read.
    """
    key, field = next(iter(run.original.fields.items()))
    task, masks = run.task(key), run.masks(key)
    picture = load_picture(task.source, task.plane)
    placement = convert.placement_of(field.score, masks, picture.shape)
    return (
        convert.image_to_layer(picture.levels, picture.limits, placement),
        *convert.masks_to_layers(masks, placement),
        convert.findings_to_layer(convert.findings_of(field.score, run.state.of(key)), placement),
    )


def read_images(path: Any) -> list[LayerData]:
    """Return pictures as layers, with their pixel size where the file states one; else lengths are in pixels.

    Raises
    ------
    InvalidDataError
        If one cannot be read.
    """
    found = []
    for one in _paths(path):
        picture = load_picture(one, PlaneChoice())
        placement = Placement(picture.shape, 1, picture.info.pixel_size_um)
        levels, settings, kind = convert.image_to_layer(picture.levels, picture.limits, placement)
        notes = picture.info.notes
        if picture.info.pixel_size_um is None:
            notes = (*notes, "The file states no pixel size: lengths are in pixels.")
        found.append((levels, settings | {"name": one.stem, "metadata": {"notes": notes}}, kind))
    return found


def _paths(path: Any) -> tuple[Path, ...]:
    if isinstance(path, str | Path):
        return (Path(path),)
    return tuple(Path(one) for one in path) if isinstance(path, Sequence) else ()


def _is_image(path: Path) -> bool:
    try:
        identify(path)
    except InvalidDataError:
        return False
    return True
