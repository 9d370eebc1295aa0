"""The cells of a field for a table view: thousands of rows, sorted by any column, without a widget per cell."""

from typing import Any

import numpy as np
from qtpy.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt

from msc_vision.report.cell_table import CELL_FIGURES, CellTable, no_cells

NUMBER, NOTE = "Cell", "Note"
_Index = QModelIndex | QPersistentModelIndex


class CellModel(QAbstractTableModel):
    """A row per cell: its number, its figures, and why it does not enter distributions."""

    def __init__(self) -> None:
        super().__init__()
        self.table: CellTable = no_cells()
        self._order = np.arange(0)
        self._place: dict[int, int] = {}
        self._sorted_by = 0, Qt.SortOrder.AscendingOrder

    def show_cells(self, table: CellTable) -> None:
        """Show other cells, sorted as the ones before."""
        self.beginResetModel()
        self.table = table
        self._reorder()
        self.endResetModel()

    def label_at(self, row: int) -> int:
        """Return the number of the cell in a row."""
        return int(self.table.labels[self._order[row]])

    def row_of(self, label: int) -> int | None:
        """Return the row of a cell; None if it is not there."""
        at = self.table.row_of(label)
        return None if at is None else self._place.get(at)

    def rowCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: N802, B008  (Qt's)
        """Return how many cells there are."""
        return 0 if parent.isValid() else len(self.table)

    def columnCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: N802, B008  (Qt's)
        """Return the number, the figures, the note."""
        return 0 if parent.isValid() else len(CELL_FIGURES) + 2

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what a cell of the table shows."""
        column = index.column()
        if role == Qt.ItemDataRole.TextAlignmentRole and column <= len(CELL_FIGURES):
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        row = int(self._order[index.row()])
        if column == 0:
            return str(self.table.labels[row])
        if column > len(CELL_FIGURES):
            return self.table.note(row)
        figure = CELL_FIGURES[column - 1]
        return figure.told(float(self.table.values(figure)[row])).removesuffix(figure.unit).strip()

    def headerData(  # noqa: N802  (Qt's name)
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Return the name of a column, and what it means."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        is_figure = 1 <= section <= len(CELL_FIGURES)
        if role == Qt.ItemDataRole.DisplayRole:
            return CELL_FIGURES[section - 1].heading if is_figure else (NUMBER if section == 0 else NOTE)
        if role == Qt.ItemDataRole.ToolTipRole and is_figure:
            return CELL_FIGURES[section - 1].meaning
        return None

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column; what is not measured comes last either way."""
        self.layoutAboutToBeChanged.emit()
        kept = self.persistentIndexList()
        rows = [int(self._order[one.row()]) for one in kept]
        self._sorted_by = column, order
        self._reorder()
        moved = [self.index(self._place[row], one.column()) for row, one in zip(rows, kept, strict=True)]
        self.changePersistentIndexList(kept, moved)
        self.layoutChanged.emit()

    def _reorder(self) -> None:
        column, order = self._sorted_by
        values = self._sortable(column)
        is_falling = order == Qt.SortOrder.DescendingOrder
        self._order = np.argsort(-values if is_falling else values, kind="stable")  # NaN comes last
        self._place = {int(row): place for place, row in enumerate(self._order)}

    def _sortable(self, column: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        if column == 0:
            return self.table.labels.astype(np.float64)
        if column > len(CELL_FIGURES):
            notes = [self.table.note(row) for row in range(len(self.table))]
            return np.unique(np.array(notes, object).astype(str), return_inverse=True)[1].astype(np.float64)
        return np.asarray(self.table.values(CELL_FIGURES[column - 1]), np.float64)
