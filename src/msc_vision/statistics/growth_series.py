"""The time points of one vessel, as growth is fitted to them: hours, confluency, standard error, and what was done."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Literal

import numpy as np
from scipy.special import ndtri

from msc_vision.errors import InvalidArgumentError, InvalidDataError

EventKind = Literal["refeed", "passage"]
Origin = Literal["seeding", "first scan"]
SAME_TIME_H = 1 / 60
"""Scans less than a minute apart are two readings of one moment."""
Z95 = float(ndtri(0.975))


@dataclass(frozen=True, slots=True)
class TimePoint:
    """What one scan read of a vessel.

    Attributes
    ----------
    elapsed_h : float
        Hours since the origin of its series.
    confluency_percent : float
        0 to 100.
    standard_error : float
        Of the confluency, in points; what the roll-up gives, without the scatter between scans.
    """

    elapsed_h: float
    confluency_percent: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class CultureEvent:
    """Something done to the culture: ``refeed`` is a change of medium, ``passage`` ends it."""

    elapsed_h: float
    kind: EventKind


@dataclass(frozen=True, slots=True)
class Scan:
    """What one run read of a vessel, by the clock.

    Attributes
    ----------
    acquired_at : datetime
        With a zone; without one it is taken as UTC, and the series says so.
    confluency_percent : float
    standard_error : float
        In points; `standard_error_of` gives it for an interval.
    sequence : int or None
        Number of the scan where scans were numbered: then the clock must agree.
    """

    acquired_at: datetime
    confluency_percent: float
    standard_error: float
    sequence: int | None = None


@dataclass(frozen=True, slots=True)
class GrowthSeries:
    """Time points of one culture between seeding and harvest, in order, with what was done to it.

    Build it with `growth_series` or `series_of_scans`, which check it.

    Attributes
    ----------
    points : tuple of TimePoint
    refeeds_h : tuple of float
        Changes of medium, hours since the origin.
    ends_h : float or None
        Hour of the passage that ends the culture, None if none is known.
    origin : "seeding" or "first scan"
        What hour 0 is.
    notes : tuple of str
        What was assumed, full sentences.
    """

    points: tuple[TimePoint, ...]
    refeeds_h: tuple[float, ...] = ()
    ends_h: float | None = None
    origin: Origin = "seeding"
    notes: tuple[str, ...] = ()

    @property
    def last_h(self) -> float:
        """Hour of the last scan."""
        return self.points[-1].elapsed_h


def standard_error_of(interval: tuple[float, float]) -> float:
    """Return the standard error that a 95 % interval of a confluency stands for, in points.

    Raises
    ------
    InvalidArgumentError
        If the interval is not two finite ends in order.
    """
    low, high = interval
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise InvalidArgumentError(f"A 95 % interval has two finite ends, the lower first; got {low} to {high}.")
    return (high - low) / (2 * Z95)


def growth_series(
    points: Iterable[TimePoint], events: Iterable[CultureEvent] = (), *, origin: Origin = "seeding"
) -> GrowthSeries:
    """Return the series of one culture; points are put in order of time.

    Raises
    ------
    InvalidArgumentError
        If there is no point, a number is missing or out of its range, two points have one time, or a passage lies
        before the last point.
    """
    ordered = tuple(sorted(points, key=lambda point: point.elapsed_h))
    if not ordered:
        raise InvalidArgumentError("Growth needs at least one time point; there is none.")
    for point in ordered:
        _check(point)
    for one, other in pairwise(ordered):
        if other.elapsed_h - one.elapsed_h < SAME_TIME_H:
            raise InvalidArgumentError(
                f"Two scans at {one.elapsed_h:g} h ({one.confluency_percent:g} and {other.confluency_percent:g} %): "
                "merge them with `merge_simultaneous` if they show the same vessel, or drop one."
            )
    refeeds_h, ends_h = _event_hours(events, ordered[-1].elapsed_h)
    return GrowthSeries(ordered, refeeds_h, ends_h, origin)


def merge_simultaneous(points: Iterable[TimePoint]) -> tuple[TimePoint, ...]:
    """Return points of which none share a time: those that do become their mean, weighted by 1 / standard error².

    Where they differ by more than their errors explain, the error of the mean is widened by the root of χ² over its
    degrees of freedom. A standard error of 0 is refused, because it leaves nothing to weight by.
    """
    merged: list[list[TimePoint]] = []
    for point in sorted(points, key=lambda point: point.elapsed_h):
        _check(point)
        if merged and point.elapsed_h - merged[-1][0].elapsed_h < SAME_TIME_H:
            merged[-1].append(point)
        else:
            merged.append([point])
    return tuple(group[0] if len(group) == 1 else _mean(group) for group in merged)


def series_of_scans(
    scans: Sequence[Scan],
    *,
    seeded_at: datetime | None = None,
    refeeds_at: Sequence[datetime] = (),
    passage_at: datetime | None = None,
) -> GrowthSeries:
    """Return the series of scans by the clock, compared in UTC; hour 0 is the seeding, else the first scan.

    Raises
    ------
    InvalidArgumentError
        As `growth_series`; also if some times have a zone and others none, or a scan lies before the seeding.
    InvalidDataError
        If numbered scans are not dated in the order of their numbers.
    """
    if not scans:
        raise InvalidArgumentError("Growth needs at least one scan; there is none.")
    times = [scan.acquired_at for scan in scans]
    others = [*refeeds_at, *(time for time in (seeded_at, passage_at) if time is not None)]
    naive = [time for time in (*times, *others) if time.tzinfo is None]
    if 0 < len(naive) < len(times) + len(others):
        raise InvalidArgumentError(f"{naive[0]} has no time zone and other times have one: give all of them a zone.")
    _check_sequence(scans)
    start = _utc(seeded_at) if seeded_at is not None else min(_utc(time) for time in times)
    if (first := min(times, key=_utc)) and _utc(first) < start:
        raise InvalidArgumentError(f"The scan at {first} lies before the seeding at {seeded_at}.")
    points = [TimePoint(_hours(s.acquired_at, start), s.confluency_percent, s.standard_error) for s in scans]
    events = [CultureEvent(_hours(time, start), "refeed") for time in refeeds_at]
    if passage_at is not None:
        events.append(CultureEvent(_hours(passage_at, start), "passage"))
    series = growth_series(points, events, origin="seeding" if seeded_at is not None else "first scan")
    return replace(series, notes=_notes(bool(naive), seeded_at))


def _notes(is_naive: bool, seeded_at: datetime | None) -> tuple[str, ...]:
    notes = []
    if is_naive:
        notes.append("The times have no zone and were taken as UTC.")
    if seeded_at is None:
        notes.append("The time of seeding is not known: hours count from the first scan.")
    return tuple(notes)


def _check(point: TimePoint) -> None:
    where = f"the point at {point.elapsed_h:g} h" if point.elapsed_h is not None else "a point without a time"
    if point.elapsed_h is None or not (math.isfinite(point.elapsed_h) and point.elapsed_h >= 0):
        raise InvalidArgumentError(f"Hours count from 0 on and are finite; not so {where}.")
    percent, error = point.confluency_percent, point.standard_error
    if percent is None or not 0 <= percent <= 100:
        raise InvalidArgumentError(f"Confluency is 0 to 100 percent; {where} has {percent}.")
    if error is None or math.isnan(error):
        raise InvalidArgumentError(f"No standard error at {where}: give one, or `standard_error_of` its 95 % interval.")
    if not 0 <= error <= 100:
        raise InvalidArgumentError(f"A standard error is 0 to 100 points; {where} has {error:g}.")


def _event_hours(events: Iterable[CultureEvent], last_h: float) -> tuple[tuple[float, ...], float | None]:
    """Return the hours of the re-feeds and of the passage."""
    refeeds: list[float] = []
    passages: list[float] = []
    for event in events:
        if not math.isfinite(event.elapsed_h):
            raise InvalidArgumentError(f"The {event.kind} has no finite hour: {event.elapsed_h}.")
        (refeeds if event.kind == "refeed" else passages).append(event.elapsed_h)
    if passages and min(passages) <= last_h:
        raise InvalidArgumentError(
            f"The passage at {min(passages):g} h ends the culture, but there are points up to {last_h:g} h: give only "
            "the points and hours after it."
        )
    # medium changed at or before hour 0 is the medium that the culture began in
    return tuple(sorted(hour for hour in set(refeeds) if hour > 0)), min(passages, default=None)


def _mean(group: Sequence[TimePoint]) -> TimePoint:
    errors = np.array([point.standard_error for point in group])
    if (errors == 0).any():
        raise InvalidArgumentError(f"Scans at {group[0].elapsed_h:g} h cannot be merged: a standard error is 0.")
    values, weights = np.array([point.confluency_percent for point in group]), errors**-2.0
    mean = float(np.average(values, weights=weights))
    chi2 = float((weights * (values - mean) ** 2).sum()) / (len(group) - 1)
    return TimePoint(group[0].elapsed_h, mean, math.sqrt(max(1.0, chi2) / weights.sum()))


def _check_sequence(scans: Sequence[Scan]) -> None:
    numbered = sorted((scan for scan in scans if scan.sequence is not None), key=lambda scan: scan.sequence or 0)
    for one, other in pairwise(numbered):
        if _utc(other.acquired_at) < _utc(one.acquired_at):
            raise InvalidDataError(
                f"Time goes backwards: scan {other.sequence} is dated {other.acquired_at}, before scan {one.sequence} "
                f"at {one.acquired_at}."
            )


def _utc(time: datetime) -> datetime:
    return time.astimezone(UTC) if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _hours(time: datetime, start: datetime) -> float:
    return (_utc(time) - start).total_seconds() / 3600
