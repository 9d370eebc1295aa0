"""The table of objects of a field whose masks were corrected, as a file that a review event speaks of."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from msc_vision.errors import InvalidDataError
from msc_vision.review.events import ReviewEvent
from msc_vision.review.log import read_blob


def objects_bytes(objects: NDArray[np.void]) -> bytes:
    """Return a table of objects as Parquet: the columns of ``objects.parquet`` in their order."""
    columns = {name: pa.array(np.ascontiguousarray(objects[name])) for name in objects.dtype.names or ()}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    return buffer.getvalue()


def read_kept_objects(run: Path, event: ReviewEvent) -> pa.Table:
    """Return the table of objects that an event ``measured`` speaks of.

    Raises
    ------
    InvalidDataError
        If it names none, or the file is missing, was altered or cannot be read.
    """
    after: Any = event.after or {}
    if not after.get("objects") or not after.get("objects_sha256"):
        raise InvalidDataError(f"Event {event.event_id} names no table of objects.")
    content = read_blob(run, after["objects"], after["objects_sha256"])
    try:
        return pq.read_table(pa.BufferReader(content))
    except (OSError, pa.ArrowException) as err:
        raise InvalidDataError(f"{run / after['objects']}: cannot be read as a table ({err}).") from err
