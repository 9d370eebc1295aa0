"""``msc-vision review``: what people said of a run, how far they are, and what follows."""

import getpass
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from msc_vision.cli import options
from msc_vision.cli.talk import DONE_WITH_FAILURES, say

if TYPE_CHECKING:
    from msc_vision.batch.review_summary import ReviewSummary, VesselProgress
    from msc_vision.batch.reviewed import ReviewedRun


def review(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.", show_default=False)],
    measure: Annotated[
        bool,
        typer.Option("--measure", help="First measure what was corrected and not measured, as after a crash."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object with everything, for other programs.")
    ] = False,
    baseline: options.BaselineFolder = None,
    catalogue: options.CatalogueFiles = None,
) -> None:
    """Tell who reviewed a run and what follows: progress, what is still open, figures before and after.

    People review a run in napari. Whatever they say or correct is an event, a small file in RUN/reviews; the results
    of the run are never changed. `decide` counts what the events say, and names every one of them in its record.

    A field is still open if nobody looked at it, if two people judged it differently without knowing of each other, or
    if its masks were corrected and not measured again. The last happens when the program was stopped in the middle;
    --measure puts it right, which takes the images and a second or so for each field. Corrected fields are compared
    with the baseline of the run again: the copy in RUN/baseline, or, for runs of older versions, that of --baseline.

    Exit code 3 if --measure could not measure a field.

    **Examples**

        msc-vision review STACK-7.run
        msc-vision review STACK-7.run --measure
        msc-vision review STACK-7.run --json | jq '.vessels[].n_looked_at'
    """
    from msc_vision.batch.review_summary import review_summary
    from msc_vision.batch.reviewed import ReviewedRun
    from msc_vision.morphology.baseline import load_baseline
    from msc_vision.statistics.character import Yardsticks
    from msc_vision.vessels import load_catalogue

    yardsticks = None if baseline is None else Yardsticks(load_baseline(baseline))
    opened = ReviewedRun.open(run, catalogue=load_catalogue(tuple(catalogue or ())), yardsticks=yardsticks)
    n_left = _measure(opened) if measure else 0
    summary = review_summary(opened)
    typer.echo(json.dumps(summary.content(), ensure_ascii=False, indent=2) if as_json else _text(opened, summary))
    for problem in summary.problems:
        say(f"Cannot be relied on: {problem}")
    if n_left:
        raise typer.Exit(DONE_WITH_FAILURES)


def _measure(run: "ReviewedRun") -> int:
    from msc_vision.batch.review_summary import measure_corrected
    from msc_vision.review.events import Reviewer

    def told(key: str, reason: str | None) -> None:
        path = run.original.fields[key].row.path
        say(f"{path}: measured." if reason is None else f"{path}: not measured: {reason}")

    return len(measure_corrected(run, Reviewer(getpass.getuser()), told))


def _text(run: "ReviewedRun", summary: "ReviewSummary") -> str:
    from msc_vision.batch.review_summary import event_words

    lines = [line for one in summary.vessels for line in _vessel(one)]
    lines += ["", "Still open:", *(f"  {one}" for one in summary.still_open or ("nothing",))]
    if summary.events:
        lines += ["", "Who did what (times in UTC):"]
        for event in summary.events:
            key = event.target.field
            place = event.target.vessel_id if key is None else run.original.fields[key].row.path
            lines.append(f"  {event.at[:19].replace('T', ' ')}  {event.reviewer.name}  {place}  {event_words(event)}")
    else:
        lines += ["", "Nobody has reviewed it yet. To review it: napari --plugin napari-msc-vision RUN"]
    return "\n".join(lines)


def _vessel(one: "VesselProgress") -> list[str]:
    before = _percent(one.confluency_before_percent, one.confluency_before_interval)
    after = _percent(one.confluency_after_percent, one.confluency_after_interval)
    lines = [f"{one.vessel_id}: {one.sentence}."]
    lines.append(
        f"  Confluency {before}" if before == after else f"  Confluency {before} before, {after} after the review"
    )
    if one.contamination_before != one.contamination_after:
        was, now = one.contamination_before or "not known", one.contamination_after or "not known"
        lines.append(f"  Visual signs of contamination: {was} before, {now} after the review")
    return lines


def _percent(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:.1f} %" + ("" if interval is None else f" (95 %: {interval[0]:.1f} to {interval[1]:.1f} %)")
