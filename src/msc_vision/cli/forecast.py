"""``msc-vision forecast`` and ``growth-prior``: when a culture will be inside its window, and how its bank grows."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from msc_vision.cli import options
from msc_vision.cli.talk import say, say_table

if TYPE_CHECKING:
    from rich.table import Table

    from msc_vision.batch.forecasts import VesselForecast

CULTURE, ANSWER = "What is known of the culture", "What is asked"
Runs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Finished run folders.", show_default=False)]
Seeded = Annotated[
    str | None,
    typer.Option(
        "--seeded", metavar="TIME", help="When it was seeded: 2026-11-20T08:00+01:00.", rich_help_panel=CULTURE
    ),
]
Refeeds = Annotated[
    list[str] | None,
    typer.Option(
        "--refeed", metavar="TIME", help="A change of medium; may be given more than once.", rich_help_panel=CULTURE
    ),
]
StandardError = Annotated[
    float | None,
    typer.Option(
        "--standard-error",
        metavar="POINTS",
        help="Of every scan, where fields without coordinates give none.",
        rich_help_panel=CULTURE,
    ),
]


def forecast(  # noqa: PLR0913, PLR0917  (one parameter per option)
    runs: Runs,
    prior: Annotated[
        Path | None,
        typer.Option(
            "--prior",
            metavar="FILE",
            help="How the bank grows; made by `msc-vision growth-prior`.",
            rich_help_panel=CULTURE,
        ),
    ] = None,
    seeded: Seeded = None,
    refeed: Refeeds = None,
    standard_error: StandardError = None,
    window: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--window",
            metavar="LOW HIGH",
            help="Confluency to harvest at; default: the recipe's.",
            rich_help_panel=ANSWER,
        ),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(
            "--at", metavar="TIME", help="A planned hour; may be given more than once.", rich_help_panel=ANSWER
        ),
    ] = None,
    catalogue: options.CatalogueFiles = None,
    page: Annotated[Path | None, typer.Option("--page", metavar="HTML", help="Write growth curves as a page.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Forecast when each vessel enters and leaves its harvest window, from the time points in finished runs.

    Every time point of a vessel counts, in one run or in several, as reviews left its fields. Two or three are enough,
    because how the bank usually grows is known beforehand (--prior; without one, customary figures marked as
    placeholder). Times are compared in UTC; missed scans do not matter. It also says when a culture departs from its
    bank's usual course.

    **Examples**

        msc-vision forecast DAY2.run DAY3.run --seeded 2026-11-18T09:00+01:00
        msc-vision forecast DAY*.run --prior MCB-7-growth.yaml --window 70 90 --at 2026-11-24T07:00+01:00 --json
    """
    import json

    from msc_vision.batch.forecasts import ForecastRequest, forecast_runs, read_prior
    from msc_vision.report.growth import forecast_sentences, write_forecast_page
    from msc_vision.statistics.growth_prior import placeholder_prior
    from msc_vision.vessels import load_catalogue

    request = ForecastRequest(
        prior=placeholder_prior() if prior is None else read_prior(prior),
        window_percent=window,
        at=tuple(moment(one) for one in at or ()),
        seeded_at=None if seeded is None else moment(seeded),
        refeeds_at=tuple(moment(one) for one in refeed or ()),
        standard_error_points=standard_error,
    )
    found = forecast_runs(runs, load_catalogue(tuple(catalogue or ())), request)
    if page is not None:
        say(f"Page: {write_forecast_page(page, found)}")
    if as_json:
        typer.echo(json.dumps([_plain(one) for one in found], indent=2, ensure_ascii=False))
        return
    say_table(_table(found))
    for one in found:
        for line in forecast_sentences(one):
            say(f"{one.vessel_id}: {line}")


def growth_prior(
    runs: Runs,
    source: Annotated[
        str, typer.Option("--source", metavar="TEXT", help="Which cultures these are.", show_default=False)
    ],
    seeded: Seeded = None,
    standard_error: StandardError = None,
    catalogue: options.CatalogueFiles = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it there; else it is printed.")
    ] = None,
) -> None:
    """Learn how the cultures of a bank usually grow, from whole cultures of one bank and medium.

    **Example**

        msc-vision growth-prior P3-*.run --source "MCB-7, six vessels, March to June" --out MCB-7-growth.yaml
    """
    import yaml

    from msc_vision.batch.forecasts import ForecastRequest, prior_of_runs
    from msc_vision.io.output import write_whole
    from msc_vision.vessels import load_catalogue

    request = ForecastRequest(
        seeded_at=None if seeded is None else moment(seeded), standard_error_points=standard_error
    )
    learned = prior_of_runs(runs, load_catalogue(tuple(catalogue or ())), source, request)
    usual = learned.usual
    say(
        f"{learned.n_cultures} cultures: doubling in {usual.doubling_time_h:.0f} h after a lag of {usual.lag_h:.0f} h,"
        f" up to {usual.capacity_percent:.0f} %."
    )
    text = yaml.safe_dump(learned.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    if out is None:
        typer.echo(text, nl=False)
        return
    write_whole(out, text.encode())
    typer.echo(out)


def moment(text: str) -> datetime:
    """Return a time with its zone.

    Raises
    ------
    InvalidArgumentError
        If it is no ISO 8601 time, or has no zone.
    """
    from msc_vision.errors import InvalidArgumentError

    try:
        found = datetime.fromisoformat(text)
    except ValueError as err:
        raise InvalidArgumentError(f"{text!r} is no time; write 2026-11-20T08:00+01:00.") from err
    if found.tzinfo is None:
        raise InvalidArgumentError(f"{text!r} has no time zone; write {text}+01:00, or {text}Z for UTC.")
    return found


def _table(found: "tuple[VesselForecast, ...]") -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("Vessel", "Scans", "Last", "Window", "Now", "Enters (UTC)", "95 %, h", "Leaves (UTC)", "95 %, h"):
        table.add_column(heading, justify="left" if heading in ("Vessel", "Now") else "right")
    for one in found:
        if one.window is None or one.series is None:
            table.add_row(one.vessel_id, "-", "-", "-", "no forecast", "-", "-", "-", "-")
            continue
        window = one.window
        table.add_row(
            one.vessel_id,
            str(len(one.series.points)),
            f"{one.series.points[-1].confluency_percent:.0f} %",
            f"{window.low_percent:g}-{window.high_percent:g}",
            window.state,
            one.enters_at or "-",
            _hours(window.entered.low_h, window.entered.high_h),
            one.leaves_at or "-",
            _hours(window.left.low_h, window.left.high_h),
        )
    return table


def _hours(low: float | None, high: float | None) -> str:
    return f"{'?' if low is None else f'{low:.0f}'} - {'?' if high is None else f'{high:.0f}'}"


def _plain(found: "VesselForecast") -> dict[str, Any]:
    """Return a forecast as JSON knows it: arrays as lists."""
    from dataclasses import asdict

    import numpy as np

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return [round(float(one), 3) for one in value]
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        return [plain(one) for one in value] if isinstance(value, list | tuple) else value

    content: dict[str, Any] = plain(asdict(found))
    return content
