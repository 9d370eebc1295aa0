"""Say how runs of the sample vessels compare with their truth: the last words of ``make demo``.

Called as ``python -m msc_vision.cli.demo RUN=SAMPLE ...``.
"""

import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msc_vision.cli.talk import USER_ERROR, say_error
from msc_vision.errors import InvalidArgumentError, InvalidDataError, MscVisionError
from msc_vision.report.content import FieldEntry, LayerEntry, RunContent, VesselEntry
from msc_vision.report.load import load_run
from msc_vision.report.words import count, named_layers, percent


@dataclass(frozen=True, slots=True)
class FieldTruth:
    """What is true of one synthetic field; an unusable one was spoilt on purpose and should be rejected."""

    confluency_percent: float
    is_usable: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare each ``RUN=SAMPLE`` and return the exit code."""
    try:
        for argument in sys.argv[1:] if arguments is None else arguments:
            run, is_pair, sample = argument.partition("=")
            if not is_pair:
                raise InvalidArgumentError(f"{argument}: write RUN=SAMPLE, a run folder and the sample it was made of.")
            sys.stdout.write("\n".join(compare(load_run(Path(run)), read_truth(Path(sample) / "truth.csv"))) + "\n\n")
    except MscVisionError as err:
        say_error(str(err))
        return USER_ERROR
    return 0


def read_truth(path: Path) -> dict[str, FieldTruth]:
    """Return the truth of each field of a sample by its path.

    Raises
    ------
    InvalidDataError
        If the file is missing or lacks a column.
    """
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            return {
                row["path"]: FieldTruth(float(row["confluency_percent"]), row["is_usable"] == "True")
                for row in csv.DictReader(handle)
            }
    except (OSError, KeyError, ValueError) as err:
        raise InvalidDataError(f"{path}: cannot be read as the truth of a sample ({err}).") from err


def compare(content: RunContent, truth: Mapping[str, FieldTruth]) -> list[str]:
    """Return in words what a run found and what is true."""
    lines: list[str] = []
    for vessel in content.vessels:
        lines.append(f"{vessel.vessel_id}, a synthetic {vessel.type_name}:")
        lines.extend(f"  {_layer_line(entry, truth)}" for entry in vessel.measured[::-1])
        lines.extend(f"  {line}" for line in _unseen_lines(vessel))
    lines.extend(f"  {line}" for line in _spoilt_lines(content.fields, truth))
    lines.append(f"  Look at it: {content.folder / 'report.html'}")
    return lines


def _layer_line(entry: LayerEntry, truth: Mapping[str, FieldTruth]) -> str:
    known = [(f, truth[f.path].confluency_percent) for f in entry.scored if f.path in truth]
    mean = sum(true for _, true in known) / len(known)
    found = entry.confluency_percent or 0.0
    worst, error = max(
        ((field, (field.confluency_percent or 0.0) - true) for field, true in known), key=lambda pair: abs(pair[1])
    )
    return (
        f"layer {entry.layer}: found {percent(found)}, true {percent(mean)} over the same {count(len(known), 'field')}"
        f" ({found - mean:+.1f} points; furthest off {error:+.1f}, {worst.name})"
    )


def _unseen_lines(vessel: VesselEntry) -> Iterable[str]:
    unseen = [entry for entry in vessel.layers if entry.confluency_percent is None]
    if unseen:
        yield f"{named_layers(unseen)}: not seen, so nothing is said about them"


def _spoilt_lines(fields: Iterable[FieldEntry], truth: Mapping[str, FieldTruth]) -> Iterable[str]:
    """Yield a line per field that was spoilt on purpose, or that has no result although it was not."""
    for field in fields:
        is_usable = field.path not in truth or truth[field.path].is_usable
        if not is_usable and field.status == "scored":
            yield f"{field.name}: spoilt on purpose, but scored"
        elif not is_usable:
            yield f"{field.name}: spoilt on purpose, and found to be: {field.reason}"
        elif field.status != "scored":
            yield f"{field.name}: {field.status} although nothing is wrong with it: {field.reason}"


if __name__ == "__main__":
    raise SystemExit(main())
