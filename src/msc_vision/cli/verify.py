"""``msc-vision verify``: tell whether a run folder is whole and untouched."""

from pathlib import Path
from typing import Annotated

import typer

from msc_vision.cli.talk import USER_ERROR, say


def verify(run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.", show_default=False)]) -> None:
    """Check a run folder against itself: hashes, schemas, files missing or foreign, and the raw images.

    Reads every result again and compares it with the hash that was recorded when it was written; says whether the raw
    images, where they can be reached, are still those that were scored. Nothing is written. Complaints go to stdout,
    one a line; no complaint, no output. Exit code 2 if anything is wrong.

    **Example**

        msc-vision verify STACK-7.run
    """
    from msc_vision.batch.verify import verify_run

    complaints = verify_run(run)
    for complaint in complaints:
        typer.echo(str(complaint))
    n_errors = sum(complaint.severity == "error" for complaint in complaints)
    if n_errors:
        say(f"{run}: {n_errors} {'error' if n_errors == 1 else 'errors'}; do not rely on this run.")
        raise typer.Exit(USER_ERROR)
    say(f"{run}: every result is as it was written{'; see the warnings' if complaints else ''}.")
