"""``msc-vision evaluate``: masks against annotated images."""

import json
from pathlib import Path
from typing import Annotated

import typer

from msc_vision.cli import options
from msc_vision.cli.talk import DONE_WITH_FAILURES, say


def evaluate(
    pairs: Annotated[Path, typer.Argument(metavar="PAIRS.csv", help="List of annotated images.", show_default=False)],
    predictions: Annotated[
        Path | None,
        typer.Option(
            "--predictions",
            metavar="DIR",
            help="Masks as `segment` writes them; default: the images are segmented first.",
            rich_help_panel=options.HOW,
        ),
    ] = None,
    pipeline: options.PipelineName = "default",
    workers: options.Workers = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder for evaluation.html (and masks/); default: PAIRS-evaluation in the current folder.",
            rich_help_panel=options.WHERE,
        ),
    ] = None,
) -> None:
    """Compare masks with annotated images: overlap, confluency error and counts, per set and density.

    PAIRS.csv has the columns image, truth, kind (foreground or instances) and, where known, set, ignore,
    confluency_percent, pixel_size_um; paths are relative to it. Reported: Dice, IoU, bias, mean absolute and worst
    error of confluency, limits of agreement with their intervals (Bland-Altman), AP at 0.5 and over 0.5 to 0.95, count
    error, rank correlation. JSON goes to stdout, a page with plots and the worst cases to DIR/evaluation.html. A pair
    that cannot be scored is named and counted as a failure, never as empty.

    **Examples**

        msc-vision evaluate annotated/pairs.csv > figures.json
        msc-vision evaluate annotated/pairs.csv --predictions masks --out compared
    """
    from msc_vision.report.evaluation import evaluation_record, write_evaluation_page
    from msc_vision.report.html import make_folder
    from msc_vision.report.pairs import evaluate_pairs, read_pairs

    listed = read_pairs(pairs)
    out = out or Path(f"{pairs.stem}-evaluation")
    make_folder(out)
    if predictions is None:
        from msc_vision.cli.segment import segment_with_progress

        predictions = out / "masks"
        sizes = {pair.source: pair.pixel_size_um for pair in listed if pair.pixel_size_um is not None}
        segment_with_progress([pair.source for pair in listed], predictions, pipeline, workers, sizes)
    result = evaluate_pairs(pairs, predictions)
    page = write_evaluation_page(result, out / "evaluation.html")
    for failure in result.failures:
        say(f"failed: {failure.image}: {failure.reason}")
    say(f"{len(result.scores)} of {len(listed)} images scored. Page: {page}")
    for group in result.sets:
        if group.summary.method_error_points is not None:
            say(f"{group.summary.name}: method error {group.summary.method_error_points:.1f} points at half cover.")
    typer.echo(json.dumps(evaluation_record(result), indent=2))
    if result.failures:
        raise typer.Exit(DONE_WITH_FAILURES)
