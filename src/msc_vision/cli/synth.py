"""``msc-vision synth``: a synthetic vessel with known truth."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

    For checking the whole chain against a truth, for tests and for teaching. The same recipe gives the same pixels.
    DIR holds the images by layer and manifest.csv for `run`; labels/ (0, or the number of a cell) with the folder
    foreground/ (255 on cells); truth.csv, truth_layers.csv and truth_cells.csv with the true values; and pairs.csv for
    `evaluate`. Its path is printed on stdout.

    **A recipe** is YAML. Lengths are in µm, densities per mm², phases in radians; all but the first six keys may be
    left out, and a key that does not exist is named together with the nearest that does:

        description: flask on day 3, old cells, one dense side
        vessel_id: T75-B
        vessel_type: t-75
        seed: 7
        file_format: ome-tiff
        layers: [{layer: 1, confluency_percent: 30, n_fields: 9}]
        field_spread: 5
        unevenness: {radial: 10, tilt: 8, layer_spread: 4}
        time_course: {times_h: [0, 24, 48], growth: {doubling_time_h: 36, lag_h: 12}}
        settings:
          pixel_size_um: 1.24
          cells: {shares: {spindle: 1, flattened: 0.5}, phase: 0.15, dead_per_mm2: 20}
          optics: {mode: phase-contrast, defocus_um: 1}

    docs/synth.md lists all keys. The recipes of the sample vessels are in sample_data/recipes of the source repository.

    **Examples**

        msc-vision synth sample_data/recipes/t-75.yaml --out T75-B
        msc-vision run T75-B
        msc-vision evaluate T75-B/pairs.csv
    """
    from msc_vision.synth import synthesise
    from msc_vision.vessels import load_catalogue

    known = load_catalogue(tuple(catalogue or ()))
    with _shown() as on_field:
        made = synthesise(recipe, out, catalogue=known, on_field=on_field)
    say(f"{len(made.rows)} fields of {made.rows[0].vessel_id} made.")
    typer.echo(out)


@contextmanager
def _shown() -> Iterator[Callable[[int, int], None]]:
    """Show how many fields are made: a bar on a terminal, every tenth field elsewhere."""
    if not sys.stderr.isatty():
        yield lambda n_done, n_fields: say(f"{n_done} of {n_fields} fields") if n_done % 10 == 0 else None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("drawing fields", total=None)
        yield lambda n_done, n_fields: bars.update(bar, completed=n_done, total=n_fields)
