"""The measured cells of a vessel: read from the run, and those that lie furthest from its middle."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msc_vision.errors import InvalidDataError
from msc_vision.morphology.profile import weighted_quantiles
from msc_vision.records import ManifestRow
from msc_vision.report.content import VesselEntry
from msc_vision.report.words import rounded

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of cells that a page shows: its column, its words, and the ends of its axis."""

    column: str
    name: str
    unit: str
    low: float
    high: float

    def told(self, value: float) -> str:
        """Return a value with three digits and its unit."""
        return f"{rounded(value)} {self.unit}".strip()


FIGURES = (
    Figure("medial_aspect_ratio", "Length over width", "", 1.0, 50.0),
    Figure("area_um2", "Area", "µm²", 100.0, 30_000.0),
    Figure("width_um", "Mean width", "µm", 4.0, 100.0),
)
"""What is shown of cells. The ends are those of the drawing, the same on every page; they are no limits of biology."""

DEVIATES_FROM = 2.0
"""Robust standard deviations, of logarithms, from which a cell is shown as far from the others (own)."""
CELLS_MIN = 15
"""Cells from which a spread between them can be stated (own)."""
_MAD_TO_SD = 1.4826
_BOX = ("y0_px", "y1_px", "x0_px", "x1_px")
_FLAGS = ("kind", "is_measured", "border_weight")


@dataclass(frozen=True, slots=True)
class Cells:
    """The measured cells of a vessel.

    Attributes
    ----------
    keys : (n,) array of str
        Field of each cell.
    labels : (n,) int64 array
        Number of the cell in its field.
    boxes : (n, 4) int64 array
        y0, y1, x0, x1 in native pixels.
    weights : (n,) float array
        How often a cell counts, for those of its size that the border cuts.
    values : (n, 3) float array
        `FIGURES`.
    """

    keys: NDArray[np.object_]
    labels: NDArray[np.int64]
    boxes: NDArray[np.int64]
    weights: F64
    values: F64

    def __len__(self) -> int:
        return int(self.labels.size)


def read_cells(run: Path, vessel: VesselEntry) -> Cells | None:
    """Return the measured cells of a vessel's scored fields of its latest time point; None where none were measured.

    Raises
    ------
    InvalidDataError
        If a table of objects cannot be read.
    """
    from msc_vision.batch.store import objects_part

    parts = []
    for entry in vessel.layers:
        row = ManifestRow("", vessel.vessel_id, vessel.type_id, entry.layer)
        path = run / objects_part(row)
        if entry.scored and path.is_file():
            parts.append(_read_part(path, [one.key for one in entry.scored]))
    known = [part for part in parts if part is not None]
    if not known:
        return None
    return Cells(*(np.concatenate([getattr(part, name) for part in known]) for name in Cells.__slots__))


def _read_part(path: Path, keys: Sequence[str]) -> Cells | None:
    """Return the measured cells of one layer; None where its table has no shapes, as those of older versions have."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ["key", "label", *_FLAGS, *_BOX, *(figure.column for figure in FIGURES)]
    try:
        file = pq.ParquetFile(path)
        if not set(names) <= set(file.schema_arrow.names):
            return None
        table = file.read(columns=names)
    except (OSError, pa.ArrowException) as err:
        raise InvalidDataError(f"{path}: cannot be read as a table ({err}); check with `msc-vision verify`.") from err
    column: dict[str, NDArray[Any]] = {name: table[name].to_numpy() for name in names}
    values = np.stack([column[figure.column] for figure in FIGURES], axis=1).astype(np.float64)
    chosen = column["is_measured"].astype(bool) & (column["kind"] == "cell") & np.isin(column["key"], keys)
    chosen &= (values > 0).all(axis=1)  # neither is NaN
    boxes = np.stack([column[name] for name in _BOX], axis=1)
    return Cells(
        column["key"][chosen],
        column["label"][chosen].astype(np.int64),
        boxes[chosen].astype(np.int64),
        column["border_weight"][chosen].astype(np.float64),
        values[chosen],
    )


@dataclass(frozen=True, slots=True)
class DeviatingCell:
    """A cell far from the middle: in `Cells` its place, and per figure its value over that of the middle."""

    index: int
    deviation: float
    figure: int
    over_middle: tuple[float, ...]


def deviating_cells(cells: Cells, n: int, expected: F64 | None = None) -> tuple[DeviatingCell, ...]:
    """Return up to ``n`` cells that lie furthest from the middle, the furthest first.

    Half of them lie above the middle in the figure that sets them apart, half below, as far as there are so many.

    A cell lies as far off as the one of its figures that lies furthest: the distance of its logarithm from the middle,
    in robust standard deviations of the vessel (1.4826 times the weighted median of distances from its own median).

    Parameters
    ----------
    cells : Cells
    n : int
    expected : (3,) float array, optional
        The middle of each figure; without it the weighted median of the vessel.
    """
    if len(cells) < CELLS_MIN:
        return ()
    logs = np.log(cells.values)
    own = medians(logs, cells.weights)
    spread = _MAD_TO_SD * medians(np.abs(logs - own), cells.weights)
    centre = own if expected is None else np.log(expected)
    far = np.divide(np.abs(logs - centre), spread, out=np.zeros_like(logs), where=spread > 0)
    furthest = far.max(axis=1)
    order = np.lexsort((cells.labels, cells.keys.astype(str), -furthest))
    ratios = np.exp(logs - centre)
    found = [
        DeviatingCell(int(i), float(furthest[i]), int(far[i].argmax()), tuple(ratios[i].tolist()))
        for i in order
        if furthest[i] >= DEVIATES_FROM
    ]
    return _both_ways(found, n)


def _both_ways(found: Sequence[DeviatingCell], n: int) -> tuple[DeviatingCell, ...]:
    above = [one for one in found if one.over_middle[one.figure] > 1]
    below = [one for one in found if one.over_middle[one.figure] <= 1]
    n_above = min(len(above), max(n - n // 2, n - len(below)))
    chosen = {one.index for one in (*above[:n_above], *below[: n - n_above])}
    return tuple(one for one in found if one.index in chosen)


def medians(values: F64, weights: F64) -> F64:
    """Return the weighted median of each column of (n, p) values, (p,)."""
    found = []
    for column in values.T:
        order = np.argsort(column, kind="stable")
        found.append(weighted_quantiles(column[order], weights[order], (50,))[0])
    return np.array(found)
