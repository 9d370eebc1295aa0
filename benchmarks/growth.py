"""Growth forecasts on simulated cultures of other mechanisms: is the window met in time, and are intervals honest?"""

import math
import multiprocessing
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeWarning, curve_fit

from benchmarks.findings import exact_interval
from benchmarks.growth_cultures import STEP_H, Bank, Culture, Errors, Truth, draw_bank, draw_cultures
from benchmarks.setup import Setup
from benchmarks.tables import Figure, Section, at_least, at_most, table
from msc_vision.errors import UndefinedResultError
from msc_vision.statistics.growth import GrowthPosterior, departure, fit_growth
from msc_vision.statistics.growth_prior import BankPrior, learn_prior, placeholder_prior
from msc_vision.statistics.growth_series import GrowthSeries, TimePoint

F64 = NDArray[np.float64]

FRESH_SEED = 20_261_701
"""Judged once; model, priors and settings were chosen on banks of the seeds 1 to 99."""
N_BANKS, N_OTHER_BANKS, N_CULTURES = 24, 8, 10
LOW, HIGH = 70.0, 90.0
MARGIN_H, AHEAD_H = 6.0, 24.0
LEARNED_FROM = (5, 20)
CUTS = {"entry": (LOW, 0.5), "leaving": (HIGH, 0.5), "late": (LOW, 0.75)}
"""Until which part of the time to which confluency scans are known."""
MAIN = "learned from 20"
LOGISTIC = "logistic, least squares"
SISTERS = "sister cultures (best possible)"
N_SISTERS = 1500
INTRO = """Simulated cultures whose truth is not the fitted model: cells that attach, cycle, spread, overlap and hold
each other up, with used medium and re-feeds (70 % of the banks), scans every 8 to 24 h of which one in seven is missed,
read with an error of 2 to 5 points at every density, whose stated size is itself right within 20 %. The window is
70-90 %. *First half*: the scans until half of the true time to entry; also given: until half of the true time to
leaving, and three quarters of the time to entry. A culture is one of its bank, with 10 % spread of cycle times, 30
% of lags, 15 % of seeding (assumed). Priors are learned from other cultures of the same bank, scanned alike until
12 h after they left the window. *Sister cultures* is what nobody can have: 1,500 cultures of the same bank from the
simulator itself, weighted by how well their true courses agree with the scans; what it misses, the scans do not
tell. Exact 95 % intervals in brackets; cultures of a bank share its luck, so these are somewhat too narrow. Fresh
seeds, judged once. No real culture has been forecast."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one way of forecasting made of one culture; NaN where it gave nothing."""

    method: str
    half: str
    truth_h: float
    error_points: float
    n_scans: int
    miss_h: float
    entry_covered: float
    entry_width_h: float
    ahead_covered: float
    ahead_miss: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Job:
    """One bank."""

    truth: Truth
    errors: Errors
    seed: tuple[int, int]
    n_cultures: int


@dataclass(frozen=True, slots=True)
class Alarms:
    """P-values of whole courses, of usual cultures and of slow ones."""

    usual: tuple[float, ...]
    slow: tuple[float, ...]


def measure(setup: Setup) -> Section:
    """Judge the forecasts on fresh seeds; a trial has one of development."""
    seed, n_banks, n_others = (1, 2, 1) if setup.is_trial else (FRESH_SEED, N_BANKS, N_OTHER_BANKS)
    outcomes, alarms = judged("cells", "even", seed, n_banks)
    finer, _ = judged("cells", "binomial", seed + 1, n_others)
    others, _ = judged("gompertz", "even", seed + 2, n_others)
    return Section(
        " ".join(INTRO.split()),
        (*_figures(outcomes), *_alarm_figures(alarms)),
        (
            _methods("From the scans until half of the time to entry", outcomes, "entry"),
            _methods("From the scans until half of the time to leaving", outcomes, "leaving"),
            _methods("From the scans until three quarters of the time to entry", outcomes, "late"),
            _methods("Errors that shrink near 0 and 100 %, until half of the time to entry", finer, "entry"),
            _methods("Gompertz curves instead of cells, until half of the time to entry", others, "entry"),
            _by_case(outcomes),
        ),
    )


def judged(truth: Truth, errors: Errors, seed: int, n_banks: int) -> tuple[list[Outcome], list[Alarms]]:
    """Return what each way of forecasting made of each culture, and the p-values of courses by bank."""
    jobs = [Job(truth, errors, (seed, i), N_CULTURES) for i in range(n_banks)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(judge_bank, jobs))
    return [outcome for outcomes, _ in found for outcome in outcomes], [alarms for _, alarms in found]


def judge_bank(job: Job) -> tuple[list[Outcome], Alarms]:
    """Simulate a bank, learn from its past, forecast its new cultures."""
    rng = np.random.default_rng(job.seed)
    bank = draw_bank(rng, job.errors)
    past = [culture for c in draw_cultures(job.truth, bank, max(LEARNED_FROM), rng) if (culture := _complete(c))]
    priors = {"placeholder": placeholder_prior()}
    priors |= {f"learned from {n}": learn_prior(past[:n], source="simulated") for n in LEARNED_FROM if past[:n]}
    sisters = draw_cultures(job.truth, bank, N_SISTERS, np.random.default_rng((*job.seed, 1)))
    outcomes = []
    for culture in draw_cultures(job.truth, bank, job.n_cultures, rng):
        if math.isfinite(culture.reaches_h(LOW)):
            outcomes += _judge_culture(culture, bank, priors, sisters)
    return outcomes, _alarms(job, bank, priors[f"learned from {max(LEARNED_FROM)}"], rng)


def _complete(culture: Culture) -> GrowthSeries | None:
    return culture.until(min(culture.reaches_h(HIGH), 300.0) + 12)


def _judge_culture(
    culture: Culture, bank: Bank, priors: dict[str, BankPrior], sisters: Sequence[Culture]
) -> list[Outcome]:
    outcomes = []
    for half, (percent, part) in CUTS.items():
        known_h = part * culture.reaches_h(percent)
        series = culture.until(known_h)
        if series is None or not math.isfinite(known_h):
            continue
        for name, prior in priors.items():
            outcomes.append(_bayesian(name, half, culture, bank, series, prior))
        outcomes.append(_plain(half, culture, bank, series))
        outcomes.append(_best_possible(half, culture, bank, series, sisters))
    return outcomes


def _bayesian(name: str, half: str, culture: Culture, bank: Bank, series: GrowthSeries, prior: BankPrior) -> Outcome:
    begin = time.perf_counter()
    truth_h, ahead = culture.reaches_h(LOW), series.last_h + AHEAD_H
    try:
        growth: GrowthPosterior = fit_growth(series, prior)
    except UndefinedResultError:
        return Outcome(name, half, truth_h, bank.error_points, len(series.points), *([math.nan] * 6))
    entered, band = growth.window(LOW, HIGH).entered, growth.forecast(ahead)
    low = entered.low_h if entered.low_h is not None else math.inf
    high = entered.high_h if entered.high_h is not None else math.inf
    return Outcome(
        method=name,
        half=half,
        truth_h=truth_h,
        error_points=bank.error_points,
        n_scans=len(series.points),
        miss_h=(entered.median_h if entered.median_h is not None else math.inf) - truth_h,
        entry_covered=float(low <= truth_h <= high),
        entry_width_h=high - low if math.isfinite(low) else math.inf,
        ahead_covered=float(band.low_percent[0] <= culture.at(ahead) <= band.high_percent[0]),
        ahead_miss=float(band.mean_percent[0] - culture.at(ahead)),
        seconds=time.perf_counter() - begin,
    )


def _plain(half: str, culture: Culture, bank: Bank, series: GrowthSeries) -> Outcome:
    """Forecast with a plain logistic curve; where it never enters the window, or is none, it has missed by infinity."""
    truth_h, ahead_h = culture.reaches_h(LOW), series.last_h + AHEAD_H
    miss_h, ahead_miss = math.inf, math.nan
    if (found := least_squares_logistic(series.points)) is not None:
        start, doubling_h, capacity = found
        ahead_miss = float(logistic(np.array([ahead_h]), start, doubling_h, capacity)[0]) - culture.at(ahead_h)
        if capacity > LOW:
            entry_h = doubling_h * math.log2((capacity / start - 1) / (capacity / LOW - 1)) if start < LOW else 0.0
            miss_h = entry_h - truth_h
    rest = (math.nan, math.nan, math.nan, ahead_miss, math.nan)
    return Outcome(LOGISTIC, half, truth_h, bank.error_points, len(series.points), miss_h, *rest)


def least_squares_logistic(points: Sequence[TimePoint]) -> tuple[float, float, float] | None:
    """Return start (percent), doubling time (h) and capacity (percent) of a logistic curve, None if none is found.

    The yardstick: no prior, no lag, no uncertainty; of fewer than three points none is asked for.
    """
    if len(points) < 3:
        return None
    hours, percents = np.array([(p.elapsed_h, p.confluency_percent) for p in points], np.float64).T
    start = (float(np.clip(percents[0], 1.0, 99.0)), 36.0, 95.0)
    bounds = ([1e-3, 1, 1], [100, 1e4, 100])
    tight = {"xtol": 1e-13, "ftol": 1e-13, "gtol": 1e-13, "max_nfev": 5000}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)  # about the covariance, which is not used
        try:
            found, _ = curve_fit(logistic, hours, percents, start, bounds=bounds, **tight)
        except RuntimeError:  # the search has not ended
            return None
    return float(found[0]), float(found[1]), float(found[2])


def logistic(hours: F64, start: float, doubling_time_h: float, capacity: float) -> F64:
    """Return a logistic curve in percent."""
    return capacity / (1 + (capacity / start - 1) * np.exp2(-hours / doubling_time_h))


def _best_possible(
    half: str, culture: Culture, bank: Bank, series: GrowthSeries, sisters: Sequence[Culture]
) -> Outcome:
    """Forecast by the true courses of sister cultures, each weighted by the likelihood of the scans."""
    courses = np.stack([sister.percent for sister in sisters])
    log_weights = np.zeros(len(sisters))
    for point in series.points:
        there = courses[:, round(point.elapsed_h / STEP_H)]
        log_weights -= 0.5 * ((point.confluency_percent - there) / point.standard_error) ** 2
    weights = np.exp(log_weights - log_weights.max())
    truth_h, ahead_h = culture.reaches_h(LOW), series.last_h + AHEAD_H
    low, median, high = _quantiles(np.array([sister.reaches_h(LOW) for sister in sisters]), weights)
    ahead = courses[:, round(ahead_h / STEP_H)]
    least, _, most = _quantiles(ahead, weights)
    return Outcome(
        method=SISTERS,
        half=half,
        truth_h=truth_h,
        error_points=bank.error_points,
        n_scans=len(series.points),
        miss_h=median - truth_h,
        entry_covered=float(low <= truth_h <= high),
        entry_width_h=high - low,
        ahead_covered=float(least <= culture.at(ahead_h) <= most),
        ahead_miss=float(np.average(ahead, weights=weights)) - culture.at(ahead_h),
        seconds=math.nan,
    )


def _quantiles(values: F64, weights: F64) -> tuple[float, float, float]:
    order = np.argsort(values)
    share = np.cumsum(weights[order]) / weights.sum()
    places = np.minimum(np.searchsorted(share, (0.025, 0.5, 0.975)), values.size - 1)
    low, median, high = values[order][places]
    return float(low), float(median), float(high)


def _alarms(job: Job, bank: Bank, prior: BankPrior, rng: np.random.Generator) -> Alarms:
    """Return p-values of two usual cultures and of two whose cells cycle half as fast, until half of their course."""
    found = []
    for change in (1.0, 2.0):
        series = [
            c.until(min(c.reaches_h(HIGH), 300.0) / 2) for c in draw_cultures(job.truth, bank, 2, rng, change=change)
        ]
        found.append(tuple(departure(one, prior).p_value for one in series if one is not None))
    return Alarms(*found)


def _figures(outcomes: Sequence[Outcome]) -> tuple[Figure, ...]:
    main = [o for o in outcomes if o.method == MAIN and o.half == "entry"]
    plain = [o for o in outcomes if o.method == LOGISTIC and o.half == "entry"]
    best = [o for o in outcomes if o.method == SISTERS and o.half == "entry"]
    within, plain_within = _share(main, _is_near), _share(plain, _is_near)
    entry, ahead = _share(main, lambda o: o.entry_covered == 1), _share(main, lambda o: o.ahead_covered == 1)
    seconds = np.array([o.seconds for o in outcomes if math.isfinite(o.seconds)])
    return (
        at_least(f"entry within ±{MARGIN_H:g} h, prior {MAIN}", within, 80, " %", digits=0),
        Figure("its interval", _interval(main, _is_near)),
        Figure(
            "the same, best possible (sister cultures)", f"{_share(best, _is_near):.0f} % ({_interval(best, _is_near)})"
        ),
        Figure("entry times covered by their 95 % interval", f"{entry:.1f} %", "93-97 %", 93 <= entry <= 97),
        Figure("its interval", _interval(main, lambda o: o.entry_covered == 1)),
        Figure("confluency 24 h ahead covered by its 95 % interval", f"{ahead:.1f} %", "93-97 %", 93 <= ahead <= 97),
        Figure("its interval", _interval(main, lambda o: o.ahead_covered == 1)),
        Figure(
            "within ±6 h, less that of a plain logistic fit",
            f"{within - plain_within:+.0f} points",
            "> 0",
            within > plain_within,
        ),
        Figure("cultures without a forecast", str(sum(math.isnan(o.miss_h) for o in outcomes))),
        at_most("fit and window, median", 1e3 * float(np.median(seconds)), 200, " ms", digits=0),
        Figure("fit and window, slowest of 100", f"{1e3 * float(np.quantile(seconds, 0.99)):.0f} ms"),
    )


def _alarm_figures(alarms: Sequence[Alarms]) -> tuple[Figure, ...]:
    figures = []
    for name, values in (
        ("usual cultures said to depart (p below 0.05)", [p for one in alarms for p in one.usual]),
        ("cultures that cycle half as fast said to depart", [p for one in alarms for p in one.slow]),
    ):
        hits = sum(p < 0.05 for p in values)
        low, high = exact_interval(hits, len(values))
        figures.append(Figure(name, f"{hits} of {len(values)} ({low:.0%}-{high:.0%})"))
    return tuple(figures)


def _methods(title: str, outcomes: Sequence[Outcome], half: str) -> str:
    rows = []
    for method in dict.fromkeys(o.method for o in outcomes):
        own = [o for o in outcomes if o.method == method and o.half == half]
        misses, widths = np.array([o.miss_h for o in own]), np.array([o.entry_width_h for o in own])
        is_plain = method == LOGISTIC
        rows.append(
            (
                method,
                len(own),
                f"{_share(own, _is_near):.0f} % ({_interval(own, _is_near)})",
                f"{np.nanmedian(np.abs(misses)):.1f} h",
                f"{np.nanmedian(misses):+.1f} h",
                "" if is_plain else f"{_share(own, lambda o: o.entry_covered == 1):.1f} %",
                "" if is_plain else f"{np.nanmedian(widths):.0f} h",
                "" if is_plain else f"{_share(own, lambda o: o.ahead_covered == 1):.1f} %",
                f"{np.nanmedian(np.abs([o.ahead_miss for o in own])):.1f}",
            )
        )
    header = ("prior", "cultures", "entry within ±6 h", "median miss", "bias", "entry covered", "median width")
    header += ("24 h ahead covered", "median miss, points")
    return f"{title}:\n\n{table(header, rows)}"


def _by_case(outcomes: Sequence[Outcome]) -> str:
    """Show where the misses are: by the error of a reading and by how far ahead the window lies."""
    main = [o for o in outcomes if o.method == MAIN and o.half == "entry"]
    cases: list[tuple[str, Callable[[Outcome], bool]]] = [
        ("errors of 2-3 points", lambda o: o.error_points < 3),
        ("errors of 3-4 points", lambda o: 3 <= o.error_points < 4),
        ("errors of 4-5 points", lambda o: o.error_points >= 4),
        ("entry before 120 h", lambda o: o.truth_h < 120),
        ("entry at 120-180 h", lambda o: 120 <= o.truth_h < 180),
        ("entry from 180 h on", lambda o: o.truth_h >= 180),
        ("1-2 scans", lambda o: o.n_scans <= 2),
        ("3-5 scans", lambda o: 3 <= o.n_scans <= 5),
        ("6 scans or more", lambda o: o.n_scans >= 6),
    ]
    rows = []
    for name, is_case in cases:
        own = [o for o in main if is_case(o)]
        if own:
            median = float(np.nanmedian(np.abs([o.miss_h for o in own])))
            covered = _share(own, lambda o: o.entry_covered == 1)
            rows.append(
                (
                    name,
                    len(own),
                    f"{_share(own, _is_near):.0f} % ({_interval(own, _is_near)})",
                    f"{median:.1f} h",
                    f"{covered:.0f} %",
                )
            )
    header = ("case", "cultures", "entry within ±6 h", "median miss", "entry covered")
    return f"Where the misses are (prior {MAIN}, until half of the time to entry):\n\n{table(header, rows)}"


def _is_near(outcome: Outcome) -> bool:
    return abs(outcome.miss_h) <= MARGIN_H


def _share(outcomes: Sequence[Outcome], is_hit: Callable[[Outcome], bool]) -> float:
    return 100 * sum(map(is_hit, outcomes)) / len(outcomes) if outcomes else math.nan


def _interval(outcomes: Sequence[Outcome], is_hit: Callable[[Outcome], bool]) -> str:
    low, high = exact_interval(sum(map(is_hit, outcomes)), len(outcomes))
    return f"{low:.0%}-{high:.0%}"
