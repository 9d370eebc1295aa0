"""Growth curves as drawings: time points, the band of the forecast, the harvest window; and a page of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msc_vision.batch.courses import vessel_courses
from msc_vision.batch.forecasts import ForecastRequest, VesselForecast, forecast_course
from msc_vision.report.html import make_folder, render, write_page
from msc_vision.report.words import plain_time
from msc_vision.statistics.growth_series import Z95
from msc_vision.vessels import Catalogue

WIDTH_PX, HEIGHT_PX = 820, 300
LEFT_PX, TOP_PX, BOTTOM_PX, RIGHT_PX = 48, 12, 46, 12
SHOWN_AFTER_H = 96.0
_LABELS = 9


@dataclass(frozen=True, slots=True)
class Mark:
    """A scan: where it is, the ends of its 95 % interval, and its words."""

    x: float
    y: float
    top: float
    bottom: float
    title: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis and its label."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class GrowthDrawing:
    """Everything in pixels; the template only writes it down. Paths are SVG path data."""

    vessel_id: str
    sentences: tuple[str, ...]
    band: str = ""
    mean: str = ""
    window: tuple[float, float] = (0.0, 0.0)
    window_label: str = ""
    now_px: float = 0.0
    marks: tuple[Mark, ...] = ()
    x_ticks: tuple[Tick, ...] = ()
    y_ticks: tuple[Tick, ...] = ()
    x_label: str = ""
    planned: tuple[Tick, ...] = ()
    refeeds: tuple[float, ...] = ()
    width: int = WIDTH_PX
    height: int = HEIGHT_PX
    left: int = LEFT_PX
    right: int = WIDTH_PX - RIGHT_PX
    top: int = TOP_PX
    bottom: int = HEIGHT_PX - BOTTOM_PX


@dataclass(frozen=True, slots=True)
class _Axes:
    """From hours and percent to pixels."""

    last_h: float

    def x(self, hours: float) -> float:
        return round(LEFT_PX + (WIDTH_PX - RIGHT_PX - LEFT_PX) * hours / self.last_h, 1)

    def y(self, percent: float) -> float:
        return round(TOP_PX + (HEIGHT_PX - BOTTOM_PX - TOP_PX) * (1 - percent / 100), 1)


def draw_growth(found: VesselForecast, sentences: Sequence[str]) -> GrowthDrawing:
    """Return the drawing of a forecast; one without a forecast has words only."""
    if found.series is None or found.band is None or found.window is None or found.starts_at is None:
        return GrowthDrawing(found.vessel_id, tuple(sentences))
    last_h = min(float(found.band.hours[-1]), max(found.series.last_h + SHOWN_AFTER_H, *_planned_hours(found), 24.0))
    axes = _Axes(last_h)
    window = found.window.low_percent, found.window.high_percent
    return GrowthDrawing(
        vessel_id=found.vessel_id,
        sentences=tuple(sentences),
        band=_band(found, axes),
        mean=_line(found, axes),
        window=(axes.y(window[1]), axes.y(window[0])),
        window_label=f"window {window[0]:g} – {window[1]:g} %",
        now_px=axes.x(found.series.last_h),
        marks=tuple(
            _mark(axes, one.elapsed_h, one.confluency_percent, one.standard_error) for one in found.series.points
        ),
        x_ticks=_hour_ticks(axes),
        y_ticks=tuple(Tick(axes.y(level), f"{level} %") for level in (0, 20, 40, 60, 80, 100)),
        x_label=f"hours since {plain_time(found.starts_at)} ({_origin(found)})",
        planned=tuple(
            Tick(axes.x(one.elapsed_h), f"probability inside {one.inside_probability:.2f}")
            for one in found.planned
            if one.elapsed_h <= last_h
        ),
        refeeds=tuple(axes.x(hour) for hour in found.series.refeeds_h if hour <= last_h),
    )


def growth_of_run(run: Path, catalogue: Catalogue) -> dict[str, GrowthDrawing]:
    """Return the growth curve of each vessel of a run that was imaged at several times, with the placeholder prior."""
    drawn = {}
    for course in vessel_courses([run], catalogue):
        if len(course.scans) > 1:
            found = forecast_course(course, ForecastRequest())
            drawn[course.vessel_id] = draw_growth(found, forecast_sentences(found))
    return drawn


def write_forecast_page(path: Path, found: Sequence[VesselForecast]) -> Path:
    """Write a page with the growth curve of each vessel and return its path.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    make_folder(path.parent)
    drawings = [draw_growth(one, forecast_sentences(one)) for one in found]
    return write_page(path, render("forecast.html.j2", drawings=drawings))


def forecast_sentences(found: VesselForecast) -> tuple[str, ...]:
    """Return what to say of a forecast, sentence by sentence."""
    if found.reason is not None:
        return (f"No forecast: {found.reason}",)
    said = [] if found.window is None else [found.window.words]
    said += [
        f"At {plain_time(one.at)} {one.confluency_percent:.0f} % ({one.interval[0]:.0f} – {one.interval[1]:.0f} %) is"
        f" expected; inside the window with a probability of {one.inside_probability:.2f}."
        for one in found.planned
    ]
    if found.departure is not None:
        said.append(found.departure.words)
    return (*said, *(note for note in found.notes if note not in said[0]))


def _origin(found: VesselForecast) -> str:
    return "no scan" if found.series is None else found.series.origin


def _planned_hours(found: VesselForecast) -> list[float]:
    return [one.elapsed_h + 6 for one in found.planned] or [0.0]


def _band(found: VesselForecast, axes: _Axes) -> str:
    band = found.band
    if band is None:
        return ""
    shown = [i for i, hour in enumerate(band.hours) if hour <= axes.last_h]
    up = [f"{axes.x(float(band.hours[i]))} {axes.y(float(band.high_percent[i]))}" for i in shown]
    down = [f"{axes.x(float(band.hours[i]))} {axes.y(float(band.low_percent[i]))}" for i in shown[::-1]]
    return f"M{' L'.join([*up, *down])}Z"


def _line(found: VesselForecast, axes: _Axes) -> str:
    band = found.band
    if band is None:
        return ""
    shown = [i for i, hour in enumerate(band.hours) if hour <= axes.last_h]
    return "M" + " L".join(f"{axes.x(float(band.hours[i]))} {axes.y(float(band.mean_percent[i]))}" for i in shown)


def _mark(axes: _Axes, elapsed_h: float, percent: float, error: float) -> Mark:
    low, high = max(percent - Z95 * error, 0.0), min(percent + Z95 * error, 100.0)
    title = f"{elapsed_h:.1f} h: {percent:.1f} % (95 %: {low:.0f} – {high:.0f} %)"
    return Mark(axes.x(elapsed_h), axes.y(percent), axes.y(high), axes.y(low), title)


def _hour_ticks(axes: _Axes) -> tuple[Tick, ...]:
    step = next(one for one in (6, 12, 24, 48, 96, 192, 384) if axes.last_h / one <= _LABELS)
    return tuple(Tick(axes.x(hour), f"{hour}") for hour in range(0, math.floor(axes.last_h) + 1, step))
