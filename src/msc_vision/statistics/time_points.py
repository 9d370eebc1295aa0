"""Which pictures of a vessel belong to its latest time point: an estimate is of one moment, never of several days."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from msc_vision.io.manifest_files import parse_time
from msc_vision.records import ManifestRow

GAP_H = 4.0
"""Hours without a picture that part two time points: a stack is imaged within hours, cells double in a day or more."""


def latest_keys(rows: Mapping[str, ManifestRow]) -> frozenset[str]:
    """Return which fields of one vessel belong to its latest time point.

    Going back from the newest picture, the time point ends at the first pause longer than `GAP_H`, on whatever layer;
    of a place that was imaged several times since, only the newest picture counts. Whether a picture could be scored
    plays no part: an older one never stands in for a newer that failed. Pictures without a time always belong to it,
    because nothing shows that they do not.

    Parameters
    ----------
    rows : mapping
        Manifest row of each field, by the key of the field. A time without a zone is taken as UTC.
    """
    times = {key: time for key, row in rows.items() if (time := acquired_utc(row)) is not None}
    start = _start_of_latest(times.values())
    newest: dict[tuple[object, ...], tuple[datetime, str]] = {}
    for key, time in times.items():
        place = _place(key, rows[key])
        if start is not None and time >= start:
            newest[place] = max(newest.get(place, (time, key)), (time, key))
    return frozenset(rows.keys() - times.keys()) | {key for _, key in newest.values()}


def time_points(rows: Mapping[str, ManifestRow]) -> tuple[frozenset[str], ...]:
    """Return which fields of one vessel belong together in time, the earliest first.

    Time points lie more than `GAP_H` apart, as in `latest_keys`. Fields without a time cannot be placed and are left
    out, unless no field has one: then all are of one time point.
    """
    times = sorted((time, key) for key, row in rows.items() if (time := acquired_utc(row)) is not None)
    if not times:
        return (frozenset(rows),) if rows else ()
    groups: list[list[str]] = [[]]
    for i, (time, key) in enumerate(times):
        if i and time - times[i - 1][0] > timedelta(hours=GAP_H):
            groups.append([])
        groups[-1].append(key)
    return tuple(frozenset(group) for group in groups)


def earlier_keys(rows: Mapping[str, ManifestRow]) -> dict[str, str]:
    """Return for fields of one vessel that were pictured before at the same place, which field that was, the last one.

    Parameters
    ----------
    rows : mapping
        Manifest row of each field, by the key of the field; those without a time have none before them.
    """
    timed = sorted((time, key) for key, row in rows.items() if (time := acquired_utc(row)) is not None)
    last: dict[tuple[object, ...], str] = {}
    found = {}
    for _, key in timed:
        place = _place(key, rows[key])
        if place in last:
            found[key] = last[place]
        last[place] = key
    return found


def acquired_utc(row: ManifestRow) -> datetime | None:
    """Return when a picture was taken, None if its row does not tell."""
    time = parse_time(row.acquired_at) if row.acquired_at is not None else None
    if time is None:
        return None
    return time.astimezone(UTC) if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _start_of_latest(times: Iterable[datetime]) -> datetime | None:
    """Return the oldest time that is reached from the newest without a pause longer than `GAP_H`."""
    start: datetime | None = None
    for time in sorted(times, reverse=True):
        if start is not None and start - time > timedelta(hours=GAP_H):
            break
        start = time
    return start


def _place(key: str, row: ManifestRow) -> tuple[object, ...]:
    """Return what makes two pictures of a layer one place: the field's name, else its position; else none is alike."""
    if row.field is not None:
        return row.layer, "field", row.field
    if row.y_um is not None and row.x_um is not None:
        return row.layer, "position", round(row.y_um), round(row.x_um)
    return row.layer, "key", key
