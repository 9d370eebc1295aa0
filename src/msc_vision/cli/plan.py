"""``msc-vision plan``: which layers and places to image, and what more a run would have needed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from msc_vision.cli import options
from msc_vision.cli.talk import say, say_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from msc_vision.statistics.sampling_plan import Achieved, Place, SamplingPlan
    from msc_vision.vessels import Catalogue

WHAT, MICROSCOPE, WHERE = "What is to be known", "The microscope", "Where results go"


def plan(  # noqa: PLR0913, PLR0917  (one parameter per option)
    vessel: Annotated[
        str | None,
        typer.Option("--vessel", metavar="TYPE", help="Vessel type, such as hyperstack-36.", rich_help_panel=WHAT),
    ] = None,
    after: Annotated[
        Path | None,
        typer.Option("--after", metavar="RUN", help="A finished run: what it reached, and what is missing."),
    ] = None,
    half_width: Annotated[
        float,
        typer.Option(
            "--half-width",
            metavar="POINTS",
            help="A layer's confluency to within ± so much (95 %).",
            rich_help_panel=WHAT,
        ),
    ] = 5.0,
    sd: Annotated[
        float,
        typer.Option(
            "--sd",
            metavar="POINTS",
            help="How much fields of a layer differ (standard deviation); 8 to 15 is customary, a run tells yours.",
            rich_help_panel=WHAT,
        ),
    ] = 12.0,
    layer_sd: Annotated[
        float | None,
        typer.Option(
            "--layer-sd",
            metavar="POINTS",
            help="How much layers differ; without it nothing is said of the vessel as a whole.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option("--layers", metavar="LIST", help="Layers to visit, such as 1-3,9; default: all in reach."),
    ] = None,
    optics: options.Optics = "standard",
    catalogue: options.CatalogueFiles = None,
    layer_size_mm: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--layer-size-mm",
            metavar="HEIGHT WIDTH",
            help="Sides of a layer; default: a square of its area.",
            rich_help_panel=MICROSCOPE,
        ),
    ] = None,
    field_mm: Annotated[
        float, typer.Option("--field-mm", metavar="MM", help="Side of a field.", rich_help_panel=MICROSCOPE)
    ] = 1.3,
    field_mb: Annotated[
        float, typer.Option("--field-mb", metavar="MB", help="Size of a picture.", rich_help_panel=MICROSCOPE)
    ] = 8.4,
    field_s: Annotated[
        float,
        typer.Option("--field-s", metavar="S", help="Seconds a field takes (placeholder).", rich_help_panel=MICROSCOPE),
    ] = 4.0,
    layer_s: Annotated[
        float,
        typer.Option(
            "--layer-s", metavar="S", help="Seconds to change layers (placeholder).", rich_help_panel=MICROSCOPE
        ),
    ] = 60.0,
    edge_mm: Annotated[
        float,
        typer.Option("--edge-mm", metavar="MM", help="Strip along the walls named edge.", rich_help_panel=MICROSCOPE),
    ] = 10.0,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Of the random start; another one for another vessel.")
    ] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="CSV", help="Write the places there.", rich_help_panel=WHERE)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.", rich_help_panel=WHERE)] = False,
) -> None:
    """Plan which fields to take, or see what a run's fields have reached and where more are needed.

    Places are those of a grid over each layer with a random start. They are printed as CSV: layer, field, y and x in µm
    of the middle of the field, and whether it lies at the edge; y and x from a corner of the layer, with --after in the
    coordinates of the run (leave out what lies beyond a wall). The talk on stderr says how many fields it takes, how
    long, how many gigabytes, and what cannot be seen at all. Half-widths are those of sampling; the error of the method
    comes on top.

    **Examples**

        msc-vision plan --vessel hyperstack-36 --half-width 5 --sd 12 --out places.csv
        msc-vision plan --vessel cell-factory-10 --layers 1,5,10 --layer-sd 6
        msc-vision plan --after STACK-7.run --half-width 5
    """
    from msc_vision.errors import InvalidArgumentError
    from msc_vision.statistics.sampling_plan import ImagingSettings, plan_sampling
    from msc_vision.vessels import load_catalogue

    if (vessel is None) == (after is None):
        raise InvalidArgumentError("Give either --vessel TYPE, to plan, or --after RUN, to see what is missing.")
    imaging = ImagingSettings(
        field_mm=field_mm,
        megabytes_per_field=field_mb,
        seconds_per_field=field_s,
        seconds_per_layer=layer_s,
        edge_mm=edge_mm,
    )
    types = load_catalogue(tuple(catalogue or ()))
    if after is not None:
        _tell_achieved(after, types, half_width, out, as_json=as_json)
        return
    found = plan_sampling(
        types.get(str(vessel)),
        goal=half_width,
        sd=sd,
        layer_sd=layer_sd,
        layers=None if layers is None else layer_numbers(layers),
        optics_profile=optics,
        sides_mm=layer_size_mm,
        imaging=imaging,
        seed=seed,
    )
    _tell_plan(found, half_width, sd)
    _write(found, found.places, out, as_json=as_json)


def layer_numbers(text: str) -> tuple[int, ...]:
    """Return the layers of a list such as ``1-3,9``.

    Raises
    ------
    InvalidArgumentError
        If it is no such list.
    """
    from msc_vision.errors import InvalidArgumentError

    found: list[int] = []
    for part in text.split(","):
        low, _, high = part.strip().partition("-")
        if not low.isdigit() or (high and not high.isdigit()):
            raise InvalidArgumentError(f"{text!r} is no list of layers; write 1-3,9.")
        found.extend(range(int(low), int(high or low) + 1))
    return tuple(found)


def _tell_plan(found: "SamplingPlan", goal: float, sd: float) -> None:
    from msc_vision.vessels import layer_ranges

    n_layers = len(found.layers)
    say(
        f"{found.vessel_type}: {found.fields_per_layer} fields on each of {n_layers} layer{'s' if n_layers > 1 else ''}"
        f" ({layer_ranges(found.layers)}) give ±{found.layer_half_width:.1f} points a layer at a standard deviation of"
        f" {sd:g} (wanted ±{goal:g})."
    )
    say(f"About {found.minutes:.0f} minutes and {found.gigabytes:.2f} GB. Layers taken as {_sides(found)}.")
    if found.unseen_layers:
        say(f"Not seen: layers {layer_ranges(found.unseen_layers)}, {found.unseen_percent:.0f} % of the culture area.")
    width = "" if found.vessel_half_width is None else f"±{found.vessel_half_width:.1f} points; "
    say(f"Vessel as a whole: {width}{found.vessel_note}.")


def _sides(found: "SamplingPlan") -> str:
    return f"{found.sides_mm[0]:.0f} x {found.sides_mm[1]:.0f} mm"


def _tell_achieved(run: Path, types: "Catalogue", goal: float, out: Path | None, *, as_json: bool) -> None:
    from msc_vision.batch.courses import achieved_of_run, components_of_run

    found = achieved_of_run(run, types, goal)
    say_table(_table(found, goal))
    spread = components_of_run(run)
    if spread is not None and spread.field is not None:
        layers = "" if spread.layer is None else f", layers by {spread.layer:.1f} (--layer-sd)"
        say(f"Fields of a layer differ by {spread.field:.1f} points at half cover (--sd){layers}.")
    places = [place for one in found.values() for layer in one for place in layer.places]
    _write(found, places, out, as_json=as_json)


def _table(found: "dict[str, tuple[Achieved, ...]]", goal: float) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("Vessel", "Layer", "Fields", "Reached", f"More for ±{goal:g}", ""):
        table.add_column(heading, justify="left" if heading in ("Vessel", "") else "right")
    for vessel, layers in found.items():
        for one in layers:
            reached = "-" if one.half_width is None else f"±{one.half_width:.1f}"
            more = "-" if one.n_more is None else str(one.n_more)
            table.add_row(vessel, str(one.layer), str(one.n_fields), reached, more, one.note)
    return table


def _write(content: object, places: "Sequence[Place]", out: Path | None, *, as_json: bool) -> None:
    """Print JSON, or the places as CSV; with ``out``, the places go there and its path is printed."""
    import csv
    import io
    import json
    from dataclasses import asdict, fields, is_dataclass

    from msc_vision.io.output import write_whole
    from msc_vision.statistics.sampling_plan import Place

    def plain(value: object) -> object:
        return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)

    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [one.name for one in fields(Place)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(place) for place in places)
    if out is not None:
        write_whole(out, buffer.getvalue().encode())
    if as_json:
        typer.echo(json.dumps(content, default=plain, indent=2, ensure_ascii=False))
    else:
        typer.echo(str(out) if out is not None else buffer.getvalue(), nl=out is not None)
