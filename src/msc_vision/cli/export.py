"""``msc-vision export``: a model for other tools."""

from pathlib import Path
from typing import Annotated

import typer

from msc_vision.cli import options
from msc_vision.cli.talk import say


def export(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Name of a model that ships, or its folder.", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="Folder for the files.", rich_help_panel=options.WHERE),
    ] = Path(),
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="URL",
            help="Page that describes the model, cited in a bioimage.io package; without one only ONNX is written.",
            rich_help_panel=options.HOW,
        ),
    ] = None,
) -> None:
    """Write a model for other tools: ONNX, and a package for bioimage.io that its own validator has checked.

    Both take plain brightness, (N, 1, Y, X) float32 at the model's canonical pixel size, and give six maps of
    probabilities: foreground, obscured, core, rounded, aggregate, debris. Y and X are multiples of 16 and at least 128.
    The package's example is a synthetic field, so that it may be passed on. Nothing is sent anywhere.

    **Examples**

        msc-vision export culture-3 --out exported
        msc-vision export models/lab7-1 --out exported --url https://example.org/our-model
    """
    from msc_vision.learning.export import PackageText, example_field, export_bioimageio, export_onnx
    from msc_vision.segmentation.network.weights import load_model, model_folder

    loaded = load_model(model)
    name = loaded.config.id
    with_folder(out)
    typer.echo(export_onnx(loaded, out / f"{name}.onnx"))
    if url is None:
        say("No --url: no package for bioimage.io.")
        return
    text = PackageText(
        title=f"msc-vision {name}",
        description="Cells of adherent cultures against bare surface, what hides it, cell cores, rounded cells, "
        "aggregates and debris in transmitted-light pictures.",
        authors=("The msc-vision developers",),
        url=url,
    )
    example = example_field(loaded.config.canonical_pixel_size_um)
    typer.echo(export_bioimageio(model_folder(model), out / f"{name}.bioimageio.zip", example, text))


def with_folder(out: Path) -> None:
    """Make the folder for the results."""
    from msc_vision.io.output import output_errors

    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
