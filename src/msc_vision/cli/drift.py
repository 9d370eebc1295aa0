"""``msc-vision drift``: finished runs against a baseline, vessel by vessel and over passages."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from msc_vision.cli.talk import say, say_table

if TYPE_CHECKING:
    from rich.table import Table

    from msc_vision.batch.drift_course import VesselDrift


def drift(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Finished run folders.", show_default=False)],
    baseline: Annotated[
        Path, typer.Option("--baseline", metavar="B", help="Made by `msc-vision baseline`.", show_default=False)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of a table.")] = False,
) -> None:
    """Compare the vessels of finished runs with a baseline, without scoring them again.

    Prints for each vessel how far its cells lie from the baseline at the same confluency (in spreads between fields of
    the baseline, with a 95 % interval), the chance of so much without any drift, and what changed in words; and, where
    cells can be counted, how many there are to a covered area: fewer as cells spread or age. With three or more vessels
    of different passages a CUSUM chart tells whether they move away together. Nothing is written.

    **Example**

        msc-vision drift P3.run P4.run P5.run --baseline baselines/MCB-7
    """
    import json

    from msc_vision.batch.drift_course import drift_course
    from msc_vision.morphology.baseline import load_baseline

    course = drift_course(runs, load_baseline(baseline))
    if as_json:
        chart = None if course.chart is None else {"first_alarm": course.first_alarm, "words": course.chart.words}
        vessels = [asdict(one) for one in course.vessels]
        typer.echo(json.dumps({"vessels": vessels, "chart": chart}, indent=2, ensure_ascii=False))
        return
    say_table(_table(course.vessels))
    for one in course.vessels:
        if one.drift.reason:
            say(f"{one.vessel_id}: {one.drift.state}: {one.drift.reason}.")
        if one.spread.reason != one.drift.reason or one.spread.words:
            say(f"{one.vessel_id}: {one.spread.sentence}")
    if course.chart is not None:
        say(course.chart.words)
        if course.first_alarm is not None:
            say(f"The alarm came with {course.first_alarm}.")


def _table(vessels: "tuple[VesselDrift, ...]") -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("Vessel", "Passage", "Fields", "Drift score", "95 %", "Chance without drift", "", "What changed"):
        table.add_column(heading, justify="left" if heading in ("Vessel", "What changed") else "right")
    for one in vessels:
        found = one.drift
        score = "-" if found.score is None else f"{found.score:.1f}"
        interval = "-" if found.interval is None else f"{found.interval[0]:.1f} - {found.interval[1]:.1f}"
        chance = "-" if found.probability is None else _chance(found.probability)
        passage = "-" if one.passage is None else str(one.passage)
        words = "; ".join(driver.words for driver in found.drivers)
        alarm = "ALARM" if found.is_alarm else ""
        table.add_row(one.vessel_id, passage, str(found.n_fields), score, interval, chance, alarm, words)
    return table


def _chance(probability: float) -> str:
    from msc_vision.report.character import LEAST_CHANCE

    return f"< {LEAST_CHANCE:g}" if probability < LEAST_CHANCE else f"{probability:.2g}"
