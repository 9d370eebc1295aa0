"""``msc-vision rules``: what decisions are judged by: list, show, check, compare and test rule sets."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from msc_vision.cli.talk import USER_ERROR, say, say_table

if TYPE_CHECKING:
    from rich.table import Table

    from msc_vision.decision.cases import CaseResult
    from msc_vision.decision.compare import Difference, RuleDiff
    from msc_vision.decision.rules import Override, RuleSet

rules = typer.Typer(name="rules", no_args_is_help=True, rich_markup_mode="markdown")

Folders = Annotated[
    list[Path] | None,
    typer.Option(
        "--folder", metavar="DIR", help="Rule sets of your own, found by id before those that ship; may be repeated."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Id of a rule set, or a YAML file.", show_default=False)]


@rules.callback()
def _rules() -> None:
    """Show, check, compare and test rule sets: what decisions about vessels are judged by.

    The sets that ship are drafts with placeholder limits; a site lays its own limits over them (docs/rules.md).

    **Examples**

        msc-vision rules list
        msc-vision rules show msc-expansion-default
        msc-vision rules check ours.yaml
        msc-vision rules diff msc-expansion-default ours.yaml
        msc-vision rules test ours.yaml --cases our-cases.yaml
    """


@rules.command("list")
def list_sets(folder: Folders = None, as_json: Json = False) -> None:
    """List the rule sets that can be named: those of --folder, and those that ship.

    **Example**

        msc-vision rules list --folder /srv/rules
    """
    from msc_vision.decision.library import available_rule_sets, load_rules

    folders = folder or []
    found = [(load_rules(name, folders), path) for name, path in available_rule_sets(folders).items()]
    if as_json:
        _print_json([_head(one) | {"title": one.title, "file": str(path)} for one, path in found])
        return
    _print_rows(
        [
            ("id", "version", "status", "criteria", "title"),
            *((one.id, one.version, one.status, str(len(one.criteria)), one.title) for one, _ in found),
        ]
    )


@rules.command("metrics")
def list_metrics(as_json: Json = False) -> None:
    """List what a criterion can ask of, with the unit its limits have to be in.

    **Example**

        msc-vision rules metrics
    """
    from msc_vision.decision.metrics import METRICS

    if as_json:
        _print_json([asdict(one) for one in METRICS.values()])
        return
    _print_rows(
        [
            ("metric", "unit", "level", "meaning"),
            *((one.name, one.unit or "a word", ", ".join(one.levels), _meaning(one)) for one in METRICS.values()),
        ]
    )


def _meaning(metric: Any) -> str:
    return f"{metric.meaning} ({', '.join(metric.words)})" if metric.words else metric.meaning


@rules.command("show")
def show(
    name: Name,
    folder: Folders = None,
    as_json: Json = False,
    as_yaml: Annotated[bool, typer.Option("--yaml", help="As a complete YAML file, overlays laid over.")] = False,
) -> None:
    """Show a rule set as a table: criterion, limits, probability, severity, source; placeholders are marked.

    **Examples**

        msc-vision rules show msc-secretome
        msc-vision rules show ours.yaml --yaml
    """
    from msc_vision.decision.library import load_rules
    from msc_vision.decision.rule_file import rule_set_yaml

    found = load_rules(name, folder or ())
    if as_json:
        _print_json(found.model_dump(mode="json") | {"sha256": found.sha256})
    elif as_yaml:
        typer.echo(rule_set_yaml(found), nl=False)
    else:
        _show(found)


@rules.command("check")
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Rule files.", show_default=False)],
    folder: Folders = None,
) -> None:
    """Check rule files: everything that is wrong, a line each on stdout with file, criterion and key.

    **Example**

        msc-vision rules check ours.yaml theirs.yaml
    """
    from msc_vision.decision.library import complaints_of

    lines = [line for file in files for line in complaints_of(file, folder or ())]
    for line in lines:
        typer.echo(line)
    say(f"{len(files)} {'file' if len(files) == 1 else 'files'}, {len(lines)} complaints.")
    if lines:
        raise typer.Exit(USER_ERROR)


@rules.command("diff")
def diff(
    old: Annotated[str, typer.Argument(metavar="A", help="Id or YAML file.", show_default=False)],
    new: Annotated[str, typer.Argument(metavar="B", help="Id or YAML file.", show_default=False)],
    folder: Folders = None,
    as_json: Json = False,
) -> None:
    """Say what differs between two rule sets: what may change a verdict first, wording apart from it.

    **Example**

        msc-vision rules diff msc-expansion-default msc-secretome
    """
    from msc_vision.decision.compare import compare_rules
    from msc_vision.decision.library import load_rules

    sets = [load_rules(name, folder or ()) for name in (old, new)]
    found = compare_rules(*sets)
    if as_json:
        _print_json(
            {"old": _head(sets[0]), "new": _head(sets[1]), "decides_alike": found.decides_alike} | _plain(found)
        )
        return
    for line in _diff_lines(found):
        typer.echo(line)
    say("Both ask the same." if found.decides_alike else "They can come to other verdicts.")


@rules.command("test")
def test(
    name: Name,
    cases: Annotated[
        list[Path] | None,
        typer.Option(
            "--cases",
            metavar="FILE",
            help="Cases in YAML; default: those that ship, or cases/NAME.yaml beside the file. May be repeated.",
        ),
    ] = None,
    folder: Folders = None,
    as_json: Json = False,
) -> None:
    """Run cases, each a described vessel and the verdict it has to get, against a rule set.

    A table goes to stderr; exit code 2 if a case fails.

    **Examples**

        msc-vision rules test msc-expansion-default
        msc-vision rules test ours.yaml --cases our-cases.yaml
    """
    from msc_vision.decision.cases import find_cases, read_cases, run_cases
    from msc_vision.decision.library import load_rules

    found = load_rules(name, folder or ())
    results = [
        one for path in cases or [find_cases(name, found)] for one in run_cases(read_cases(path), found, str(path))
    ]
    failed = [one for one in results if one.differences]
    if as_json:
        _print_json([asdict(one) for one in results])
    say_table(_cases_table(results))
    for one in failed:
        for difference in one.differences:
            say(f"{one.name}: {difference}")
    say(f"{found.id} {found.version}: {len(results)} cases, {len(failed)} failed.")
    if failed:
        raise typer.Exit(USER_ERROR)


@rules.command("schema")
def schema() -> None:
    """Print the JSON Schema of rule files, so that an editor helps to write one.

    **Example**

        msc-vision rules schema > rules.schema.json
    """
    from msc_vision.decision.rule_file import rule_file_schema

    _print_json(rule_file_schema())


# --- tables ----------------------------------------------------------------------------------------------------------


def _head(one: "RuleSet") -> dict[str, Any]:
    return {"id": one.id, "version": one.version, "status": one.status, "sha256": one.sha256}


def _show(found: "RuleSet") -> None:
    n_placeholders = sum(one.source.placeholder for one in found.criteria)
    lines = {
        "id": found.id,
        "version": found.version,
        "status": _status(found),
        "title": found.title,
        "sha256": found.sha256,
        "extends": found.extends or "-",
        "networks": ", ".join(f"{one.id} {(one.sha256 or 'any')[:12]}" for one in found.models)
        or "none: nothing is GO",
        "criteria": f"{len(found.criteria)}, {n_placeholders} with a placeholder limit",
    }
    width = max(map(len, lines))
    for label, value in lines.items():
        typer.echo(f"{label.ljust(width)}  {value}")
    _print_table(_criteria_table(found))
    for one in found.overrides:
        typer.echo(f"changed by {one.by}: {_override(one)}. {one.reason}")
    if found.description:
        typer.echo(f"\n{found.description.strip()}")


def _status(found: "RuleSet") -> str:
    if found.approval is None:
        return "draft: no GO in production"
    return f"approved by {found.approval.by} on {found.approval.on}, {found.approval.document}"


def _override(one: "Override") -> str:
    from msc_vision.decision.compare import told

    if one.removed is not None:
        return f"{one.criterion} removed"
    values = (
        key if key in ("source", "message") else f"{key} {told(change.old)} -> {told(change.new)}"
        for key, change in one.changed.items()
    )
    return f"{one.criterion}: {'; '.join(values)}"


def _criteria_table(found: "RuleSet") -> "Table":
    from rich.table import Table

    from msc_vision.decision.compare import told_limits
    from msc_vision.decision.metrics import METRICS

    table = Table("criterion", "allowed", "of", "surely", "severity", "source")
    for one in found.criteria:
        is_estimate = METRICS[one.metric].kind == "estimate"
        table.add_row(
            one.id,
            told_limits(one),
            f"{one.metric}, {_whereof(one.level)}{_needs(one)}",
            f"{one.probability:g}" if is_estimate else "-",
            one.severity,
            ("PLACEHOLDER: " if one.source.placeholder else "") + _source(one.source),
        )
    return table


def _whereof(level: str) -> str:
    return "every layer" if level == "layer" else level


def _needs(one: Any) -> str:
    needs = [f"{one.coverage.fields} fields"] if one.coverage.fields else []
    needs += [f"{one.coverage.measured_percent:g} % measured"] if one.coverage.measured_percent else []
    return f" (needs {' and '.join(needs)})" if needs else ""


def _source(source: Any) -> str:
    tail = "" if source.in_force is None else f", in force {source.in_force}"
    return f"{source.document}, {source.section}{tail}"


def _diff_lines(found: "RuleDiff") -> Iterable[str]:
    from msc_vision.decision.compare import told_limits

    yield from (str(one) for one in found.head)
    yield from (f"added {one.id}: {one.metric} {told_limits(one)}, {one.severity}" for one in found.added)
    yield from (f"removed {one.id}: {one.metric} {told_limits(one)}, {one.severity}" for one in found.removed)
    yield from (str(one) for one in found.deciding)
    yield from (f"wording: {_reworded(one)}" for one in found.wording)


def _reworded(one: "Difference") -> str:
    return "description differs" if one.key == "description" else str(one)


def _plain(found: "RuleDiff") -> dict[str, Any]:
    return {
        "head": [asdict(one) for one in found.head],
        "added": [one.model_dump(mode="json") for one in found.added],
        "removed": [one.model_dump(mode="json") for one in found.removed],
        "deciding": [asdict(one) for one in found.deciding],
        "wording": [asdict(one) for one in found.wording],
    }


def _cases_table(results: Sequence["CaseResult"]) -> "Table":
    from rich.table import Table

    table = Table("", "case", "verdict", "recommended action")
    for one in results:
        table.add_row("FAILED" if one.differences else "ok", one.name, one.verdict, one.action)
    return table


def _print_table(table: "Table") -> None:
    """Show a table that was asked for, on stdout."""
    from rich.console import Console

    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=160)
    console.print(table)


def _print_rows(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_json(content: Any) -> None:
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False, default=str))
