"""Population doublings: how often the cells of a culture have divided, their sum over passages, and what caps leave.

One passage adds log2(harvested / attached) doublings, attached = seeded x viable part x attached part. Population
doubling level, not passage number, measures age. Standard errors are carried by their first order.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.special import ndtr

from msc_vision.errors import InvalidArgumentError, UndefinedResultError
from msc_vision.statistics.growth_series import Z95

LN2 = math.log(2)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with its standard error, both in the same unit."""

    value: float
    standard_error: float = 0.0


CERTAIN = Quantity(1.0)


@dataclass(frozen=True, slots=True)
class Doublings:
    """Population doublings.

    Attributes
    ----------
    doublings : float
        Below 0 where cells were lost.
    standard_error : float
    interval : tuple of float
        95 %, normal.
    words : str
        A full sentence for a person.
    """

    doublings: float
    standard_error: float
    interval: tuple[float, float]
    words: str


@dataclass(frozen=True, slots=True)
class CountAtTime:
    """Cells counted, or cells per area, at an hour."""

    elapsed_h: float
    count: Quantity


@dataclass(frozen=True, slots=True)
class DoublingRate:
    """Growth between counts: a straight line through their logarithms, weighted by their errors.

    Attributes
    ----------
    doublings : Doublings
        From the first to the last time, along the line.
    doublings_per_day, standard_error_per_day : float
    doubling_time_h : float or None
        None where the cells did not grow.
    doubling_time_interval_h : tuple of (float, float or None), or None
        95 %; the upper end is None where no growth is within the interval.
    """

    doublings: Doublings
    doublings_per_day: float
    standard_error_per_day: float
    doubling_time_h: float | None
    doubling_time_interval_h: tuple[float, float | None] | None


class Caps(BaseModel):
    """Limits of age, from the caller; None is no limit. There are no defaults of biology."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    passages: int | None = Field(None, ge=0, description="highest passage number allowed")
    doublings: float | None = Field(None, ge=0, description="highest population doubling level (PDL) allowed")
    hours: float | None = Field(None, ge=0, description="longest time in culture allowed, in all")


@dataclass(frozen=True, slots=True)
class Age:
    """How old a culture is.

    Attributes
    ----------
    passage : int
        Number of the passage it is in.
    pdl : Quantity
        Doublings at the start of this passage.
    hours : float
        In culture until the start of this passage.
    """

    passage: int
    pdl: Quantity
    hours: float = 0.0


@dataclass(frozen=True, slots=True)
class Remaining:
    """What the caps leave at the end of this passage.

    Attributes
    ----------
    pdl_at_end : Quantity
    passages, hours : int or None, float or None
        What is left until the cap; below 0 beyond it; None without a cap.
    doublings : Quantity or None
    within_pdl_probability : float or None
        That this passage ends at or below the PDL cap; normal errors.
    further_passages : int or None
        Whole passages like this one after it that keep all caps by their means; None without any cap that binds.
    words : str
        Full sentences for a person.
    """

    pdl_at_end: Quantity
    passages: int | None
    doublings: Quantity | None
    hours: float | None
    within_pdl_probability: float | None
    further_passages: int | None
    words: str


def population_doublings(
    seeded: Quantity, harvested: Quantity, *, viable: Quantity = CERTAIN, attached: Quantity = CERTAIN
) -> Doublings:
    """Return the doublings of one passage: log2 of harvested over attached cells.

    Parameters
    ----------
    seeded, harvested : Quantity
        Cells, both counted alike; or both per area.
    viable, attached : Quantity
        Parts of the seeded cells, above 0 up to 1, that were alive and that attached. 1 if not known: the doublings
        are then too few by what was lost.

    Raises
    ------
    InvalidArgumentError
        If a number is not above 0, a part is above 1, or a standard error is negative.
    """
    for name, number in (("seeded", seeded), ("harvested", harvested)):
        _check_positive(number, f"The {name} number of cells")
    for name, part in (("viable", viable), ("attached", attached)):
        _check_positive(part, f"The {name} part")
        if part.value > 1:
            raise InvalidArgumentError(f"The {name} part is at most 1, not {part.value:g}: percent were perhaps given.")
    doublings = math.log2(harvested.value / (seeded.value * viable.value * attached.value))
    relative = [q.standard_error / q.value for q in (seeded, harvested, viable, attached)]
    return _doublings(doublings, math.hypot(*relative) / LN2)


def doublings_from_densities(
    seeded_per_cm2: Quantity, harvested_per_cm2: Quantity, seeded_cm2: float, harvested_cm2: float
) -> Doublings:
    """Return the doublings between two densities on surfaces of given areas; errors as `population_doublings`."""
    for name, area in (("seeded", seeded_cm2), ("harvested", harvested_cm2)):
        _check_positive(Quantity(area), f"The {name} area in cm²")
    cells = [
        Quantity(density.value * area, density.standard_error * area)
        for density, area in ((seeded_per_cm2, seeded_cm2), (harvested_per_cm2, harvested_cm2))
    ]
    return population_doublings(*cells)


def doublings_over_time(counts: Sequence[CountAtTime]) -> DoublingRate:
    """Return the growth between counts of one culture, cells or cells per area.

    Points are weighted by 1 / error² of log2(count). Their errors are taken as given; where the points scatter by more
    than these, they are widened by the root of χ² over its degrees of freedom.

    Raises
    ------
    InvalidArgumentError
        If a count or an error is not above 0, or a time is not finite.
    UndefinedResultError
        If there are fewer than two different times.
    """
    for one in counts:
        _check_positive(one.count, f"The count at {one.elapsed_h:g} h")
        if not (one.count.standard_error > 0 and math.isfinite(one.elapsed_h)):
            raise InvalidArgumentError(f"The count at {one.elapsed_h:g} h needs a finite time and an error above 0.")
    hours = np.array([one.elapsed_h for one in counts], np.float64)
    if np.unique(hours).size < 2:
        raise UndefinedResultError(f"A rate of growth needs counts at two times or more; got {np.unique(hours).size}.")
    log2 = np.log2([one.count.value for one in counts])
    errors = np.array([one.count.standard_error / one.count.value / LN2 for one in counts])
    centred = (hours - hours.mean()) / 24
    line, covariance = np.polyfit(centred, log2, 1, w=1 / errors, cov="unscaled")
    spare = hours.size - 2
    excess = float((((log2 - np.polyval(line, centred)) / errors) ** 2).sum()) / spare if spare else 1.0
    rate, error = float(line[0]), math.sqrt(float(covariance[0, 0]) * max(1.0, excess))
    days = float(np.ptp(hours)) / 24
    time_h, time_interval = _doubling_time(rate, error)
    return DoublingRate(_doublings(rate * days, error * days), rate, error, time_h, time_interval)


def cumulative_doublings(passages: Sequence[Doublings], start: Quantity | None = None) -> Doublings:
    """Return the population doubling level after some passages.

    Parameters
    ----------
    passages : sequence of Doublings
        Errors are taken as independent; one counter that always reads too high cancels in each passage.
    start : Quantity, optional
        Level of the bank's vial; 0 by default.

    Raises
    ------
    InvalidArgumentError
        If there is no passage and no start, or the start is below 0.
    """
    if not passages and start is None:
        raise InvalidArgumentError("No passage and no start: the level is not known, which is not 0.")
    first = start or Quantity(0.0)
    _check_age(first)
    total = first.value + math.fsum(one.doublings for one in passages)
    return _doublings(total, math.hypot(first.standard_error, *(one.standard_error for one in passages)))


def remaining(age: Age, predicted: Quantity, hours: float, caps: Caps) -> Remaining:
    """Return what caps of age leave once this passage ends.

    Parameters
    ----------
    age : Age
        At the start of this passage.
    predicted : Quantity
        Doublings of this passage, expected or found.
    hours : float
        Length of this passage.
    caps : Caps

    Raises
    ------
    InvalidArgumentError
        If a number is missing, infinite, or below 0 where it cannot be (predicted doublings can).
    """
    _check_age(age.pdl)
    if not (math.isfinite(predicted.value) and 0 <= predicted.standard_error < math.inf):
        raise InvalidArgumentError(f"The predicted doublings are a number with an error from 0 on; got {predicted}.")
    if not (0 < hours < math.inf and 0 <= age.hours < math.inf and age.passage >= 0):
        raise InvalidArgumentError(f"Hours and passage count from 0 on, and a passage lasts; got {hours} h, {age}.")
    end = Quantity(age.pdl.value + predicted.value, math.hypot(age.pdl.standard_error, predicted.standard_error))
    passages = None if caps.passages is None else caps.passages - age.passage
    doublings = None if caps.doublings is None else Quantity(caps.doublings - end.value, end.standard_error)
    hours_left = None if caps.hours is None else caps.hours - age.hours - hours
    within = None if doublings is None else _chance_above_zero(doublings)
    further = _further(passages, doublings, hours_left, predicted.value, hours)
    words = _remaining_words(end, passages, doublings, hours_left, within, further)
    return Remaining(end, passages, doublings, hours_left, within, further, words)


def _doublings(doublings: float, error: float) -> Doublings:
    low, high = doublings - Z95 * error, doublings + Z95 * error
    words = f"{doublings:.2f} population doublings (95 %: {low:.2f} to {high:.2f})."
    if doublings < 0:
        words += " Fewer cells at the end than at the start: cells were lost, or a count is wrong."
    return Doublings(doublings, error, (low, high), words)


def _doubling_time(per_day: float, error: float) -> tuple[float | None, tuple[float, float | None] | None]:
    """Return the doubling time and its 95 % interval, from those of the rate."""
    if per_day <= 0:
        return None, None
    slowest = per_day - Z95 * error
    return 24 / per_day, (24 / (per_day + Z95 * error), 24 / slowest if slowest > 0 else None)


def _chance_above_zero(left: Quantity) -> float:
    if left.standard_error == 0:
        return float(left.value >= 0)
    return float(ndtr(left.value / left.standard_error))


def _further(
    passages: int | None, doublings: Quantity | None, hours_left: float | None, predicted: float, hours: float
) -> int | None:
    """Return how many whole passages like this one fit under every cap; doublings bind only where cells divide."""
    fits = [] if passages is None else [passages]
    if doublings is not None and (predicted > 0 or doublings.value < 0):
        fits.append(math.floor(doublings.value / predicted + 1e-9) if doublings.value >= 0 else -1)
    if hours_left is not None:
        fits.append(math.floor(hours_left / hours + 1e-9))
    return max(0, min(fits)) if fits else None


def _remaining_words(
    end: Quantity,
    passages: int | None,
    doublings: Quantity | None,
    hours_left: float | None,
    within: float | None,
    further: int | None,
) -> str:
    sentences = [
        f"This passage ends at a population doubling level of {end.value:.1f} ± {Z95 * end.standard_error:.1f}."
    ]
    if passages is not None:
        sentences.append(_left_words(passages, "passage" if abs(passages) == 1 else "passages"))
    if doublings is not None:
        sentences.append(f"{_left_words(round(doublings.value, 1), 'doublings')[:-1]} (within the cap: {within:.0%}).")
    if hours_left is not None:
        sentences.append(_left_words(round(hours_left), "h"))
    if further is not None:
        sentences.append(f"Passages like this one that still fit afterwards: {further}.")
    return " ".join(sentences)


def _left_words(left: float, unit: str) -> str:
    return f"{left:g} {unit} left to the cap." if left >= 0 else f"Beyond the cap by {-left:g} {unit}."


def _check_positive(number: Quantity, name: str) -> None:
    if not 0 < number.value < math.inf:
        raise InvalidArgumentError(f"{name} is above 0 and finite, not {number.value:g}.")
    if not 0 <= number.standard_error < math.inf:
        raise InvalidArgumentError(f"{name} has a standard error from 0 on, not {number.standard_error:g}.")


def _check_age(pdl: Quantity) -> None:
    if not (0 <= pdl.value < math.inf and 0 <= pdl.standard_error < math.inf):
        raise InvalidArgumentError(f"A population doubling level and its error count from 0 on; got {pdl}.")
