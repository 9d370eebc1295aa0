"""Which viewer shows which review: docks and readers find one another through this, and nothing else."""

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from psygnal import Signal

from msc_vision.batch.reviewed import ReviewedRun
from msc_vision.batch.worth_a_look import worth_a_look
from napari_msc_vision.scene import Scene
from napari_msc_vision.session import Message, ReviewSession, local_reviewer
from napari_msc_vision.work import DirectWork, Work


class Registry:
    """The scenes of the viewers that are open; a viewer that is gone takes its scene with it."""

    run_opened = Signal(object, object)
    """A run was opened in a viewer: the viewer and its scene."""

    def __init__(self) -> None:
        self._scenes: weakref.WeakKeyDictionary[Any, Scene] = weakref.WeakKeyDictionary()

    def scene_of(self, viewer: Any) -> Scene | None:
        """Return the scene of a viewer; None if no run is open in it."""
        return self._scenes.get(bare(viewer))

    def keep(self, viewer: Any, scene: Scene) -> None:
        """Take in the scene of a viewer, and close the one that was there."""
        self.close(viewer)
        self._scenes[bare(viewer)] = scene
        self.run_opened.emit(bare(viewer), scene)

    def close(self, viewer: Any) -> None:
        """Close the review of a viewer, if there is one: what was corrected is measured and written."""
        scene = self._scenes.pop(bare(viewer), None)
        if scene is not None:
            scene.close()
            scene.session.close()


_REGISTRY = Registry()
run_opened = _REGISTRY.run_opened


def bare(viewer: Any) -> Any:
    """Return the viewer itself where napari hands out a proxy of it."""
    return getattr(viewer, "__wrapped__", viewer)


def scene_of(viewer: Any) -> Scene | None:
    """Return the scene of a viewer; None if no run is open in it."""
    return _REGISTRY.scene_of(viewer)


def show_run(
    viewer: Any, run: ReviewedRun, work: Work | None = None, tell: Callable[[Message], object] = lambda _: None
) -> Scene:
    """Show a run that was read already, and open the field that is most worth a look.

    Parameters
    ----------
    viewer : napari viewer or ViewerModel
    run : ReviewedRun
    work : Work, optional
        Without it everything is done at once, where it stands.
    tell : callable
        Shows a message to the person; kept as long as the scene.
    """
    old = scene_of(viewer)
    if old is not None:
        close_run(viewer)
        old.remove_layers()
    session = ReviewSession(run, local_reviewer(), work or DirectWork())
    session.said.connect(tell)
    scene = Scene(bare(viewer), session)
    _REGISTRY.keep(viewer, scene)
    for problem in run.problems:
        session.said.emit(Message("warning", problem))
    ordered = worth_a_look(run.original, run.state, {})
    if ordered:
        session.open(ordered[0].key)
    return scene


def open_run(
    viewer: Any, folder: Path, work: Work | None = None, tell: Callable[[Message], object] = lambda _: None
) -> Scene:
    """Read a run folder and show it; for a window that stays quick meanwhile, see `opening.open_later`.

    Raises
    ------
    InvalidArgumentError, InvalidDataError
        As `ReviewedRun.open`.
    """
    return show_run(viewer, ReviewedRun.open(Path(folder)), work, tell)


def close_run(viewer: Any) -> None:
    """Close the review of a viewer, if there is one; what could not be written is told."""
    _REGISTRY.close(viewer)
