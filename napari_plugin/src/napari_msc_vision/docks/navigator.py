"""Where to look: the ladder of the vessel's layers, how far the review is, and the fields most worth a look."""

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QModelIndex, Qt, QTimer
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QListView,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from msc_vision.batch.worth_a_look import worth_a_look
from napari_msc_vision.docks.field_list import FieldDelegate, FieldList
from napari_msc_vision.docks.following import FollowingDock, column
from napari_msc_vision.docks.ladder_view import LadderView
from napari_msc_vision.docks.unsaved import UnsavedBar
from napari_msc_vision.ladder import ladder_of, progress_of
from napari_msc_vision.mosaic_view import MosaicView
from napari_msc_vision.session import ReviewSession
from napari_msc_vision.work import Latest

NEXT, PREVIOUS, NEXT_NEW, MOSAIC = "N", "Shift+N", "U", "G"
TITLE = "Most worth a look"
_AHEAD = 3
OTHERS_EVERY_MS = 10_000
Record = dict[str, Any]


class NavigatorDock(FollowingDock):
    """The vessel at a glance, and the way through its fields."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self.vessels = QComboBox()
        self.headline = QLabel()
        self.progress_words = QLabel()
        self.progress = QProgressBar()
        self.unsaved = UnsavedBar()
        self._others = QTimer(self)
        self.ladder = LadderView()
        self._ladder_area = QScrollArea()
        self.fields = FieldList(self)
        self.list = QListView()
        self.place = QLabel(TITLE)
        self.why = QLabel()
        self.mosaic: MosaicView | None = None
        self._records: dict[str, Record] = {}
        self._has_records = False
        self._reading = Latest()
        self._build()
        for sequence, action in (
            (NEXT, self.open_next),
            (PREVIOUS, self.open_previous),
            (NEXT_NEW, self.open_next_new),
            (MOSAIC, self.toggle_mosaic),
        ):
            self.key(sequence, action)
        self._others.timeout.connect(self._look_for_others)
        self.follow_viewer()

    def _look_for_others(self) -> None:
        """Take in what other people did in this run meanwhile."""
        if self.scene is not None:
            self.session.refresh()

    # --- the look ----------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        layout = column(self.face)
        self.vessels.currentTextChanged.connect(lambda _: self._show_vessel())
        self.vessels.setAccessibleName("Vessel")
        layout.addWidget(self.vessels)
        self.headline.setWordWrap(True)
        layout.addWidget(self.headline)
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(8)
        self.progress.setAccessibleName("Fields looked at")
        line = QHBoxLayout()
        line.addWidget(self.progress_words)
        line.addWidget(self.progress, 1)
        layout.addLayout(line)
        layout.addWidget(self.unsaved)
        parts = QSplitter(Qt.Orientation.Vertical)
        parts.addWidget(self._ladder_part())
        parts.addWidget(self._list_part())
        parts.setStretchFactor(0, 3)
        parts.setStretchFactor(1, 2)
        parts.setChildrenCollapsible(False)
        layout.addWidget(parts, 1)
        layout.addLayout(self._buttons())

    def _ladder_part(self) -> QWidget:
        self.ladder.layer_opened.connect(self.show_layer)
        self.ladder.layer_chosen.connect(self._bring_in_sight)
        area = self._ladder_area
        area.setWidget(self.ladder)
        area.setWidgetResizable(True)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        area.setFrameShape(QScrollArea.Shape.NoFrame)
        area.setMinimumHeight(110)
        return area

    def _bring_in_sight(self, layer: int) -> None:
        middle = self.ladder.row_rect(layer).center()
        self._ladder_area.ensureVisible(0, int(middle.y()), 0, 40)

    def _list_part(self) -> QWidget:
        part = QWidget()
        layout = QVBoxLayout(part)
        layout.setContentsMargins(0, 4, 0, 0)
        head = QHBoxLayout()
        self.place.setStyleSheet("font-weight: bold;")
        again = QPushButton("Sort anew")
        again.setToolTip("The order stays while you walk along it; sort anew after a decision, or to put judged last.")
        again.clicked.connect(lambda _: self.sort_anew())
        head.addWidget(self.place, 1)
        head.addWidget(again)
        layout.addLayout(head)
        self.list.setModel(self.fields)
        self.list.setItemDelegate(FieldDelegate(self.list))
        self.list.setUniformItemSizes(True)
        self.list.setMouseTracking(True)
        self.list.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setAccessibleName("Fields, those most worth a look first")
        self.list.clicked.connect(self._open_row)
        self.list.activated.connect(self._open_row)
        self.list.setMinimumHeight(96)
        layout.addWidget(self.list, 1)
        self.why.setWordWrap(True)
        layout.addWidget(self.why)
        return part

    def _buttons(self) -> QHBoxLayout:
        layout = QHBoxLayout()
        for text, key, action, tip in (
            ("◂ Back", PREVIOUS, self.open_previous, "The field before in this list"),
            ("Next ▸", NEXT, self.open_next, "The next field in this list"),
            ("Next new", NEXT_NEW, self.open_next_new, "The next field that nobody looked at"),
            ("Layer", MOSAIC, self.toggle_mosaic, "All fields of the layer, or the open field again"),
        ):
            button = QPushButton(f"{text} [{key.replace('Shift+', '⇧')}]")
            button.setToolTip(f"{tip}; key {key}")
            button.clicked.connect(lambda _, action=action: action())
            layout.addWidget(button)
        return layout

    # --- what it shows -----------------------------------------------------------------------------------------------

    def signals(self, session: ReviewSession) -> list[tuple[Any, Callable[..., Any]]]:
        """Return what of a session is listened to."""
        return [
            (session.field_opened, self._field_opened),
            (session.figures_changed, self._show_figures),
            (session.state_changed, self._state_changed),
            (session.state_changed, self.unsaved.written),
            (session.said, self.unsaved.heard),
        ]

    def begin(self) -> None:
        """Show a run that was just opened."""
        assert self.scene is not None
        self.unsaved.follow(self.session)
        self._others.start(OTHERS_EVERY_MS)
        if self.mosaic is not None:
            self.mosaic.remove()
        self.mosaic = MosaicView(self.scene)
        self.mosaic.chosen.connect(self.open_field)
        names = [one.vessel_id for one in self.session.figures.vessels]
        self.vessels.blockSignals(True)
        self.vessels.clear()
        self.vessels.addItems(names)
        self.vessels.blockSignals(False)
        self.vessels.setVisible(len(names) > 1)
        self._records, self._has_records = {}, False
        self._show_vessel()
        self._read_records()

    @property
    def vessel_id(self) -> str:
        """The vessel that is shown."""
        return self.vessels.currentText()

    def _show_vessel(self) -> None:
        if self.scene is not None and self.vessel_id:
            self.sort_anew()
            self._show_figures()

    def sort_anew(self) -> None:
        """Order the fields by what is known now."""
        run, session = self.session.run, self.session
        found = worth_a_look(run.original, run.state, self._records)
        mine = set(session.keys(self.vessel_id))
        self.fields.show_items([one for one in found if one.key in mine], run.original.fields)
        self.fields.show_state(session.figures.fields, run.state)
        self._mark_open(session.current)

    def _show_figures(self) -> None:
        """Show figures and standings; long lists are not sorted for that."""
        session, vessel_id = self.session, self.vessel_id
        keys = session.keys(vessel_id)
        fields = [session.figures.fields[key] for key in keys]
        state = session.run.state
        now, original = session.figures.vessel(vessel_id), session.run.original.vessel(vessel_id)
        shown = ladder_of(now, original, fields, state, self._records.get(vessel_id))
        self.ladder.show_ladder(shown, self._open_layer())
        vessel_type = f"{vessel_id} · {now.vessel_type}"
        self.headline.setText(f"<b>{vessel_type}</b><br>{shown.headline}")
        progress = progress_of(keys, state)
        self.progress_words.setText(progress.words)
        self.progress.setRange(0, max(1, progress.n_fields))
        self.progress.setValue(progress.n_looked)
        self.fields.show_state(session.figures.fields, state)

    def _open_layer(self) -> int | None:
        current = self.session.current
        if current is None:
            return None
        row = self.session.row(current)
        return row.layer if row.vessel_id == self.vessel_id else None

    def _state_changed(self) -> None:
        self._show_figures()
        if self.mosaic is not None:
            self.mosaic.redraw()
        self._read_records()

    def _read_records(self) -> None:
        """Read the last decisions, off the main thread; the order follows when there is another one."""
        session = self.session
        names = [one.vessel_id for one in session.figures.vessels]

        def read() -> dict[str, Record]:
            found = {name: session.records(name) for name in names}
            return {name: records[0] for name, records in found.items() if records}

        self._reading.ask(
            session.work, read, self._records_came, lambda _: None, lane="records"
        )  # the decide dock tells

    def _records_came(self, records: dict[str, Record]) -> None:
        if self.scene is None or _ids(records) == _ids(self._records):
            self._has_records = True
            return
        is_first, self._records = not self._has_records, records
        self._has_records = True
        if is_first:  # later the order stays under the feet of whoever walks along it
            self.sort_anew()
        self._show_figures()

    # --- going about -------------------------------------------------------------------------------------------------

    def open_field(self, key: str) -> None:
        """Open a field, and let the next ones be read ahead."""
        if self.mosaic is not None:
            self.mosaic.hide()
        self.session.open(key)

    def open_next(self) -> None:
        """Open the next field of the list."""
        self._step(1)

    def open_previous(self) -> None:
        """Open the field before in the list."""
        self._step(-1)

    def open_next_new(self) -> None:
        """Open the next field that nobody looked at, going round the list once."""
        n, here = len(self.fields.items), self._row()
        order = [self.fields.items[(here + 1 + i) % n].key for i in range(n)] if n else []
        key = next((one for one in order if not self.fields.is_looked_at(one)), None)
        if key is None:
            self.tell("Every field of this vessel was looked at.")
        else:
            self.open_field(key)

    def show_layer(self, layer: int) -> None:
        """Show the fields of a layer in the viewer."""
        assert self.mosaic is not None
        self.tell(self.mosaic.show(self.vessel_id, layer))

    def toggle_mosaic(self) -> None:
        """Show the fields of the open layer, or the open field again."""
        assert self.mosaic is not None
        if self.mosaic.mosaic is not None:
            self.mosaic.hide()
            self.tell("")
        else:
            self.show_layer(self.ladder.chosen or self._open_layer() or 1)

    def _row(self) -> int:
        row = self.fields.row_of(self.session.current)
        return -1 if row is None else row

    def _step(self, by: int) -> None:
        row = self._row() + by
        if 0 <= row < len(self.fields.items):
            self.open_field(self.fields.items[row].key)
        else:
            self.tell(f"This is the {'last' if by > 0 else 'first'} field of the list.")

    def _open_row(self, index: QModelIndex) -> None:
        self.open_field(self.fields.items[index.row()].key)

    def _field_opened(self, key: str) -> None:
        if self.mosaic is not None:
            self.mosaic.prepare()
        vessel_id = self.session.row(key).vessel_id
        if vessel_id != self.vessel_id:
            self.vessels.setCurrentText(vessel_id)
        self._mark_open(key)
        self.ladder.show_ladder(self.ladder.ladder, self._open_layer())
        self._bring_in_sight(self.session.row(key).layer)
        self._prefetch()

    def _mark_open(self, key: str | None) -> None:
        row = self.fields.row_of(key)
        self.tell("")
        if row is None:
            self.list.clearSelection()
            self.place.setText(TITLE)
            return
        self.list.setCurrentIndex(self.fields.index(row))
        self.place.setText(f"{TITLE}: {row + 1} of {len(self.fields.items)}")

    def tell(self, text: str) -> None:
        """Say something below the list; nothing: there is nothing to say."""
        self.why.setText(text)
        self.why.setVisible(bool(text))

    def _prefetch(self) -> None:
        """Let masks and pictures of the fields that come next be read ahead."""
        assert self.scene is not None
        row = self._row()
        keys = [one.key for one in self.fields.items[row + 1 : row + 1 + _AHEAD]]
        if row > 0:
            keys.append(self.fields.items[row - 1].key)
        self.session.prefetch(keys)
        self.scene.prefetch(keys)


def _ids(records: dict[str, Record]) -> dict[str, str]:
    return {name: str(record["decision_id"]) for name, record in records.items()}
