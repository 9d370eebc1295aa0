"""The cells of some fields as a table that a person reads, sorts and takes along; each column has words and a unit."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from msc_vision.errors import InvalidDataError
from msc_vision.morphology.shape_features import SHAPE_FEATURES
from msc_vision.records import ManifestRow
from msc_vision.report.words import rounded

if TYPE_CHECKING:
    import pyarrow as pa

Axis = Literal["logarithmic", "linear"]
_MEANING = {one.name: one.meaning for one in SHAPE_FEATURES}


@dataclass(frozen=True, slots=True)
class CellFigure:
    """A figure of cells: its column in ``objects.parquet``, its words, and the axis on which it is drawn.

    The ends of the axis are those of the drawing, the same for every run; they are no limits of biology.
    """

    column: str
    name: str
    unit: str
    axis: Axis
    low: float
    high: float

    @property
    def heading(self) -> str:
        """Name and unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def meaning(self) -> str:
        """What it tells a biologist."""
        return _MEANING.get(self.column, "")

    def told(self, value: float) -> str:
        """Return a value with the digits that count and its unit; a dash where there is none."""
        if not np.isfinite(value):
            return "–"
        text = rounded(value) if self.axis == "logarithmic" else _plain(value)
        return f"{text} {self.unit}".strip()


def _plain(value: float) -> str:
    """Return a figure of a scale that has a zero: two decimals, none of a whole number."""
    return f"{value:.0f}" if value == round(value) else f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}"


CELL_FIGURES = (
    CellFigure("area_um2", "Area", "µm²", "logarithmic", 100, 30_000),
    CellFigure("length_um", "Length", "µm", "logarithmic", 10, 600),
    CellFigure("width_um", "Mean width", "µm", "logarithmic", 4, 100),
    CellFigure("medial_aspect_ratio", "Length over width", "", "logarithmic", 0.8, 50),
    CellFigure("elongation", "Elongation", "", "linear", 0, 1),
    CellFigure("circularity", "Circularity", "", "linear", 0, 1),
    CellFigure("solidity", "Solidity", "", "linear", 0, 1),
    CellFigure("n_branches", "Arms", "", "linear", 0, 10),
    CellFigure("bending", "Bending", "", "linear", 0, 1),
    CellFigure("max_width_um", "Largest width", "µm", "logarithmic", 4, 200),
    CellFigure("perimeter_um", "Outline", "µm", "logarithmic", 30, 2_000),
    CellFigure("aspect_ratio", "Longer than broad", "", "logarithmic", 1, 20),
    CellFigure("orientation_deg", "Direction", "°", "linear", 0, 180),
    CellFigure("body_grey", "Brightness", "", "linear", -0.6, 0.6),
    CellFigure("halo", "Halo", "", "linear", -0.2, 0.8),
    CellFigure("texture", "Graininess", "", "linear", 0, 0.25),
    CellFigure("rounded_share", "Rounded (network)", "", "linear", 0, 1),
    CellFigure("aggregate_share", "In an aggregate (network)", "", "linear", 0, 1),
    CellFigure("debris_share", "Debris (network)", "", "linear", 0, 1),
)
"""In the order in which they are shown."""

_PLACE = ("centroid_y_px", "centroid_x_px", "y0_px", "y1_px", "x0_px", "x1_px")
_FLAGS = ("is_measured", "touches_border", "is_oversized", "in_aggregate", "is_rounded")
_NUMBERS = ("label", "border_weight", *_PLACE, *(one.column for one in CELL_FIGURES))
ALL_COLUMNS = (*_NUMBERS, *_FLAGS)
"""Every column of a `CellTable`."""
_NOTES = (
    ("touches_border", "cut by the edge"),
    ("is_oversized", "too large to be one cell"),
    ("in_aggregate", "in an aggregate"),
    ("is_rounded", "rounded"),
)


@dataclass(frozen=True, eq=False)
class CellTable:
    """Cells of one or more fields.

    Attributes
    ----------
    fields : tuple of str
        Keys of the fields.
    field_of : (n,) int32 array
        Which of them each cell is of.
    columns : mapping of str to (n,) array
        ``label``, positions in pixels of the image, `CELL_FIGURES` (NaN where not measured), ``border_weight``, flags;
        a table of many fields may hold some of them only.
    """

    fields: tuple[str, ...]
    field_of: NDArray[np.int32]
    columns: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        return int(self.field_of.size)

    @property
    def keys(self) -> NDArray[np.object_]:
        """The key of the field of each cell."""
        return np.array(self.fields, object)[self.field_of]

    def is_of(self, keys: Iterable[str]) -> NDArray[np.bool_]:
        """Return which cells are of some fields."""
        wanted = set(keys)
        return np.array([name in wanted for name in self.fields], bool)[self.field_of]

    @property
    def labels(self) -> NDArray[np.int64]:
        """The number of each cell in its field."""
        return self.columns["label"]

    @property
    def is_measured(self) -> NDArray[np.bool_]:
        """Which cells enter distributions: whole ones that lie in no aggregate."""
        return self.columns["is_measured"]

    @cached_property
    def _rows(self) -> dict[int, int]:
        return {int(label): row for row, label in enumerate(self.labels)}

    def row_of(self, label: int) -> int | None:
        """Return the row of a cell of a table of one field."""
        return self._rows.get(label)

    def values(self, figure: CellFigure) -> NDArray[np.float64]:
        """Return a figure of every cell."""
        return self.columns[figure.column]

    def note(self, row: int) -> str:
        """Return why a cell does not enter distributions, or what else there is to say of it."""
        said = [words for flag, words in _NOTES if self.columns[flag][row]]
        return ", ".join(said)

    def of(self, chosen: NDArray[np.bool_]) -> "CellTable":
        """Return some of the cells."""
        columns = {name: column[chosen] for name, column in self.columns.items()}
        return CellTable(self.fields, self.field_of[chosen], columns)


def cell_table(key: str, objects: NDArray[np.void]) -> CellTable:
    """Return the cells among the objects of a field, as `msc_vision.batch.reviewed.measure_masks` returns them."""
    names = set(objects.dtype.names or ())
    cells = objects[objects["kind"] == "cell"] if "kind" in names else objects
    return _table((key,), np.zeros(len(cells), np.int32), {name: cells[name] for name in names}, ALL_COLUMNS)


def no_cells(columns: Sequence[str] = ALL_COLUMNS) -> CellTable:
    """Return a table without any."""
    return _table((), np.empty(0, np.int32), {}, columns)


def joined_cells(tables: Sequence[CellTable]) -> CellTable:
    """Return the cells of several tables as one, with the columns of the first."""
    if not tables:
        return no_cells()
    fields = tuple(dict.fromkeys(key for one in tables for key in one.fields))
    number = {key: i for i, key in enumerate(fields)}
    field_of = [np.array([number[key] for key in one.fields], np.int32)[one.field_of] for one in tables]
    columns = {name: np.concatenate([one.columns[name] for one in tables]) for name in tables[0].columns}
    return CellTable(fields, np.concatenate(field_of), columns)


def _table(
    fields: tuple[str, ...], field_of: NDArray[np.int32], found: Mapping[str, NDArray[Any]], names: Sequence[str]
) -> CellTable:
    """Return a table of some columns; one that an older run lacks is NaN, or False."""
    n = field_of.size
    columns: dict[str, NDArray[Any]] = {}
    for name in names:
        if name in _FLAGS:
            columns[name] = np.asarray(found[name], bool) if name in found else np.zeros(n, bool)
        else:
            columns[name] = np.asarray(found[name], np.float64) if name in found else np.full(n, np.nan)
    if "label" in columns:
        columns["label"] = np.nan_to_num(columns["label"]).astype(np.int64)
    return CellTable(fields, field_of, columns)


def columns_for(figure: CellFigure) -> tuple[str, ...]:
    """Return the columns from which the distribution of a figure is made."""
    return ("border_weight", "is_measured", figure.column)


def read_cell_table(
    run: Path, rows: Iterable[ManifestRow], keys: Sequence[str], columns: Sequence[str] = ALL_COLUMNS
) -> CellTable:
    """Return the cells of some fields as the run found them.

    Parameters
    ----------
    run : Path
        Run folder.
    rows : iterable of ManifestRow
        Of the fields: they say which files are read.
    keys : sequence of str
        Keys of the fields.
    columns : sequence of str
        What is read of them; a large vessel has a million cells.

    Raises
    ------
    InvalidDataError
        If a table of objects cannot be read.
    """
    from msc_vision.batch.store import objects_part

    paths = [path for path in dict.fromkeys(run / objects_part(row) for row in rows) if path.is_file()]
    return joined_cells([_read_part(path, keys, columns) for path in paths] or [no_cells(columns)])


def _read_part(path: Path, keys: Sequence[str], columns: Sequence[str]) -> CellTable:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        known = [name for name in ("key", "kind", *columns) if name in file.schema_arrow.names]
        table = file.read(columns=known)
        table = table.filter(pc.is_in(table["key"], pa.array(list(keys), pa.string())))
        return arrow_cells(table, columns)
    except (OSError, pa.ArrowException) as err:
        raise InvalidDataError(f"{path}: cannot be read as a table ({err}); check with `msc-vision verify`.") from err


def arrow_cells(table: "pa.Table", columns: Sequence[str] = ALL_COLUMNS, key: str | None = None) -> CellTable:
    """Return the cells of a table of objects.

    Parameters
    ----------
    table : pyarrow Table
        With the columns of ``objects.parquet``.
    columns : sequence of str
        Which of them are wanted.
    key : str, optional
        Of the field, for a table without a column that says it, as a review keeps it.
    """
    import pyarrow.compute as pc

    if "kind" in table.column_names:
        table = table.filter(pc.equal(table["kind"], "cell"))
    found = {name: table[name].to_numpy() for name in columns if name in table.column_names}
    if key is not None:
        return _table((key,), np.zeros(table.num_rows, np.int32), found, columns)
    named = table["key"].combine_chunks().dictionary_encode()
    return _table(tuple(named.dictionary.to_pylist()), named.indices.to_numpy().astype(np.int32), found, columns)


def cells_csv(table: CellTable) -> str:
    """Return a table as CSV with a heading: field, cell, position in pixels of the image, figures, note."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    figures = [one.column for one in CELL_FIGURES]
    names = ["label", "centroid_y_px", "centroid_x_px", *figures]
    writer.writerow(["field", *names, "is_measured", "note"])
    columns = [table.columns[name].tolist() for name in names]
    for row, key in enumerate(table.keys):
        cells = ["" if value != value else value for value in (column[row] for column in columns)]  # noqa: PLR0124  (NaN)
        writer.writerow([key, *cells, bool(table.is_measured[row]), table.note(row)])
    return text.getvalue()
