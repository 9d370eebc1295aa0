"""Look at the open field with other settings: a short form, a proposal as outlines, accept or discard."""

from pydantic import ValidationError
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QWidget,
)

from msc_vision.batch.pipeline import Pipeline
from msc_vision.batch.propose import Gate, Method, ProposalSettings
from napari_msc_vision.correcting import differences, score_rows
from napari_msc_vision.docks.following import column
from napari_msc_vision.proposal_view import ProposalView
from napari_msc_vision.scene import Scene
from napari_msc_vision.session import Message

AS_THE_RUN = "as the run"
METHODS: tuple[tuple[Method, str], ...] = (
    ("as the run", "as the run"),
    ("network", "let the network propose"),
    ("contrast", "local contrast: cover, no single cells"),
)
GATES: tuple[tuple[Gate, str], ...] = (
    ("as the run", "as the run"),
    ("whatever the quality", "measure it whatever the quality"),
)
_HELP = "Look at this field with other settings. Nothing changes until you accept."


class ProposalPanel(QWidget):
    """A form over the settings that a scientist would change, and what comes of them."""

    def __init__(self) -> None:
        super().__init__()
        self.view: ProposalView | None = None
        self.method, self.gate = QComboBox(), QComboBox()
        self.pixel_size = _number("pixel_size_um", 0.0, 20.0, 3, " µm", "unknown")
        self.between = _number("between", -0.05, 1.0, 2, "", AS_THE_RUN)
        self.debris = _number("debris_um2", -10.0, 5000.0, 0, " µm²", AS_THE_RUN)
        self.halo = _number("halo_um", -1.0, 50.0, 1, " µm", AS_THE_RUN)
        self.result = QLabel(_HELP)
        self.propose, self.cancel = QPushButton("Propose"), QPushButton("Cancel")
        self.accept, self.discard = QPushButton("Accept"), QPushButton("Discard")
        self._form = QFormLayout()
        self._build()

    def _build(self) -> None:
        for value, words in METHODS:
            self.method.addItem(words, value)
        for gate, words in GATES:
            self.gate.addItem(words, gate)
        self.method.currentIndexChanged.connect(lambda _: self._show_what_counts())
        self.gate.setToolTip("For a field that the run refused as blurred, noisy or saturated.")
        self._form.addRow("Method", self.method)
        self._form.addRow("Quality", self.gate)
        self._form.addRow("Pixel size", self.pixel_size)
        self._form.addRow("Limit between bare and cells", self.between)
        self._form.addRow("Debris below", self.debris)
        self._form.addRow("Halo taken off", self.halo)
        self.result.setWordWrap(True)
        self.result.setAlignment(Qt.AlignmentFlag.AlignTop)
        rows = QHBoxLayout()
        for button, act in (
            (self.propose, self._ask),
            (self.cancel, self._discard),
            (self.accept, self._accept),
            (self.discard, self._discard),
        ):
            button.clicked.connect(lambda _=False, act=act: act())
            rows.addWidget(button)
        layout = column(self, 4)
        layout.addLayout(self._form)
        layout.addLayout(rows)
        layout.addWidget(self.result, 1)

    def follow(self, scene: Scene) -> None:
        """Propose for the field that a scene shows."""
        if self.view is not None:
            self.view.changed.disconnect(self._show, missing_ok=True)
            self.view.session.field_opened.disconnect(self._field_opened, missing_ok=True)
            self.view.close()
        self.view = ProposalView(scene)
        self.view.changed.connect(self._show)
        scene.session.field_opened.connect(self._field_opened)
        self._field_opened("")

    def settings(self) -> ProposalSettings:
        """Return what the form says; what stands at its lowest is as in the run."""
        by_contrast = self._is_by_contrast()
        return ProposalSettings(
            method=self.method.currentData(),
            gate=self.gate.currentData(),
            pixel_size_um=_value(self.pixel_size) if self.pixel_size.isVisibleTo(self) else None,
            between=_value(self.between) if by_contrast else None,
            debris_um2=_value(self.debris) if by_contrast else None,
            halo_um=_value(self.halo) if by_contrast else None,
        )

    def _pipeline(self) -> Pipeline | None:
        return None if self.view is None else self.view.session.run.pipeline

    def _is_by_contrast(self) -> bool:
        method, pipeline = self.method.currentData(), self._pipeline()
        return method == "contrast" or (method == "as the run" and pipeline is not None and pipeline.network is None)

    def _ask(self) -> None:
        if self.view is None:
            return
        try:
            settings = self.settings()
        except ValidationError as err:
            self.view.session.said.emit(Message("warning", f"These settings do not fit: {err.errors()[0]['msg']}."))
            return
        self.view.ask(settings)

    def _accept(self) -> None:
        if self.view is not None:
            self.view.accept()

    def _discard(self) -> None:
        if self.view is not None:
            self.view.discard()

    def _field_opened(self, _key: str) -> None:
        self._show_what_counts()
        self._show()

    def _show_what_counts(self) -> None:
        """Show the settings that have an effect on this field."""
        by_contrast = self._is_by_contrast()
        for field in (self.between, self.debris, self.halo):
            self._form.setRowVisible(field, by_contrast)
        is_unknown = self.view is not None and self.view.scene.placement.pixel_size_um is None
        self._form.setRowVisible(self.pixel_size, is_unknown)

    def _show(self) -> None:
        view = self.view
        is_waiting = view is not None and view.is_waiting
        proposal = None if view is None else view.proposal
        self.propose.setVisible(not is_waiting and proposal is None)
        self.cancel.setVisible(is_waiting)
        self.accept.setVisible(proposal is not None)
        self.discard.setVisible(proposal is not None)
        if is_waiting:
            self.result.setText("Looking at the field again …")
        else:
            self.show_differences()

    def show_differences(self) -> None:
        """Say what the proposal would change, beside the figures as they are now."""
        view = self.view
        if view is None or view.is_waiting:
            return
        score = view.session.score
        if view.proposal is None or score is None:
            self.result.setText(_HELP)
            return
        found = differences(score_rows(score, view.proposal.score))
        self.result.setText(f"The proposal is drawn in white. If you accept:\n{found}")


def _number(name: str, low: float, high: float, decimals: int, unit: str, empty: str) -> QDoubleSpinBox:
    """Return a field for a setting; its lowest value stands for no value."""
    box = QDoubleSpinBox()
    box.setDecimals(decimals)
    box.setRange(low, high)
    box.setSingleStep({0: 10, 1: 0.5, 2: 0.05, 3: 0.05}[decimals])
    box.setSuffix(unit)
    box.setSpecialValueText(empty)
    box.setValue(low)
    described = ProposalSettings.model_fields[name].description
    box.setToolTip(f"{described}")
    return box


def _value(box: QDoubleSpinBox) -> float | None:
    return None if box.value() == box.minimum() else box.value()
