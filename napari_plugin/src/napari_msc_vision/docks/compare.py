"""Two people's masks of one field, or two label layers: how far they agree, and a picture of where they do not."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QFormLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from msc_vision.batch.annotators import Compared, annotators, compare_masks, masks_by, native_masks
from msc_vision.errors import MscVisionError
from msc_vision.io.masks import read_mask
from msc_vision.review.events import Reviewer
from msc_vision.review.masks import FieldMasks
from msc_vision.statistics.annotators import BOTH, NOT_COMPARED, ONLY_FIRST, ONLY_SECOND, Agreement
from napari_msc_vision.scene import Scene
from napari_msc_vision.work import Work

LANE = "compare"
NAME = "differences"
THE_RUN = "As the run found it"
COLOURS = {ONLY_FIRST: "#0072b2", ONLY_SECOND: "#e69f00", BOTH: "#009e73", NOT_COMPARED: "#999999"}
_LISTED = 12


class ComparePage(QWidget):
    """Choose two, press Compare, read the figures, look at the differences."""

    said = Signal(str)

    def __init__(self, viewer: Any, work: Callable[[], Work]) -> None:
        super().__init__()
        self.viewer = viewer
        self.scene: Scene | None = None
        self.compared: Compared | None = None
        self._work = work
        self._layer: Labels | None = None
        self._build()
        viewer.layers.events.inserted.connect(lambda _: self.fill())
        viewer.layers.events.removed.connect(lambda _: self.fill())
        self.fill()

    def _build(self) -> None:
        layout, form = QVBoxLayout(self), QFormLayout()
        self.first_box, self.second_box = QComboBox(), QComboBox()
        form.addRow("First", self.first_box)
        form.addRow("Second", self.second_box)
        self.file_button = QPushButton("Open a file of labels…")
        self.file_button.setToolTip("Labels that another program or person saved; they become a layer to choose above")
        self.compare_button = QPushButton("Compare")
        self.words = QLabel(
            "Choose two people who corrected the open field, or two layers of labels. The comparison covers what both "
            "call judgeable."
        )
        self.words.setWordWrap(True)
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.file_button.clicked.connect(self._open_file)
        self.compare_button.clicked.connect(self.compare)
        layout.addLayout(form)
        for widget in (self.file_button, self.compare_button, self.words):
            layout.addWidget(widget)
        layout.addStretch(1)

    # --- choices -----------------------------------------------------------------------------------------------------

    def follow(self, scene: Scene | None) -> None:
        """Offer the people who corrected the open field of a run."""
        self.scene = scene
        self.fill()

    def fill(self) -> None:
        """Offer who and what can be compared now; what was chosen stays chosen where it is still there."""
        choices = list(self._choices())
        for box, default in ((self.first_box, 0), (self.second_box, 1)):
            kept = box.currentText()
            box.clear()
            for words, source in choices:
                box.addItem(words, source)
            found = box.findText(kept)
            box.setCurrentIndex(found if kept and found >= 0 else min(default, len(choices) - 1))
        self.compare_button.setEnabled(len(choices) > 1)

    def _choices(self) -> list[tuple[str, Any]]:
        found: list[tuple[str, Any]] = []
        session = None if self.scene is None else self.scene.session
        if session is not None and session.current is not None:
            found.append((THE_RUN, None))
            found += [(one.name, one) for one in annotators(session.run, session.current)]
        for layer in self.viewer.layers:
            is_own = self.scene is not None and self.scene.is_shown(layer)
            if isinstance(layer, Labels) and not is_own and layer is not self._layer:
                found.append((f"Layer: {layer.name}", layer))
        return found

    def _open_file(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Labels", "", "Labels (*.tif *.tiff *.png)")
        if name:
            self.add_file(Path(name))

    def add_file(self, path: Path) -> None:
        """Show a file of labels as a layer, laid over the open field where it has its size."""

        def done(labels: np.ndarray[Any, Any]) -> None:
            scale: dict[str, Any] = {}
            if self.scene is not None and labels.shape == self.scene.placement.image_shape:
                scale = self.scene.placement.on_image
            self.viewer.add_layer(Labels(labels, name=path.stem, **scale))

        self._work().submit(lambda: read_mask(path).astype(np.int32), done, self._failed, lane=LANE)

    # --- comparing ---------------------------------------------------------------------------------------------------

    def compare(self) -> None:
        """Compare the two that are chosen."""
        names = self.first_box.currentText(), self.second_box.currentText()
        sources = [self._masks(box.currentData()) for box in (self.first_box, self.second_box)]
        layers = [box.currentData() for box in (self.first_box, self.second_box)]

        placement = None if self.scene is None else self.scene.placement

        def job() -> Compared:
            first, second = (source() for source in sources)
            if first.shape != second.shape and placement is not None:  # labels in the pixels of the image
                first, second = (native_masks(one, placement.factor, placement.image_shape) for one in (first, second))
            return compare_masks(first, second)

        self._work().submit(job, lambda found: self._show(found, names, layers), self._failed, lane=LANE)

    def _masks(self, source: Any) -> Callable[[], FieldMasks]:
        if isinstance(source, Labels):
            return partial(_labels_masks, np.array(source.data, np.int32))
        assert self.scene is not None
        session, person = self.scene.session, source if isinstance(source, Reviewer) else None
        return partial(masks_by, session.run, str(session.current), person)

    def _show(self, found: Compared, names: tuple[str, str], sources: list[Any]) -> None:
        self.compared = found
        names = (_short(names[0]), _short(names[1]))
        text = agreement_words(found.agreement, names)
        self.words.setText(f"{text}\n\n{legend(names)}")
        placed = next((one for one in sources if isinstance(one, Labels)), None)
        if placed is None and self.scene is not None:
            placed = self.scene.cells
        where = {} if placed is None else {"scale": placed.scale, "translate": placed.translate, "units": placed.units}
        self._show_layer(found.differences, names, where)
        self.said.emit(text)

    def _show_layer(self, differences: np.ndarray[Any, Any], names: tuple[str, str], where: dict[str, Any]) -> None:
        if self._layer is not None and self._layer in self.viewer.layers:
            self.viewer.layers.remove(self._layer)
        words = ["bare to both", f"only {names[0]}", f"only {names[1]}", "both", "not compared"]
        colours: dict[int | None, Any] = {value: colour for value, colour in COLOURS.items()}  # noqa: C416  (typing)
        colours |= {None: "transparent", 0: "transparent"}
        active = self.viewer.layers.selection.active
        self._layer = Labels(
            differences,
            name=NAME,
            colormap=DirectLabelColormap(color_dict=colours),
            opacity=0.6,
            features=pd.DataFrame({"who": words}),
            **where,
        )
        self._layer.editable = False
        self.viewer.add_layer(self._layer)
        self.viewer.layers.selection.active = active

    def _failed(self, err: Exception) -> None:
        if not isinstance(err, MscVisionError):
            raise err
        self.words.setText(str(err))
        self.said.emit(str(err))


def _labels_masks(cells: np.ndarray[Any, Any]) -> FieldMasks:
    shape = cells.shape
    return FieldMasks(cells > 0, cells, np.ones(shape, bool), np.zeros(shape, np.int32))


def _short(name: str) -> str:
    return "the run" if name == THE_RUN else name.removeprefix("Layer: ")


def legend(names: tuple[str, str]) -> str:
    """Return what the colours of the differences mean, in words."""
    return (
        f"Layer '{NAME}': blue only {names[0]}, orange only {names[1]}, green both, grey not compared. "
        "Rest the mouse on a place and read the word in the bar at the bottom."
    )


def agreement_words(found: Agreement, names: tuple[str, str]) -> str:
    """Return how far two agree, in sentences."""
    a, b = names
    return "\n".join(
        (
            f"Covered area: Dice {found.dice:.3f}; {a} {found.first_percent:.1f} %, {b} {found.second_percent:.1f} % "
            f"({found.difference_points:+.1f} points).",
            f"Cells: {a} {found.n_first}, {b} {found.n_second}, {found.n_both} in both (AP50 {found.ap50:.2f}).",
            f"Only {a}: {_listed(found.only_first)}.",
            f"Only {b}: {_listed(found.only_second)}.",
            f"{found.compared_percent:.0f} % of the field was compared.",
        )
    )


def _listed(numbers: tuple[int, ...]) -> str:
    if not numbers:
        return "no cell"
    shown = ", ".join(str(one) for one in numbers[:_LISTED])
    more = f" and {len(numbers) - _LISTED} more" if len(numbers) > _LISTED else ""
    return f"{'cell' if len(numbers) == 1 else 'cells'} {shown}{more}"
