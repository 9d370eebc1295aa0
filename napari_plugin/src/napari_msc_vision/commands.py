"""What the menus and the command palette offer."""

from typing import Any

import napari

from napari_msc_vision import opening


def open_run() -> None:
    """Choose a run folder and open it for review."""
    viewer = _viewer()
    if viewer is not None:
        opening.ask_for_run(viewer)


def find_images() -> None:
    """Say where the images of the open run lie now."""
    viewer = _viewer()
    if viewer is not None:
        opening.ask_for_images(viewer)


def _viewer() -> Any:
    return napari.current_viewer()
