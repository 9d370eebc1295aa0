"""``msc-vision baseline``: a reference population out of runs of cultures that were as they should be."""

from pathlib import Path
from typing import Annotated

import typer

from msc_vision.cli.talk import say


def baseline(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Finished run folders, at least 3 vessels.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="B", help="Folder to write.", show_default=False)],
    name: Annotated[
        str | None, typer.Option("--name", metavar="ID", help="Its id; default: the name of the folder.")
    ] = None,
    description: Annotated[
        str, typer.Option("--description", metavar="TEXT", help="Whose cells these are and why they are a reference.")
    ] = "",
) -> None:
    """Make a baseline: how the cells of good cultures look at each confluency, and how much they differ.

    Every scored field at the latest time point of its vessel goes in; leave out runs whose cells somebody doubts. All
    fields have to be of one bank, medium, surface, modality, objective and instrument (columns of the manifest; bank,
    medium and objective must be filled in), measured with one recipe. The folder holds the profiles, what they may be
    compared with, hashes, and a card to read. Its path is printed on stdout.

    **Examples**

        msc-vision baseline VESSEL-1.run VESSEL-2.run VESSEL-3.run --out baselines/MCB-7
        msc-vision run VESSEL-9 --baseline baselines/MCB-7
    """
    from msc_vision.batch.profiles import baseline_of_runs
    from msc_vision.morphology.baseline import counted_sentence, save_baseline

    made = baseline_of_runs(runs, name or out.name, description=description)
    save_baseline(made, out)
    head = made.head
    say(
        f"{head.n_fields} fields on {head.n_layers} layers of {head.n_vessels} vessels,"
        f" {head.confluency_from_percent:.0f} to {head.confluency_to_percent:.0f} % confluency; read {out / 'card.md'}."
    )
    say(counted_sentence(made.spread_yardstick))
    typer.echo(out)
