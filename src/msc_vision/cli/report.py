"""``msc-vision report``: write the page of a run again."""

from pathlib import Path
from typing import Annotated

import typer

from msc_vision.cli import options


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.", show_default=False)],
    catalogue: options.CatalogueFiles = None,
    baseline: options.BaselineFolder = None,
) -> None:
    """Write report.html of a run folder again: one page with pictures, without network or scripts.

    Failures come first, then each vessel as a stack of layers, a table, and pictures with outlines. `run` writes it
    at its end; use this after an update, or when the images were out of reach then. With --baseline, the one that the
    run was compared with is drawn beside its cells. Its path is printed on stdout.

    **Example**

        msc-vision report STACK-7.run
    """
    from msc_vision.morphology.baseline import load_baseline
    from msc_vision.report.page import write_run_report
    from msc_vision.vessels import load_catalogue

    known = None if baseline is None else load_baseline(baseline)
    typer.echo(write_run_report(run, load_catalogue(tuple(catalogue or ())), known))
