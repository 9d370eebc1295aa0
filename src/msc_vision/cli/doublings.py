"""``msc-vision doublings``: population doublings of a passage, and what caps of age leave."""

from typing import Annotated

import typer

from msc_vision.cli.talk import say

CELLS, AGE = "Cells", "Age and caps"


def doublings(  # noqa: PLR0913, PLR0917  (one parameter per option)
    seeded: Annotated[
        float, typer.Option("--seeded", metavar="N", help="Cells seeded.", show_default=False, rich_help_panel=CELLS)
    ],
    harvested: Annotated[
        float,
        typer.Option(
            "--harvested", metavar="N", help="Cells harvested, or expected.", show_default=False, rich_help_panel=CELLS
        ),
    ],
    error_percent: Annotated[
        float,
        typer.Option("--error", metavar="PERCENT", help="Error (SD) of each count.", rich_help_panel=CELLS),
    ] = 10.0,
    attached_percent: Annotated[
        float, typer.Option("--attached", metavar="PERCENT", help="Of the seeded cells.", rich_help_panel=CELLS)
    ] = 100.0,
    viable_percent: Annotated[
        float, typer.Option("--viable", metavar="PERCENT", help="Alive, of the seeded cells.", rich_help_panel=CELLS)
    ] = 100.0,
    hours: Annotated[
        float | None, typer.Option("--hours", metavar="H", help="Length of the passage.", rich_help_panel=AGE)
    ] = None,
    pdl: Annotated[
        float | None,
        typer.Option("--pdl", metavar="X", help="Population doubling level at seeding.", rich_help_panel=AGE),
    ] = None,
    passage: Annotated[
        int | None, typer.Option("--passage", metavar="P", help="Number of this passage.", rich_help_panel=AGE)
    ] = None,
    max_pdl: Annotated[
        float | None, typer.Option("--max-pdl", metavar="X", help="Highest level allowed.", rich_help_panel=AGE)
    ] = None,
    max_passage: Annotated[
        int | None, typer.Option("--max-passage", metavar="P", help="Highest passage allowed.", rich_help_panel=AGE)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Reckon how often a population has doubled, its level (PDL), and what is left until its caps.

    Doublings are log2 of harvested cells over those that were seeded alive and attached. With an expected harvest it is
    a forecast: will this passage end below the cap, and how many passages like it are left? There are no caps but those
    you give.

    **Examples**

        msc-vision doublings --seeded 1.5e6 --harvested 9e6
        msc-vision doublings --seeded 1.5e6 --harvested 9e6 --hours 96 --pdl 14 --passage 4 --max-pdl 25 --max-passage 7
    """
    import json
    from dataclasses import asdict

    from msc_vision.errors import InvalidArgumentError
    from msc_vision.statistics.doublings import Age, Caps, Quantity, population_doublings, remaining

    share = error_percent / 100
    found = population_doublings(
        Quantity(seeded, seeded * share),
        Quantity(harvested, harvested * share),
        viable=Quantity(viable_percent / 100),
        attached=Quantity(attached_percent / 100),
    )
    left = None
    if max_pdl is not None or max_passage is not None:
        if pdl is None or passage is None or hours is None:
            raise InvalidArgumentError("Caps need to know the age: give --pdl, --passage and --hours too.")
        age, predicted = Age(passage, Quantity(pdl)), Quantity(found.doublings, found.standard_error)
        left = remaining(age, predicted, hours, Caps(passages=max_passage, doublings=max_pdl))
    if as_json:
        content = {"doublings": asdict(found), "remaining": None if left is None else asdict(left)}
        typer.echo(json.dumps(content, indent=2, ensure_ascii=False))
        return
    say(found.words)
    if pdl is not None:
        say(f"Population doubling level at its end: {pdl + found.doublings:.1f}.")
    if left is not None:
        say(left.words)
    typer.echo(f"{found.doublings:.3f}")
