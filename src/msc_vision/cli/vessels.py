"""``msc-vision vessels``: what is known of the vessel types."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from msc_vision.cli import options

if TYPE_CHECKING:
    from msc_vision.vessels import Catalogue, VesselType


def vessels(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[TYPE]", help="One type, in any spelling; default: list all.", show_default=False),
    ] = None,
    catalogue: options.CatalogueFiles = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, with every figure.")] = False,
) -> None:
    """List the vessel types, or show one: layers, areas, volume, layers a microscope reaches, and the source.

    Figures that nobody has read in a source are marked as not verified, and every report that uses one says so. A site
    adds types with a YAML file of its own and --catalogue.

    **Examples**

        msc-vision vessels
        msc-vision vessels "HYPERStack 36"
    """
    from msc_vision.vessels import load_catalogue

    types = load_catalogue(tuple(catalogue or ()))
    chosen = list(types.values()) if name is None else [types.get(name)]
    if as_json:
        records = [one.model_dump(mode="json") for one in chosen]
        typer.echo(json.dumps(records if name is None else records[0], indent=2, ensure_ascii=False))
    elif name is None:
        _list(chosen)
    else:
        _show(chosen[0], types)


def _list(types: list["VesselType"]) -> None:
    rows = [("id", "layers", "cm2 a layer", "cm2 in all", "reached", "verified")]
    for one in types:
        area = f"{one.area_per_layer_cm2:g}" + (" a well" if one.wells > 1 else "")
        reached = _reached(one, "standard")
        verified = "yes" if one.verified else "no"
        rows.append((one.id, str(one.layers), area, f"{one.total_area_cm2:,.6g}", reached, verified))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _reached(one: "VesselType", profile: str) -> str:
    from msc_vision.vessels import layer_ranges

    return layer_ranges(one.imageable_layers.get(profile, ())) or "none"


def _show(one: "VesselType", types: "Catalogue") -> None:
    lines = {
        "id": one.id,
        "name": one.name,
        "layers": str(one.layers),
        "wells": str(one.wells),
        "area per layer": f"{one.area_per_layer_cm2:g} cm2" + (" a well" if one.wells > 1 else ""),
        "area in all": f"{one.total_area_cm2:g} cm2",
        "volume": "not known" if one.volume_ml is None else _volume(one.volume_ml),
        "surface": one.surface,
        **{f"layers reached, {profile}": _reached(one, profile) for profile in one.imageable_layers},
        "note": one.note or "-",
        "source": one.source,
        "verified": "yes" if one.verified else "no: check against the maker's sheet before relying on it",
        "file": str(types.files[one.id]),
    }
    width = max(map(len, lines))
    for label, value in lines.items():
        typer.echo(f"{label.ljust(width)}  {value}")


def _volume(volume_ml: tuple[float, float]) -> str:
    low, high = volume_ml
    return f"{low:g} mL" if low == high else f"{low:g} to {high:g} mL"
