"""``msc-vision synth``: a synthetic vessel with known truth."""

from pathlib import Path
from typing import Annotated

import typer

from msc_vision.cli import options
from msc_vision.cli.talk import say


def synth(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="YAML file of a vessel.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="DIR", help="New folder for the vessel.", rich_help_panel=options.WHERE, show_default=False
        ),
    ],
    catalogue: options.CatalogueFiles = None,
) -> None:
    """Make a synthetic vessel with known truth: images, manifest, masks, and the confluency of every field.

    For trying out an installation, for tests and for teaching. The same recipe gives the same pixels. DIR holds the
    images by layer, manifest.csv for `run`, truth.csv with the true confluencies and pairs.csv for `evaluate`; its
    path is printed on stdout. The recipes of the sample vessels are in sample_data/recipes of the source repository.

    **Examples**

        msc-vision synth sample_data/recipes/t-75.yaml --out T75-B
        msc-vision run T75-B
        msc-vision evaluate T75-B/pairs.csv
    """
    from msc_vision.synth import synthesise
    from msc_vision.vessels import load_catalogue

    made = synthesise(recipe, out, catalogue=load_catalogue(tuple(catalogue or ())))
    say(f"{len(made.rows)} fields of {made.rows[0].vessel_id} made.")
    typer.echo(out)
