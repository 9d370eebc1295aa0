"""``msc-vision verify``: tell whether a run folder is whole and untouched, or whether a decision record still holds."""

from pathlib import Path
from typing import Annotated

import typer

from msc_vision.cli import options
from msc_vision.cli.talk import USER_ERROR, say


def verify(
    target: Annotated[
        Path, typer.Argument(metavar="RUN|RECORD", help="Run folder, or a decision record.", show_default=False)
    ],
    run: Annotated[
        Path | None,
        typer.Option("--run", metavar="RUN", help="Run folder of the record; default: the one that it lies in."),
    ] = None,
    rules: Annotated[
        str | None,
        typer.Option("--rules", metavar="R", help="Rule set of the record; default: the one kept in the run folder."),
    ] = None,
    history: Annotated[
        list[Path] | None,
        typer.Option(
            "--history", metavar="RUN", help="Earlier run that the record rests on; default: those beside RUN."
        ),
    ] = None,
    prior: Annotated[
        Path | None,
        typer.Option("--prior", metavar="FILE", help="Growth of the bank that the record rests on, if not kept."),
    ] = None,
    catalogue: options.CatalogueFiles = None,
) -> None:
    """Check a run folder against itself, or a decision record against the run that it was made from.

    Of a run folder every result is read again and compared with the hash that was recorded when it was written; also
    whether the raw images, where they can be reached, are still those that were scored, and whether every decision
    record in it still holds. A record holds if the same inputs, judged again by the same rules at the same moment, give
    the same. Nothing is written. Complaints go to stdout, one a line; no complaint, no output. Exit code 2 if anything
    is wrong.

    **Examples**

        msc-vision verify STACK-7.run
        msc-vision verify 3f0c….json --run STACK-7.run --rules site-a.yaml
    """
    from msc_vision.batch.verify import verify_run
    from msc_vision.errors import InvalidArgumentError
    from msc_vision.vessels import load_catalogue

    if target.is_file():
        _verify_record(target, run, rules, history or None, prior, tuple(catalogue or ()))
        return
    if run is not None or rules is not None or history or prior is not None:
        raise InvalidArgumentError("--run, --rules, --history and --prior are for a decision record; name its file.")
    complaints = verify_run(target, load_catalogue(tuple(catalogue or ())))
    for complaint in complaints:
        typer.echo(str(complaint))
    n_errors = sum(complaint.severity == "error" for complaint in complaints)
    if n_errors:
        say(f"{target}: {n_errors} {'error' if n_errors == 1 else 'errors'}; do not rely on this run.")
        raise typer.Exit(USER_ERROR)
    say(f"{target}: every result is as it was written{'; see the warnings' if complaints else ''}.")


def _verify_record(
    path: Path,
    run: Path | None,
    rules: str | None,
    history: list[Path] | None,
    prior: Path | None,
    catalogue: tuple[Path, ...],
) -> None:
    from msc_vision.batch.decisions import read_decision, read_saved_rules, rules_path
    from msc_vision.batch.replay import replay_record
    from msc_vision.decision.library import load_rules
    from msc_vision.vessels import load_catalogue

    record = read_decision(path)
    folder = path.absolute().parent.parent if run is None else run
    saved = rules_path(folder, record["provenance"]["rule_set"]["sha256"])
    rule_set = read_saved_rules(saved) if rules is None else load_rules(rules)
    found = replay_record(record, folder, rule_set, history=history, prior=prior, catalogue=load_catalogue(catalogue))
    for line in found.differences:
        typer.echo(line)
    for line in found.notes:
        say(line)
    if not found.holds:
        say(f"{path}: the record does not hold.")
        raise typer.Exit(USER_ERROR)
    say(f"{path}: the record holds: the same inputs give {record['verdict']} again.")
