"""Options that several commands share, each explained once."""

from pathlib import Path
from typing import Annotated

import typer

WHAT = "What the images show"
HOW = "How they are measured"
WHERE = "Where it runs and where results go"

Vessel = Annotated[
    str | None,
    typer.Option(
        "--vessel",
        metavar="TYPE",
        help="Vessel type of all images, such as t-75 or hyperstack-36; `msc-vision vessels` lists them.",
        rich_help_panel=WHAT,
    ),
]
VesselId = Annotated[
    str | None,
    typer.Option(
        "--vessel-id", metavar="NAME", help="Name of the vessel, if folders do not tell.", rich_help_panel=WHAT
    ),
]
Pattern = Annotated[
    str | None,
    typer.Option(
        "--pattern",
        metavar="REGEX",
        help="Your own naming of files: named groups such as `(?P<layer>[0-9]+)`, searched in the path below FOLDER.",
        rich_help_panel=WHAT,
    ),
]
PixelSize = Annotated[
    float | None,
    typer.Option(
        "--pixel-size-um",
        metavar="X",
        help="Side of a pixel in µm, for images whose manifest row states none; without one there are no areas.",
        rich_help_panel=WHAT,
    ),
]
CatalogueFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--catalogue",
        metavar="YAML",
        help="Vessel types of your own, besides those that ship; may be given more than once.",
        rich_help_panel=WHAT,
    ),
]
Optics = Annotated[
    str,
    typer.Option(
        "--optics",
        metavar="PROFILE",
        help="standard or long-working-distance: which layers the microscope reaches.",
        rich_help_panel=WHAT,
    ),
]
PipelineName = Annotated[
    str,
    typer.Option(
        "--pipeline",
        metavar="P",
        help="Analysis recipe: default, contrast, or a YAML file.",
        rich_help_panel=HOW,
    ),
]
Channel = Annotated[
    str | None,
    typer.Option(
        "--channel",
        metavar="NAME|N",
        help="Channel of multi-channel files; else the transmitted light.",
        rich_help_panel=HOW,
    ),
]
TimePoint = Annotated[
    int | None,
    typer.Option("--time", metavar="N", help="Time point of time series, from 0.", rich_help_panel=HOW),
]
Slice = Annotated[
    int | None,
    typer.Option("--z", metavar="N", help="Slice of focus series, from 0; else the sharpest.", rich_help_panel=HOW),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", metavar="N", help="Fields scored side by side; default: every core.", rich_help_panel=WHERE
    ),
]

# --- of `run` --------------------------------------------------------------------------------------------------------

ImagesFolder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Images; subfolders are searched.", show_default=False)
]
ManifestFile = Annotated[
    Path | None,
    typer.Option(
        "--manifest",
        metavar="M",
        help="CSV or Parquet that says which image shows which layer of which vessel; "
        "default: FOLDER/manifest.csv, or else drafted from names, folders and metadata.",
        rich_help_panel=WHAT,
    ),
]
RunFolder = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="RUN",
        help="Run folder to write; default: FOLDER.run beside FOLDER.",
        rich_help_panel=WHERE,
    ),
]
BaselineFolder = Annotated[
    Path | None,
    typer.Option(
        "--baseline",
        metavar="B",
        help="Baseline that the cells are compared with (drift); made by `msc-vision baseline`.",
        rich_help_panel=WHAT,
    ),
]
CalibrationFile = Annotated[
    Path | None,
    typer.Option(
        "--density-calibration",
        metavar="FILE",
        help="YAML: confluency to cells/cm² of this bank, for layers too full to count.",
        rich_help_panel=WHAT,
    ),
]
LayerStudyFile = Annotated[
    Path | None,
    typer.Option(
        "--layer-study",
        metavar="FILE",
        help="YAML: how layers differ at this site, for those that nobody sees; made by `msc-vision layer-study`.",
        rich_help_panel=WHAT,
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.", rich_help_panel=WHERE)]
Scheduler = Annotated[
    str,
    typer.Option(
        "--scheduler",
        metavar="S",
        help="threads, processes, or the address of a Dask scheduler, tcp://host:8786.",
        rich_help_panel=WHERE,
    ),
]
TileSide = Annotated[
    int,
    typer.Option(
        "--tile-px",
        metavar="N",
        help="Side of the tiles of very large images, a multiple of 1024; never changes a result.",
        rich_help_panel=WHERE,
    ),
]
MemoryLimit = Annotated[
    float | None,
    typer.Option(
        "--memory-gb",
        metavar="X",
        help="Memory the run may use; default: what is free.",
        rich_help_panel=WHERE,
    ),
]
