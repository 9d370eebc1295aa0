"""Simulated cultures for the growth benchmark, from mechanisms that the fitted model does not know.

``cells``: counts of cells that attach one after another, run through the stages of a cycle (gamma-distributed times),
divide, spread, overlap, hold each other up where they touch, use up the medium and lose an hour or more to each
change of it. ``gompertz``: a Gompertz curve after a fixed lag, with the same spread between cultures.
Within a bank, cultures differ in cycle time (10 %), lag (30 %), seeding (15 %) and cell area (5 %): assumed figures.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from msc_vision.statistics.growth_series import CultureEvent, GrowthSeries, TimePoint, growth_series

F64 = NDArray[np.float64]
Truth = Literal["cells", "gompertz"]
Errors = Literal["even", "binomial"]
"""Whether readings err alike at every density, or less near 0 and 100 %."""

STEP_H, LONGEST_H = 0.5, 400.0
N_STAGES, N_ATTACHING = 8, 3
SURFACE_CM2 = 2.0
ROUND_UM2 = 400.0
CULTURE_SD = {"cycle_h": 0.10, "lag_h": 0.30, "seeded_per_cm2": 0.15, "area_um2": 0.05}


@dataclass(frozen=True, slots=True)
class Bank:
    """What the cultures of a bank have in common."""

    cycle_h: float
    lag_h: float
    seeded_per_cm2: float
    area_um2: float
    overlap: float
    contact: float
    stop_percent: float
    medium_h: float
    refeed_every_h: float
    error_points: float
    errors: Errors


@dataclass(frozen=True, slots=True)
class Culture:
    """One simulated culture: its true course, and what scans read of it."""

    hours: F64
    percent: F64
    scans: tuple[TimePoint, ...]
    refeeds_h: tuple[float, ...]

    def at(self, hour: float) -> float:
        """Return the true confluency at an hour."""
        return float(np.interp(hour, self.hours, self.percent))

    def reaches_h(self, percent: float) -> float:
        """Return when a confluency is reached, inf if not in the time simulated."""
        above = np.flatnonzero(self.percent >= percent)
        return float(self.hours[above[0]]) if above.size else float("inf")

    def until(self, hour: float) -> GrowthSeries | None:
        """Return what was known at an hour: scans and re-feeds by then; None without a scan."""
        points = [scan for scan in self.scans if scan.elapsed_h <= hour]
        events = [CultureEvent(h, "refeed") for h in self.refeeds_h if h <= hour]
        return growth_series(points, events) if points else None


def draw_bank(rng: np.random.Generator, errors: Errors = "even") -> Bank:
    """Draw a bank."""
    return Bank(
        cycle_h=rng.uniform(24, 44),
        lag_h=rng.uniform(6, 24),
        seeded_per_cm2=float(np.exp(rng.uniform(np.log(2000), np.log(5000)))),
        area_um2=rng.uniform(1800, 2500),
        overlap=rng.uniform(2, 4),
        contact=rng.uniform(3, 8),
        stop_percent=rng.uniform(92, 99.5),
        medium_h=rng.uniform(150, 400),
        refeed_every_h=rng.uniform(60, 84) if rng.random() < 0.7 else 1e9,
        error_points=rng.uniform(2, 5),
        errors=errors,
    )


def draw_cultures(truth: Truth, bank: Bank, n: int, rng: np.random.Generator, *, change: float = 1.0) -> list[Culture]:
    """Draw cultures of a bank.

    Parameters
    ----------
    change : float
        Factor on the cycle time of these cultures, for one that is not as usual.
    """
    own = {name: getattr(bank, name) * np.exp(sd * rng.standard_normal(n)) for name, sd in CULTURE_SD.items()}
    own["cycle_h"] = own["cycle_h"] * change
    refeeds = [_refeeds(bank, rng) for _ in range(n)]
    hours = np.arange(0, LONGEST_H + STEP_H, STEP_H)
    course = _cells(bank, own, refeeds, hours, rng) if truth == "cells" else _gompertz(bank, own, hours)
    return [Culture(hours, course[i], _scans(hours, course[i], bank, rng), refeeds[i]) for i in range(n)]


def _refeeds(bank: Bank, rng: np.random.Generator) -> tuple[float, ...]:
    planned = np.arange(bank.refeed_every_h, LONGEST_H, bank.refeed_every_h)
    return tuple(float(hour) for hour in planned + rng.uniform(-6, 6, planned.size))


def _scans(hours: F64, percent: F64, bank: Bank, rng: np.random.Generator) -> tuple[TimePoint, ...]:
    """Scan every 8 to 24 h, miss one in seven; the stated error is itself right within 20 %."""
    times = np.cumsum(rng.uniform(8, 24, 60)) - rng.uniform(0, 8)
    times = times[(rng.random(times.size) > 1 / 7) & (times < LONGEST_H)]
    truth = np.interp(times, hours, percent)
    sd = np.full(times.size, bank.error_points)
    if bank.errors == "binomial":
        sd = np.maximum(1.0, 2 * bank.error_points * np.sqrt(truth / 100 * (1 - truth / 100)))
    read = np.clip(truth + sd * rng.standard_normal(times.size), 0, 100)
    stated = sd * np.exp(0.2 * rng.standard_normal(times.size))
    return tuple(TimePoint(float(t), float(y), float(e)) for t, y, e in zip(times, read, stated, strict=True))


def _gompertz(bank: Bank, own: dict[str, F64], hours: F64) -> F64:
    start = own["seeded_per_cm2"] * own["area_um2"] * 1e-6
    depth = np.log(bank.stop_percent / start)[:, None]
    rate = np.log(2) / own["cycle_h"][:, None] / depth * 1.8  # so that the middle of the course takes as long
    late = np.maximum(hours[None] - own["lag_h"][:, None], 0)
    return bank.stop_percent * np.exp(-depth * np.exp(-rate * late))


def _cells(
    bank: Bank, own: dict[str, F64], refeeds: list[tuple[float, ...]], hours: F64, rng: np.random.Generator
) -> F64:
    """Run the cells of each culture through attachment and cycle; return the percent covered, (n, n_hours)."""
    n = own["cycle_h"].size
    stages = np.zeros((n, N_ATTACHING + N_STAGES), np.int64)
    stages[:, 0] = rng.poisson(own["seeded_per_cm2"] * SURFACE_CM2)
    covered = stages[:, 0] * ROUND_UM2
    rates = np.concatenate(
        [
            np.repeat(N_ATTACHING / own["lag_h"][:, None], N_ATTACHING, axis=1),
            np.repeat(N_STAGES / own["cycle_h"][:, None], N_STAGES, axis=1),
        ],
        axis=1,
    )
    course, weather = np.zeros((n, hours.size)), np.zeros(n)
    surface_um2 = SURFACE_CM2 * 1e8
    for i, hour in enumerate(hours):
        part = covered / surface_um2
        part = part / (1 + part**bank.overlap) ** (1 / bank.overlap)
        course[:, i] = 100 * part
        weather = 0.98 * weather + 0.05 * np.sqrt(1 - 0.98**2) * rng.standard_normal(n)
        free = np.maximum(0, 1 - (100 * part / bank.stop_percent) ** bank.contact)
        speed = free * _medium(hour, refeeds, bank) * np.exp(weather)
        chance = -np.expm1(-rates * np.where(np.arange(rates.shape[1]) < N_ATTACHING, 1.0, speed[:, None]) * STEP_H)
        moved = rng.binomial(stages, chance)
        stages -= moved
        stages[:, 1:] += moved[:, :-1]
        stages[:, N_ATTACHING] += 2 * moved[:, -1]
        covered = covered + (stages.sum(axis=1) * own["area_um2"] - covered) * STEP_H / 8.0
    return course


def _medium(hour: float, refeeds: list[tuple[float, ...]], bank: Bank) -> F64:
    """Return what the age of the medium makes of the speed: it falls, and for 3 h after a change it is a third."""
    since = np.array([hour - max((h for h in own if h <= hour), default=0.0) for own in refeeds])
    is_changed = np.array([any(h <= hour for h in own) for own in refeeds])
    return np.where(is_changed & (since < 3), 1 / 3, 0.6 + 0.4 * np.exp(-since / bank.medium_h))
