"""``msc-vision manifest``: draft one from a folder, or check one."""

import csv
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from msc_vision.cli import options
from msc_vision.cli.talk import USER_ERROR, say

if TYPE_CHECKING:
    from msc_vision.records import Complaint, Manifest
    from msc_vision.vessels import Catalogue


def manifest(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER|FILE", help="Image folder to draft from, or a manifest to check.", show_default=False
        ),
    ],
    vessel: options.Vessel = None,
    vessel_id: options.VesselId = None,
    pattern: options.Pattern = None,
    catalogue: options.CatalogueFiles = None,
    optics: options.Optics = "standard",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="M",
            help="Write the manifest here (.csv, .tsv or .parquet) instead of to stdout.",
            rich_help_panel=options.WHERE,
        ),
    ] = None,
) -> None:
    """Draft a manifest from a folder, or check one: which image shows which layer of which vessel.

    From a folder, the draft takes embedded metadata, folder levels (L01/, Layer 3/, P4/) and the file names of common
    systems; where two disagree the cell stays empty and both are named. A manifest file is only checked. Every
    complaint is on stderr with its row and file, all of them at once; errors end with exit code 2, the draft is still
    written, so that it can be corrected by hand.

    **Examples**

        msc-vision manifest STACK-7 --vessel hyperstack-36 > STACK-7.csv
        msc-vision manifest PLATES --vessel 6-well-plate --pattern "(?P<vessel_id>P[0-9]+)_(?P<well>[A-D][0-9])"
        msc-vision manifest STACK-7.csv
    """
    from msc_vision.vessels import load_catalogue

    types = load_catalogue(tuple(catalogue or ()))
    if source.is_file():
        rows, complaints = _checked(source, types, optics)
    else:
        rows, complaints = _drafted(source, types, vessel=vessel, vessel_id=vessel_id, pattern=pattern, optics=optics)
        _write(rows, out)
    for complaint in complaints:
        say(str(complaint))
    n_errors = sum(complaint.severity == "error" for complaint in complaints)
    n_warnings = len(complaints) - n_errors
    say(f"{source}: {len(rows.rows)} fields, {n_errors} errors, {n_warnings} warnings.")
    if n_errors:
        raise typer.Exit(USER_ERROR)


def _checked(path: Path, types: "Catalogue", optics: str) -> tuple["Manifest", Sequence["Complaint"]]:
    from msc_vision.io.manifest import check_manifest, read_manifest

    rows = read_manifest(path)
    return rows, check_manifest(rows, types, optics_profile=optics)


def _drafted(
    folder: Path, types: "Catalogue", *, vessel: str | None, vessel_id: str | None, pattern: str | None, optics: str
) -> tuple["Manifest", Sequence["Complaint"]]:
    from msc_vision.io.manifest import check_manifest, draft_manifest

    rows, complaints = draft_manifest(folder, types, vessel_type=vessel, vessel_id=vessel_id, pattern=pattern)
    return rows, tuple(dict.fromkeys((*complaints, *check_manifest(rows, types, optics_profile=optics))))


def _write(rows: "Manifest", out: Path | None) -> None:
    from msc_vision.io.manifest import UNKNOWN_LAYER, write_manifest
    from msc_vision.records import ManifestRow

    if out is not None:
        write_manifest(rows, out)
        typer.echo(out)
        return
    writer = csv.DictWriter(sys.stdout, [field.name for field in fields(ManifestRow)], lineterminator="\n")
    writer.writeheader()
    for row in rows.rows:
        cells = {name: "" if value is None else value for name, value in asdict(row).items()}
        writer.writerow(cells | {"layer": "" if row.layer == UNKNOWN_LAYER else row.layer})
