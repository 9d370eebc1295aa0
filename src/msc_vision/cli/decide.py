"""``msc-vision decide``: may a vessel be harvested now, and why."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from msc_vision.cli import options
from msc_vision.cli.talk import say, say_table

if TYPE_CHECKING:
    from rich.table import Table

    from msc_vision.decision.judgement import Request

ASKED, CALLER, PAST = "What is asked", "What the caller knows", "What is known besides the run"
_OUTCOMES = ("not met", "undetermined", "met")


def decide(  # noqa: PLR0913, PLR0917  (one parameter per option)
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Finished run folder.", show_default=False)],
    rules: Annotated[
        str,
        typer.Option(
            "--rules",
            metavar="R",
            help="Rule set: the name of one that ships, or a YAML file.",
            show_default=False,
            rich_help_panel=ASKED,
        ),
    ],
    vessel: Annotated[
        str | None,
        typer.Option("--vessel", metavar="ID", help="Which vessel, if there are several.", rich_help_panel=ASKED),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every vessel: a record per line on stdout.", rich_help_panel=ASKED)
    ] = False,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="TIME",
            help="The moment of the decision, 2026-11-20T08:00+01:00; default: now.",
            rich_help_panel=ASKED,
        ),
    ] = None,
    trial: Annotated[
        bool,
        typer.Option("--trial", help="Not for production: a draft rule set may say GO.", rich_help_panel=ASKED),
    ] = False,
    expect_type: Annotated[
        str | None,
        typer.Option("--expect-type", metavar="TYPE", help="Vessel type it has to be.", rich_help_panel=CALLER),
    ] = None,
    expect_batch: Annotated[
        str | None,
        typer.Option(
            "--expect-batch", metavar="BATCH", help="Batch it has to be of, as `L7, passage 3`.", rich_help_panel=CALLER
        ),
    ] = None,
    expect_passage: Annotated[
        int | None,
        typer.Option("--expect-passage", metavar="N", help="Passage it has to be in.", rich_help_panel=CALLER),
    ] = None,
    job: Annotated[
        str | None, typer.Option("--job", metavar="ID", help="Your own id of the job.", rich_help_panel=CALLER)
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", metavar="ID", help="Your own id of the task.", rich_help_panel=CALLER)
    ] = None,
    supersedes: Annotated[
        str | None,
        typer.Option(
            "--supersedes",
            metavar="ID",
            help="decision_id of the record that this one replaces.",
            rich_help_panel=CALLER,
        ),
    ] = None,
    history: Annotated[
        list[Path] | None,
        typer.Option(
            "--history",
            metavar="RUN",
            help="Earlier run that shows the vessel, for the forecast; may be given more than once.",
            rich_help_panel=PAST,
        ),
    ] = None,
    prior: Annotated[
        Path | None,
        typer.Option(
            "--prior",
            metavar="FILE",
            help="How the bank grows; made by `msc-vision growth-prior`.",
            rich_help_panel=PAST,
        ),
    ] = None,
    catalogue: options.CatalogueFiles = None,
    no_save: Annotated[bool, typer.Option("--no-save", help="Leave RUN/decisions as it is.")] = False,
) -> None:
    """Decide whether a vessel may be harvested, by a rule set, and say why.

    Prints the decision record as JSON and keeps it in RUN/decisions, with the rule set, so that `msc-vision verify` can
    replay it. The verdict is GO, NO_GO, HOLD_REVIEW or CANNOT_ASSESS; on stderr it is explained, with what would change
    it. Exit code 0 whatever the verdict: read it from the record.

    **Examples**

        msc-vision decide STACK-7.run --rules msc-expansion-default --trial
        msc-vision decide STACK-7.run --rules site-a.yaml --history DAY2.run --prior MCB-7-growth.yaml
        msc-vision decide DAY4.run --rules site-a.yaml --all --job J-1042 > decisions.jsonl
    """
    import json

    from msc_vision.batch.decisions import check_superseded, save_decision
    from msc_vision.batch.decisions import decide as decide_vessel
    from msc_vision.batch.evidence import vessels_of_run
    from msc_vision.decision.library import load_rules
    from msc_vision.decision.record import record_text
    from msc_vision.errors import InvalidArgumentError
    from msc_vision.vessels import load_catalogue

    if every and (vessel is not None or supersedes is not None):
        raise InvalidArgumentError("--all asks for every vessel: leave out --vessel and --supersedes.")
    types = load_catalogue(tuple(catalogue or ()))
    rule_set = load_rules(rules)
    request = _request(
        at,
        trial,
        types.get(expect_type).id if expect_type else None,
        expect_batch,
        expect_passage,
        job,
        task,
        supersedes,
    )
    for name in vessels_of_run(run) if every else (vessel,):
        record = decide_vessel(run, rule_set, request, name, history=tuple(history or ()), prior=prior, catalogue=types)
        if supersedes is not None and (note := check_superseded(run, supersedes, record["context"]["vessel_id"])):
            say(note)
        saved = None if no_save else save_decision(run, record, rule_set, prior)
        typer.echo(record_text(record) if every else json.dumps(record, indent=2, ensure_ascii=False))
        _explain(record, is_short=every)
        if saved is not None:
            say(f"Kept as {saved}")


def _request(
    at: str | None,
    trial: bool,
    vessel_type: str | None,
    batch: str | None,
    passage: int | None,
    job: str | None,
    task: str | None,
    supersedes: str | None,
) -> "Request":
    """Return what the options ask; a record states its moment in whole seconds, so it is judged at one."""
    from datetime import UTC, datetime

    from msc_vision.cli.forecast import moment
    from msc_vision.decision.judgement import Request

    now = datetime.now(UTC) if at is None else moment(at)
    return Request(
        as_of=now.astimezone(UTC).replace(microsecond=0),
        purpose="trial" if trial else "production",
        vessel_type=vessel_type,
        batch=batch,
        passage=passage,
        supervisory_job_id=job,
        supervisory_task_id=task,
        supersedes=supersedes,
    )


def _explain(record: Mapping[str, Any], *, is_short: bool) -> None:
    """Say on stderr what came out and why; in short, one line."""
    from msc_vision.decision.explain import explain

    told = explain(record)
    say(f"{record['context']['vessel_id']}: {told.verdict}. {told.summary} Next: {record['recommended_action']}.")
    if is_short:
        return
    say_table(_table(record))
    for heading, lines in (("Why:", told.reasons), ("What would change it:", told.changes)):
        if lines:
            say(heading)
            for line in lines:
                say(f"  {line}")


def _table(record: Mapping[str, Any]) -> "Table":
    """Return a table of all criteria, those that are not met first; layers that came out alike share a row."""
    from rich import box
    from rich.table import Table

    alike: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for one in record["criteria"]:
        alike.setdefault((one["outcome"], one["id"]), []).append(one)
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("Criterion", "Layers", "Outcome", "Observed", "Allowed", "Probability"):
        table.add_column(heading, justify="right" if heading == "Probability" else "left")
    for outcome, name in sorted(alike, key=lambda key: _OUTCOMES.index(key[0])):
        table.add_row(*_cells(name, outcome, alike[outcome, name]))
    return table


def _cells(name: str, outcome: str, results: list[Mapping[str, Any]]) -> tuple[str, ...]:
    from msc_vision.vessels import layer_ranges

    layers = [one["layer"] for one in results if one["layer"] is not None]
    probabilities = [one["probability"] for one in results if one["probability"] is not None]
    return (
        name,
        layer_ranges(layers) if layers else "",
        outcome,
        _span([one["observed"] for one in results], results[0]["unit"]),
        _allowed(results[0]),
        f"{min(probabilities):.3f}" if probabilities else "-",
    )


def _span(values: list[Any], unit: str) -> str:
    known = [one for one in values if one is not None]
    if not known:
        return "-"
    if any(isinstance(one, str) for one in known):
        return ", ".join(sorted({str(one) for one in known}))
    low, high = min(known), max(known)
    return f"{low:.4g}{'' if low == high else f' to {high:.4g}'} {unit}".rstrip()


def _allowed(result: Mapping[str, Any]) -> str:
    limit, comparator = result["limit"], result["comparator"]
    if comparator is None:
        return "-"
    if isinstance(limit, list):
        return f"{limit[0]:g} to {limit[1]:g}" if comparator == "between" else ", ".join(limit)
    return f"{comparator} {limit if isinstance(limit, str) else format(limit, 'g')}"
