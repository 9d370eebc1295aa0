"""Correct the open field: tools, figures that follow, what was changed, findings, and a proposal by other settings."""

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QListWidget,
    QPushButton,
    QSlider,
    QTableWidget,
    QTableWidgetItem,
    QTabWidget,
)

from napari_msc_vision.correcting import FigureRow, brush_words, changes, figure_rows, state_words
from napari_msc_vision.docks.findings_panel import FindingsPanel
from napari_msc_vision.docks.following import FollowingDock, column
from napari_msc_vision.docks.proposal_panel import ProposalPanel
from napari_msc_vision.scene import Scene
from napari_msc_vision.session import ReviewSession
from napari_msc_vision.stroke import BRUSH_PX, TOOLS, Strokes, Tool, hand_back, strokes_of, tool_named

MOVE_HELP = "No tool: the mouse moves the view. Take a tool by its button or its key; Esc puts it away."
CHANGED = QColor("#E69F00")
TOOL_STYLE = """
QPushButton { text-align: left; padding: 3px 8px; }
QPushButton:checked { background-color: #0072B2; color: white; }
"""
_COLUMNS = 2
_FINDING_TAB = 1
_NOW = 2
_WIDTH_PX = 400


class CorrectDock(FollowingDock):
    """Tools in a few buttons; each stroke is written, and the figures follow."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self.strokes: Strokes | None = None
        self.buttons: dict[str, QPushButton] = {}
        self.help = QLabel(MOVE_HELP)
        self.brush = QSlider(Qt.Orientation.Horizontal)
        self.brush_words = QLabel()
        self.undo = QPushButton("Undo  Ctrl+Z")
        self.redo = QPushButton("Redo  Ctrl+Shift+Z")
        self.figures = QTableWidget(0, 3)
        self.state = QLabel()
        self.changes = QListWidget()
        self.findings = FindingsPanel()
        self.proposal = ProposalPanel()
        self.tabs = QTabWidget()
        self._tool_signals: list[tuple[Any, Callable[..., Any]]] = []
        self._build()
        self.follow_viewer()

    # --- the look ----------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.face.setMinimumWidth(_WIDTH_PX)
        layout = column(self.face)
        layout.addLayout(self._tool_grid())
        self.help.setWordWrap(True)
        self.help.setMinimumHeight(2 * self.help.fontMetrics().lineSpacing() + 4)
        self.help.setAlignment(Qt.AlignmentFlag.AlignTop)
        layout.addWidget(self.help)
        layout.addLayout(self._brush_row())
        row = QHBoxLayout()
        for button, act, tip in (
            (self.undo, self._undo, "Take back the last correction of this field."),
            (self.redo, self._redo, "Make it again."),
        ):
            button.clicked.connect(lambda _=False, act=act: act())
            button.setToolTip(tip)
            row.addWidget(button)
        layout.addLayout(row)
        layout.addWidget(self._figure_table())
        self.state.setWordWrap(True)
        layout.addWidget(self.state)
        self.changes.setWordWrap(True)
        self.tabs.addTab(self.changes, "Changes")
        self.tabs.addTab(self.findings, "Findings")
        self.tabs.addTab(self.proposal, "Propose anew")
        self.tabs.setMinimumHeight(190)
        layout.addWidget(self.tabs, 1)

    def _tool_grid(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setSpacing(3)
        for i, tool in enumerate(TOOLS):
            button = QPushButton()
            button.setText(f"{tool.words}   {tool.shortcut}")
            button.setToolTip(f"{tool.help} Key: {tool.shortcut}")
            button.setCheckable(True)
            button.setStyleSheet(TOOL_STYLE)
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            button.clicked.connect(lambda _=False, name=tool.name: self.take(name))
            self.buttons[tool.name] = button
            grid.addWidget(button, i // _COLUMNS, i % _COLUMNS)
        return grid

    def _brush_row(self) -> QHBoxLayout:
        self.brush.setRange(*BRUSH_PX)
        self.brush.setAccessibleName("Diameter of the brush")
        self.brush.setToolTip("Diameter of the brush. Keys: [ and ]")
        self.brush.valueChanged.connect(self._set_brush)
        self.brush_words.setMinimumWidth(self.brush_words.fontMetrics().horizontalAdvance("888 µm · 888 px"))
        row = QHBoxLayout()
        row.addWidget(QLabel("Brush"))
        row.addWidget(self.brush, 1)
        row.addWidget(self.brush_words)
        return row

    def _figure_table(self) -> QTableWidget:
        table = self.figures
        table.setHorizontalHeaderLabels(["Figure", "Found by the run", "Now"])
        table.verticalHeader().hide()
        table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        table.setSelectionMode(QTableWidget.SelectionMode.NoSelection)
        table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        table.setShowGrid(False)
        table.setWordWrap(False)
        table.verticalHeader().setDefaultSectionSize(table.fontMetrics().lineSpacing() + 7)
        table.setMinimumHeight(8 * (table.fontMetrics().lineSpacing() + 8))
        header = table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setStretchLastSection(True)
        return table

    # --- following the review ----------------------------------------------------------------------------------------

    def signals(self, session: ReviewSession) -> list[tuple[Any, Callable[..., Any]]]:
        """Return what of a session is listened to."""
        return [
            (session.field_opened, self._field_opened),
            (session.figures_changed, self._show_figures),
            (session.state_changed, self._show_state),
        ]

    def begin(self) -> None:
        """Show a review that was just opened."""
        assert self.scene is not None
        self.strokes = strokes_of(self.scene)
        self._hear(self.scene)
        self.findings.follow(self.scene)
        self.proposal.follow(self.scene)
        self._show_tool(self.strokes.tool)
        self._show_brush(self.strokes.brush_px)
        self._show_figures()
        self._show_state()

    def _hear(self, scene: Scene) -> None:
        strokes = strokes_of(scene)
        self._tool_signals = [
            (strokes.tool_changed, self._show_tool),
            (strokes.brush_changed, self._show_brush),
            (strokes.box_drawn, self._box_drawn),
        ]
        for signal, slot in self._tool_signals:
            signal.connect(slot)

    def _stop_listening(self) -> None:
        super()._stop_listening()
        self._let_go()
        if self.scene is not None:
            hand_back(self.scene)
            self.strokes = None

    def _let_go(self) -> None:
        for signal, slot in self._tool_signals:
            signal.disconnect(slot, missing_ok=True)
        self._tool_signals = []

    def _field_opened(self, _key: str) -> None:
        if self.strokes is not None:
            self._show_brush(self.strokes.brush_px)
        self._show_state()

    # --- what people do ----------------------------------------------------------------------------------------------

    def take(self, name: str) -> None:
        """Take a tool, or put it away if it is in the hand."""
        if self.strokes is not None:
            self.strokes.take(tool_named(name))

    def _undo(self) -> None:
        if self.scene is not None:
            self.session.undo()

    def _redo(self) -> None:
        if self.scene is not None:
            self.session.redo()

    def _set_brush(self, size_px: int) -> None:
        if self.strokes is not None and size_px != self.strokes.brush_px:
            self.strokes.brush_px = size_px

    def _box_drawn(self, box: tuple[int, int, int, int]) -> None:
        self.tabs.setCurrentIndex(_FINDING_TAB)
        self.findings.start(box)

    # --- what is shown -----------------------------------------------------------------------------------------------

    def _show_tool(self, tool: Tool | None) -> None:
        for name, button in self.buttons.items():
            button.setChecked(tool is not None and tool.name == name)
        self.help.setText(MOVE_HELP if tool is None else tool.help)

    def _show_brush(self, size_px: int) -> None:
        assert self.strokes is not None
        self.brush.setValue(size_px)
        self.brush_words.setText(brush_words(size_px, self.strokes.brush_um))

    def _show_figures(self) -> None:
        if self.scene is None:
            return
        session = self.session
        fill_figures(self.figures, figure_rows(session))
        self.state.setText(state_words(session))
        self.undo.setEnabled(session.can_undo)
        self.redo.setEnabled(session.can_redo)
        self.proposal.show_differences()

    def _show_state(self) -> None:
        if self.scene is None:
            return
        session = self.session
        self.changes.clear()
        if session.current is not None:
            self.changes.addItems(changes(session.run.state.of(session.current)))
        self.findings.refresh()


def fill_figures(table: QTableWidget, rows: tuple[FigureRow, ...]) -> None:
    """Put figures into a table; what changed is marked by a sign and a colour."""
    table.setRowCount(len(rows))
    about = None
    for i, row in enumerate(rows):
        name = row.name if row.about == about else f"{row.about}: {row.name.lower()}"
        about = row.about
        texts = (name, row.before, f"● {row.now}" if row.is_changed else row.now)
        for j, text in enumerate(texts):
            item = QTableWidgetItem(text)
            if row.is_changed and j == _NOW:
                item.setForeground(CHANGED)
                item.setToolTip("Changed by the review")
            table.setItem(i, j, item)
