"""A proposal beside what is there: made off the main thread, shown as outlines, then accepted or discarded. No Qt."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray
from psygnal import Signal

from msc_vision.batch.propose import Proposal, ProposalSettings, propose_masks
from msc_vision.errors import MscVisionError
from napari_msc_vision.convert import thick_outlines
from napari_msc_vision.scene import Scene
from napari_msc_vision.session import Message
from napari_msc_vision.work import Task

PROPOSAL = "Proposal"
WHITE = "#FFFFFF"
"""No cell has it: outlines of the proposal stand out among those that are there."""
LANE = "propose"


class ProposalView:
    """One proposal for the open field at a time.

    Attributes
    ----------
    proposal : Proposal or None
        What is shown; it goes when another field is opened.
    """

    changed = Signal()
    """It was asked for, came, failed, was accepted or discarded."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.session = scene, scene.session
        self.proposal: Proposal | None = None
        self._key: str | None = None
        self._layer: Labels | None = None
        self._task: Task | None = None
        self.session.field_opened.connect(self._on_field_opened)

    @property
    def is_waiting(self) -> bool:
        """Whether one is being made."""
        return self._task is not None

    def ask(self, settings: ProposalSettings) -> None:
        """Let the open field be looked at with other settings; what was asked before is forgotten."""
        key, masks = self.session.current, self.session.masks
        if key is None or masks is None:
            return
        self._clear()
        source, plane = self.scene.locate(key)
        task, shape = replace(self.session.run.task(key), source=source, plane=plane), masks.shape
        self._key = key
        self._hide_layer()
        waiting = self.session.work.submit(
            lambda: _with_lines(propose_masks(task, settings, shape)),
            lambda found: self._came(key, *found),
            lambda err: self._failed(key, err),
            lane=LANE,
        )
        if self._key is not None and self.proposal is None:
            self._task = waiting
        self.changed.emit()

    def accept(self) -> None:
        """Take the proposal in place of the masks that are there: one correction, which can be undone."""
        proposal = self.proposal
        if proposal is None or self.session.current != self._key:
            return
        self._forget()
        self.session.replace_masks(proposal.masks, "proposal")
        self.changed.emit()

    def discard(self) -> None:
        """Forget the proposal, also one that is still being made."""
        if self._task is not None or self.proposal is not None:
            self._forget()
            self.changed.emit()

    def close(self) -> None:
        """Let go of the session."""
        self.discard()
        self.session.field_opened.disconnect(self._on_field_opened, missing_ok=True)

    def _came(self, key: str, proposal: Proposal, lines: NDArray[np.uint8]) -> None:
        if key != self._key or key != self.session.current:
            return
        self._task, self.proposal = None, proposal
        self._show(lines)
        self.changed.emit()

    def _failed(self, key: str, err: Exception) -> None:
        if key != self._key:
            return
        self._forget()
        self.changed.emit()
        if not isinstance(err, MscVisionError):
            raise err
        self.session.said.emit(Message("warning", str(err)))

    def _make_layer(self, then: Callable[[], object] = lambda: None) -> None:
        """Make the layer while the proposal is waited for: that takes too long for the moment it comes."""
        colours = DirectLabelColormap(color_dict={None: WHITE, 0: "transparent"})
        options: dict[str, Any] = {"name": PROPOSAL, "colormap": colours, **self.scene.placement.on_labels}
        self._layer = Labels(np.zeros((1, 1), np.uint8), opacity=1.0, visible=False, **options)
        self._layer.editable = False
        self.scene.add_layer(self._layer, then)

    def _show(self, lines: NDArray[np.uint8]) -> None:
        self.scene.settle()
        if self._layer is None or self._layer not in self.scene.viewer.layers:  # somebody may have taken it away
            self._make_layer(lambda: self._fill(lines))
        else:
            self._fill(lines)

    def _fill(self, lines: NDArray[np.uint8]) -> None:
        if self._layer is not None:
            self._layer.data = lines
            self._layer.visible = True

    def _hide_layer(self) -> None:
        """Have a layer that shows nothing."""
        self.scene.settle()
        if self._layer is None or self._layer not in self.scene.viewer.layers:
            self._make_layer()
        else:
            self._layer.visible = False

    def _clear(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self.proposal, self._task, self._key = None, None, None

    def _forget(self) -> None:
        self._clear()
        viewer = self.scene.viewer
        if self._layer is not None and self._layer not in viewer.layers:
            self.scene.settle()  # it may be on its way
        if self._layer is not None and self._layer in viewer.layers:
            viewer.layers.remove(self._layer)
        self._layer = None

    def _on_field_opened(self, key: str) -> None:
        if key != self._key:
            self.discard()


def _with_lines(proposal: Proposal) -> tuple[Proposal, NDArray[np.uint8]]:
    """Return a proposal and what is drawn of it; of one without cells, where it is covered."""
    masks = proposal.masks
    return proposal, thick_outlines(masks.cells if masks.cells.any() else masks.foreground.astype(np.int32))
