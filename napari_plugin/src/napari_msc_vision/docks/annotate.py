"""A picture that belongs to no run: the network's proposal as layers to correct, saved as a pair for training."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import CyclicLabelColormap, DirectLabelColormap
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QDoubleSpinBox, QFileDialog, QFormLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from msc_vision.batch.fresh_picture import FirstMasks, embedded_pixel_size_um, first_masks
from msc_vision.batch.pipeline import load_pipeline
from msc_vision.errors import InvalidArgumentError, MscVisionError
from msc_vision.io.images import open_image
from msc_vision.learning.corrections import Origin, Picture, keep_pair, training_pair
from msc_vision.review.masks import FieldMasks
from napari_msc_vision import convert
from napari_msc_vision.convert import Placement
from napari_msc_vision.docks.training_folder import TrainingFolder
from napari_msc_vision.session import local_reviewer
from napari_msc_vision.work import Work

LANE = "annotate"
PREFIX = "annotate: "
RECIPE = "default"
PAINTED = (convert.FOREGROUND, convert.CELLS, convert.NOT_JUDGEABLE)
HOW = (
    "Correct the layers with napari's brush (2), eraser (1) and bucket (3): each cell has a number of its own, "
    "M takes a new one. What you cannot judge goes into 'not judgeable': it teaches nothing."
)


class AnnotatePage(QWidget):
    """Choose a picture, let the network propose, correct, save."""

    said = Signal(str)

    def __init__(self, viewer: Any, work: Callable[[], Work], folder: TrainingFolder) -> None:
        super().__init__()
        self.viewer, self.folder = viewer, folder
        self.proposal: FirstMasks | None = None
        self.image: Path | None = None
        self._work = work
        self._layers: dict[str, Layer] = {}
        self._build()

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        self.choose_button = QPushButton("Choose a picture…")
        self.active_button = QPushButton("Take the selected image layer")
        self.active_button.setToolTip("The picture file that the image layer selected in the layer list was read from")
        self.name_label = QLabel("No picture chosen.")
        self.name_label.setWordWrap(True)
        self.size_box = QDoubleSpinBox()
        self.size_box.setRange(0, 100)
        self.size_box.setDecimals(4)
        self.size_box.setSuffix(" µm a pixel")
        self.size_box.setSpecialValueText("not known: type it in")
        self.propose_button = QPushButton("Propose cells")
        self.propose_button.setToolTip("Let the network draw first; this takes a second or two")
        self.save_button = QPushButton("Save as a training pair")
        self.state_label = QLabel(HOW)
        self.state_label.setWordWrap(True)
        self.choose_button.clicked.connect(self._choose)
        self.active_button.clicked.connect(self._take_active)
        self.propose_button.clicked.connect(self.propose)
        self.save_button.clicked.connect(self.save)
        form = QFormLayout()
        form.addRow("Pixel size", self.size_box)
        for widget in (self.choose_button, self.active_button, self.name_label):
            layout.addWidget(widget)
        layout.addLayout(form)
        for widget in (self.propose_button, self.state_label, self.save_button):
            layout.addWidget(widget)
        layout.addStretch(1)
        self._enable()

    def _enable(self) -> None:
        self.propose_button.setEnabled(self.image is not None)
        self.save_button.setEnabled(self.proposal is not None)

    def _tell(self, text: str) -> None:
        self.state_label.setText(text)
        self.said.emit(text)

    def _failed(self, err: Exception) -> None:
        self.propose_button.setEnabled(self.image is not None)
        if not isinstance(err, MscVisionError):
            raise err
        self._tell(str(err))

    # --- choosing ----------------------------------------------------------------------------------------------------

    def _choose(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Picture to annotate")
        if name:
            self.take(Path(name))

    def _take_active(self) -> None:
        layer = self.viewer.layers.selection.active
        path = None if layer is None else layer.source.path
        if not isinstance(layer, Image) or not path:
            self._tell("Select an image layer that was read from a file, or choose the picture.")
            return
        self.take(Path(path))

    def take(self, image: Path) -> None:
        """Take a picture file."""

        def done(size_um: float | None) -> None:
            self.image, self.proposal = image, None
            self.name_label.setText(str(image))
            self.size_box.setValue(size_um or 0.0)
            self.size_box.setEnabled(size_um is None)
            self._tell("Press 'Propose cells'." if size_um else "The file states no pixel size: type it in.")
            self._enable()

        self._work().submit(lambda: embedded_pixel_size_um(image), done, self._failed, lane=LANE)

    # --- proposing ---------------------------------------------------------------------------------------------------

    def propose(self) -> None:
        """Let the network draw; its masks come as layers."""
        image, size_um = self.image, self.size_box.value() if self.size_box.isEnabled() else None
        if image is None:
            return
        if size_um is not None and size_um <= 0:
            self._tell("The pixel size is not known: type it in, in µm, such as 0.65.")
            return
        self.propose_button.setEnabled(False)
        self._tell("The network is looking …")

        def look() -> tuple[FirstMasks, np.ndarray[Any, Any]]:
            found = first_masks(image, load_pipeline(RECIPE), size_um)
            with open_image(image, found.plane) as opened:
                return found, opened.read()

        self._work().submit(look, lambda found: self._show(*found), self._failed, lane=LANE)

    def _show(self, proposal: FirstMasks, picture: np.ndarray[Any, Any]) -> None:
        self.proposal = proposal
        self._remove_layers()
        placement = Placement(proposal.shape, proposal.factor, proposal.pixel_size_um)
        self._add(Image(picture, name=f"{PREFIX}picture", colormap="gray", **placement.on_image))
        arrays = convert.mask_arrays(proposal.masks)
        for name in PAINTED:
            settings = convert.labels_settings(name, placement) | {"name": f"{PREFIX}{name}"}
            layer = Labels(arrays[name], colormap=_colours(name), **settings)
            layer.contour = 1 if name == convert.CELLS else 0
            self._add(layer)
        self.viewer.layers.selection.active = self._layers[f"{PREFIX}{convert.CELLS}"]
        self.viewer.reset_view()
        n_cells = int(np.count_nonzero(np.unique(proposal.masks.cells)))
        what = f"{n_cells} cells proposed. " if proposal.reason is None else f"Nothing proposed: {proposal.reason}. "
        self._tell(what + HOW)
        self._enable()

    def _add(self, layer: Layer) -> None:
        self._layers[layer.name] = self.viewer.add_layer(layer)

    def _remove_layers(self) -> None:
        for layer in self._layers.values():
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)
        self._layers = {}

    # --- saving ------------------------------------------------------------------------------------------------------

    def masks(self) -> FieldMasks:
        """Return what the layers hold now; a cell lies within the foreground.

        Raises
        ------
        InvalidArgumentError
            If nothing was proposed yet, or a layer was removed.
        """
        if self.proposal is None:
            raise InvalidArgumentError("Let the network propose first, then correct and save.")
        gone = [name for name in PAINTED if self._layers[f"{PREFIX}{name}"] not in self.viewer.layers]
        if gone:
            raise InvalidArgumentError(f"The layer '{PREFIX}{gone[0]}' was removed; propose again.")
        arrays = {name: np.asarray(self._layers[f"{PREFIX}{name}"].data) for name in PAINTED}
        arrays[convert.FOREGROUND] = (arrays[convert.FOREGROUND] != 0) | (arrays[convert.CELLS] != 0)
        return convert.arrays_to_masks(arrays, self.proposal.masks)

    def save(self) -> None:
        """Write picture and labels into the folder for training."""
        folder, proposal = self.folder.path(), self.proposal
        try:
            masks = self.masks()
        except InvalidArgumentError as err:
            self._tell(str(err))
            return
        if folder is None or proposal is None:
            self._tell("Choose the folder for training pairs first.")
            return
        at, reviewer = datetime.now().astimezone(), local_reviewer()

        def keep() -> Path:
            image = str(proposal.image)
            sha256 = masks.sha256
            origin = Origin(reviewer, at.isoformat(), image, proposal.image_sha256, sha256, proposal=proposal.recipe)
            picture = Picture(proposal.image, proposal.plane, proposal.pixel_size_um, proposal.factor)
            return keep_pair(training_pair(picture, masks, origin), folder)

        self._work().submit(
            keep,
            lambda labels: self._tell(f"Saved {labels.name} and its picture in {folder}."),
            self._failed,
            lane=LANE,
        )


def _colours(name: str) -> Any:
    """Return the colours that a mask has in a review too."""
    if name == convert.CELLS:
        return CyclicLabelColormap(colors=["transparent", *convert.CELL_COLOURS])
    one = convert.SKY_BLUE if name == convert.FOREGROUND else convert.PURPLE
    return DirectLabelColormap(color_dict={None: one, 0: "transparent"})
