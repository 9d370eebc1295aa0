"""``msc-vision layer-study``: how the layers of a site's vessels differ, from vessels with every layer measured."""

from pathlib import Path
from typing import Annotated

import typer

from msc_vision.cli import options
from msc_vision.cli.talk import say


def layer_study(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Finished run folders.", show_default=False)],
    source: Annotated[
        str, typer.Option("--source", metavar="TEXT", help="Which vessels, how measured, when.", show_default=False)
    ],
    catalogue: options.CatalogueFiles = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it there; else it is printed.")
    ] = None,
) -> None:
    """Learn how layers differ, so that layers nobody sees can be inferred from those that are seen.

    Takes runs of vessels of one type and site in which every layer was measured (opened vessels, a scanner that reaches
    all of them), at least two. The YAML says by how much each layer usually differs from the vessel's mean and how much
    layers scatter around that; `msc-vision run --layer-study FILE` uses it.

    **Example**

        msc-vision layer-study OPENED-*.run --source "three stacks opened in June, protocol 12" --out stack-12.yaml
    """
    import yaml

    from msc_vision.batch.courses import layer_study_of_runs
    from msc_vision.io.output import write_whole
    from msc_vision.vessels import load_catalogue

    study = layer_study_of_runs(runs, load_catalogue(tuple(catalogue or ())), source)
    text = yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    largest = max(study.offsets, key=abs)
    say(
        f"{study.n_vessels} vessels of type {study.vessel_type}: layers scatter by {100 * study.between:.1f} points"
        f" (at half cover) around their usual place; layer {study.offsets.index(largest) + 1} differs most,"
        f" {100 * largest:+.1f}."
    )
    if out is None:
        typer.echo(text, nl=False)
        return
    write_whole(out, text.encode())
    typer.echo(out)
