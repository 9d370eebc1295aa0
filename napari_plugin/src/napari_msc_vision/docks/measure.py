"""The dock Measure: how the cells are spread, which cell is which, how the vessel went, and tables to take along."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from qtpy.QtCore import QItemSelectionModel, Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QTableView,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from msc_vision.errors import MscVisionError
from msc_vision.io.output import write_whole
from msc_vision.morphology.baseline import Baseline, load_baseline
from msc_vision.report.cell_distribution import selected_words
from msc_vision.report.cell_table import CELL_FIGURES, CellTable, cells_csv
from napari_msc_vision import tables
from napari_msc_vision.docks.cell_mark import CellMark
from napari_msc_vision.docks.cell_model import CellModel
from napari_msc_vision.docks.drawing import CourseView, DistributionView
from napari_msc_vision.docks.following import FollowingDock, column
from napari_msc_vision.docks.snapshot import captioned_png
from napari_msc_vision.session import Message, ReviewSession
from napari_msc_vision.tables import SCOPE_WORDS, Answer, Scope, VesselCells
from napari_msc_vision.work import Latest

CELLS_LANE, COURSE_LANE, EXPORT_LANE = "cells", "course", "export"
NO_CELL = "Click a cell in the picture or a row of the table."


class MeasureDock(FollowingDock):
    """Cells of the open field against others, their table linked with the picture, the vessel's time line, exports."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self.baseline: Baseline | None = None
        self.cells: CellTable | None = None
        self.answer: Answer | None = None
        self.selected = 0
        self.other_runs: tuple[Path, ...] = ()
        self._vessel = VesselCells()
        self._own: CellTable | None = None
        self._own_of: object = None
        self._asking, self._course = Latest(), Latest()
        self._mark: CellMark | None = None
        self._is_following = False
        self._build()
        self.follow_viewer()

    # --- building ----------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        layout = column(self.face, margin=4)
        self.tabs = QTabWidget()
        self.tabs.addTab(self._cells_page(), "Cells")
        self.tabs.addTab(self._course_page(), "Time line")
        self.tabs.addTab(self._export_page(), "Save")
        self.tabs.currentChanged.connect(lambda _: self._show_course())
        layout.addWidget(self.tabs)

    def _cells_page(self) -> QWidget:
        page = QWidget()
        layout = QVBoxLayout(page)
        self.figure_box, self.scope_box = QComboBox(), QComboBox()
        for number, figure in enumerate(CELL_FIGURES):
            self.figure_box.addItem(figure.heading)
            self.figure_box.setItemData(number, figure.meaning, Qt.ItemDataRole.ToolTipRole)
        for scope, words in SCOPE_WORDS.items():
            self.scope_box.addItem(words, scope)
        self.figure_box.setToolTip("Which figure of the cells is shown")
        self.scope_box.setToolTip("Whose cells the bars show")
        self.figure_box.currentIndexChanged.connect(lambda _: self._ask())
        self.scope_box.currentIndexChanged.connect(lambda _: self._ask())
        self.baseline_button = _button("", "What the cells are held against")
        self.against_menu = QMenu(self.baseline_button)
        self.against_menu.aboutToShow.connect(self._offer_baselines)
        self.baseline_button.setMenu(self.against_menu)
        layout.addLayout(_row(self.figure_box, self.scope_box, self.baseline_button))
        self.view = DistributionView()
        self.words, self.against, self.cell_words = _text(), _text(), _text()
        for widget in (self.view, self.words, self.against, self.cell_words):
            layout.addWidget(widget)
        layout.addWidget(self._table(), stretch=1)
        return page

    def _table(self) -> QTableView:
        self.model, self.table = CellModel(), QTableView()
        self.table.setModel(self.model)
        self.table.setSortingEnabled(True)
        self.table.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setMinimumHeight(150)
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(22)
        self.table.resizeColumnsToContents()  # empty as it is: to the headings
        self.table.setToolTip("Arrow keys walk from cell to cell; the picture follows. Click a heading to sort.")
        self.table.selectionModel().currentRowChanged.connect(lambda now, _: self._row_chosen(now.row()))
        return self.table

    def _course_page(self) -> QWidget:
        page = QWidget()
        layout = QVBoxLayout(page)
        self.course_view, self.course_words = CourseView(), _text()
        beside = _button("Runs beside this one", "Look for the vessel in the other runs of the same folder")
        chosen = _button("Add a run…", "Choose the folder of an earlier run of this vessel")
        none = _button("This run only", "Show the time points of this run alone")
        beside.clicked.connect(self._take_runs_beside)
        chosen.clicked.connect(self._choose_run)
        none.clicked.connect(lambda: self._set_runs(()))
        layout.addLayout(_row(beside, chosen, none))
        layout.addWidget(self.course_view)
        layout.addWidget(self.course_words)
        layout.addStretch(1)
        return page

    def _export_page(self) -> QWidget:
        page = QWidget()
        layout = QVBoxLayout(page)
        cells = _button("Cells of this field (CSV)…", "One row per cell, every figure of the table")
        fields = _button("Fields after the review (CSV)…", "One row per field: figures, judgement, reason, by whom")
        picture = _button("Picture with scale bar (PNG)…", "The picture as shown, who made it, when, of which run")
        cells.clicked.connect(self.save_cells)
        fields.clicked.connect(self.save_fields)
        picture.clicked.connect(self.save_picture)
        self.saved = _text()
        for widget in (cells, fields, picture, self.saved):
            layout.addWidget(widget)
        layout.addStretch(1)
        return page

    # --- the run -----------------------------------------------------------------------------------------------------

    def signals(self, session: ReviewSession) -> list[tuple[Any, Callable[..., Any]]]:
        """Return what of a session is listened to."""
        assert self.scene is not None
        return [
            (session.field_opened, self._on_field_opened),
            (session.figures_changed, self._on_figures_changed),
            (session.cell_selected, self._on_cell_selected),
        ]

    def begin(self) -> None:
        """Show a run that was opened."""
        assert self.scene is not None
        if self._mark is None or self._mark.scene is not self.scene:
            self._let_go_of_layers()
            self._mark = CellMark(self.scene, self.session.cell_selected.emit)
            self.scene.cells.events.selected_label.connect(self._on_label_picked)
            self._vessel, self.other_runs = VesselCells(), ()
            self.set_baseline(self.session.run.baseline)
        if self.session.current is not None:
            self._on_field_opened(self.session.current)
            self._on_figures_changed()

    def catch_up(self) -> None:
        """Show what changed while the dock was not seen."""
        self._on_figures_changed()

    def _let_go_of_layers(self) -> None:
        if self._mark is not None:
            self._mark.scene.cells.events.selected_label.disconnect(self._on_label_picked)
            self._mark.remove()
            self._mark = None

    def _stop_listening(self) -> None:
        """Let go of the layers too, as when the dock is taken out of the window."""
        super()._stop_listening()
        self._let_go_of_layers()

    def _on_field_opened(self, _key: str) -> None:
        """Let go of the field that was open; the figures of this one follow at once."""
        self.selected, self._own, self._own_of = 0, None, None
        self.cells = self.answer = None
        self._asking.cancel()
        if self._mark is not None:
            self._mark.hide()
            self._mark.tell(None)
        self.view.mark(None)

    def _on_figures_changed(self) -> None:
        self._ask()
        self._show_course()

    # --- the distribution and the table ------------------------------------------------------------------------------

    def _ask(self) -> None:
        """Ask for the distribution and the table of the open field; the answer comes when it is there."""
        is_put_off = self.put_off()
        if is_put_off and self._mark is not None:
            self._mark.tell(None)
        if self.scene is None or is_put_off:
            return
        session = self.session
        scope: Scope = self.scope_box.currentData()
        asked = tables.question(session, CELL_FIGURES[self.figure_box.currentIndex()], scope, self.baseline)
        if asked is None:
            return
        stamp, row = tables.masks_stamp(session), session.row(asked.key)
        field = tables.open_field(session, self._own, self._own_of)

        vessel = self._vessel

        def job() -> tuple[CellTable, Answer, pd.DataFrame]:
            cells = tables.open_cells(field)
            if cells is None:
                cells = tables.field_cells(asked, row)
            found = tables.answer(asked, tables.with_open_field(vessel.of(asked), asked.key, cells))
            return cells, found, tables.words_by_cell(cells)

        def done(found: tuple[CellTable, Answer, pd.DataFrame]) -> None:
            if asked.key == session.current:
                cells, said, words = found
                self._own, self._own_of = cells, stamp
                self._show(cells, said)
                self._tell(words)

        self._asking.ask(session.work, job, done, self._failed, lane=CELLS_LANE)

    def _show(self, cells: CellTable, answer: Answer) -> None:
        self.cells, self.answer = cells, answer
        self.view.show_distribution(answer.distribution)
        waiting = "" if self.session.is_measured else " The shapes of corrected cells are being measured …"
        self.words.setText(answer.distribution.summary + waiting)
        self.against.setText(answer.against)
        self._is_following = True
        self.model.show_cells(cells)
        self._is_following = False
        self._show_selected()

    def _tell(self, words: pd.DataFrame) -> None:
        """Let napari say what cell is under the mouse, unless cells were corrected and are still being measured."""
        if self._mark is not None:
            self._mark.tell(words if self.session.is_measured else None)

    def _show_selected(self) -> None:
        row = None if self.cells is None else self.cells.row_of(self.selected)
        if self.cells is None or self.answer is None or row is None:
            self.view.mark(None)
            self.cell_words.setText(NO_CELL)
            return
        figure = self.answer.distribution.figure
        value = float(self.cells.values(figure)[row])
        self.view.mark(None if value != value else value, f"cell {self.selected}")  # noqa: PLR0124  (NaN)
        self.cell_words.setText(selected_words(figure, self.cells, self.answer.cells, row))
        place = self.model.row_of(self.selected)
        if place is not None and place != self.table.currentIndex().row():
            self._is_following = True
            flags = QItemSelectionModel.SelectionFlag
            index = self.model.index(place, 0)
            self.table.selectionModel().setCurrentIndex(index, flags.ClearAndSelect | flags.Rows)
            self.table.scrollTo(index, QAbstractItemView.ScrollHint.PositionAtCenter)
            self._is_following = False

    def _row_chosen(self, row: int) -> None:
        if self._is_following or row < 0 or self.cells is None or self.scene is None:
            return
        label = self.model.label_at(row)
        at = self.cells.row_of(label)
        if self._mark is not None and at is not None:
            self._mark.bring_into_view(self.cells, at)
        self.session.cell_selected.emit(label)

    def _on_label_picked(self, _event: Any = None) -> None:
        """Follow napari's own picker."""
        if self.scene is None or self._is_following:
            return
        label = int(self.scene.cells.selected_label)
        if label != self.selected and self.cells is not None and self.cells.row_of(label) is not None:
            self.session.cell_selected.emit(label)

    def _on_cell_selected(self, label: int) -> None:
        if self.scene is None:
            return
        self.selected = label
        row = None if self.cells is None else self.cells.row_of(label)
        self._is_following = True
        if row is not None and self.cells is not None and self._mark is not None:
            self._mark.show(self.cells, row)
            self.scene.cells.selected_label = label
        elif self._mark is not None:
            self._mark.hide()
            self.table.clearSelection()
        self._is_following = False
        self._show_selected()

    def _offer_baselines(self) -> None:
        """List what the cells may be held against, when somebody asks."""
        menu = self.against_menu
        menu.clear()
        menu.addAction("The rest of the vessel", lambda: self.set_baseline(None))
        own = None if self.scene is None else self.session.run.baseline
        if own is not None:
            menu.addAction(f"{own.head.origin.baseline_id}, the baseline of this run", lambda: self.set_baseline(own))
        menu.addAction("Another baseline…", self._choose_baseline)

    def _choose_baseline(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Folder of the baseline")
        if name and self.scene is not None:
            self.session.work.submit(
                lambda: load_baseline(Path(name)), self.set_baseline, self._failed, lane=CELLS_LANE
            )

    def set_baseline(self, baseline: Baseline | None) -> None:
        """Hold the cells against a baseline; None: against the rest of the vessel."""
        self.baseline = baseline
        self.baseline_button.setText("Against: rest" if baseline is None else baseline.head.origin.baseline_id)
        self._ask()

    # --- the time line -----------------------------------------------------------------------------------------------

    def _show_course(self) -> None:
        """Draw the time line, if it is looked at."""
        if self.scene is None or self.tabs.currentIndex() != 1 or self.session.current is None:
            return
        session = self.session
        vessel_id, figures = session.row(str(session.current)).vessel_id, session.figures
        run, others, catalogue = session.run.folder, self.other_runs, session.run.catalogue
        self._course.ask(
            session.work,
            lambda: tables.course_of(run, vessel_id, others, catalogue, figures),
            self._course_came,
            self._failed,
            lane=COURSE_LANE,
        )

    def _course_came(self, course: tables.Course) -> None:
        self.course_view.show_course(course)
        self.course_words.setText("\n".join((*(one.words for one in course.points), *course.notes)))

    def _set_runs(self, runs: tuple[Path, ...]) -> None:
        self.other_runs = runs
        self._show_course()

    def _take_runs_beside(self) -> None:
        if self.scene is not None:
            self._set_runs(tables.runs_beside(self.session.run.folder))

    def _choose_run(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Folder of an earlier run")
        if name:
            self._set_runs((*self.other_runs, Path(name)))

    # --- saving ------------------------------------------------------------------------------------------------------

    def save_cells(self) -> None:
        """Save the table of the open field."""
        cells = self.cells
        if cells is None and self.scene is not None:
            self.session.said.emit(Message("info", "The cells of this field are being read: try again in a moment."))
        if cells is not None and (path := self._asked_path("Cells of this field", "cells.csv", "CSV (*.csv)")):
            self._save(path, lambda: cells_csv(cells).encode())

    def save_fields(self) -> None:
        """Save the fields of the run after its review."""
        if self.scene is None:
            return
        session = self.session
        given = session.keys(), session.run.original, session.figures, session.run.state
        if path := self._asked_path("Fields after the review", "fields_after_review.csv", "CSV (*.csv)"):
            self._save(path, lambda: tables.fields_csv(*given).encode())

    def save_picture(self) -> None:
        """Save the picture as it is shown, with scale bar and caption."""
        if self.scene is None or not (path := self._asked_path("Picture", "field.png", "PNG (*.png)")):
            return
        lines = tables.caption(self.session, datetime.now().astimezone())
        content = captioned_png(self.viewer, lines)
        self._save(path, lambda: content)

    def _asked_path(self, title: str, name: str, kind: str) -> Path | None:
        prefix = "" if self.scene is None or self.scene.session.current is None else f"{self.session.current}_"
        chosen, _ = QFileDialog.getSaveFileName(self, title, f"{prefix}{name}", kind)
        return Path(chosen) if chosen else None

    def _save(self, path: Path, content: Any) -> None:
        def done(_: None) -> None:
            self.saved.setText(f"Saved {path}.")
            self.session.said.emit(Message("info", f"Saved {path}."))

        self.session.work.submit(lambda: write_whole(path, content()), done, self._failed, lane=EXPORT_LANE)

    def _failed(self, err: Exception) -> None:
        if not isinstance(err, MscVisionError):
            raise err
        self.session.said.emit(Message("error", str(err)))


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    return button


def _row(*widgets: QWidget) -> QHBoxLayout:
    layout = QHBoxLayout()
    for widget in widgets:
        layout.addWidget(widget)
    return layout


def _text() -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label
