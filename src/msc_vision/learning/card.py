"""The card that goes with a model: what it learned from, what it is for and not for, figures, known failures.

All of it comes from the model's config and from tables that are handed in, so that a card can be written again when
new figures are there.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msc_vision import __version__
from msc_vision.errors import InvalidDataError
from msc_vision.learning.data import TrainingData
from msc_vision.learning.score import Score
from msc_vision.segmentation.network.weights import ModelConfig

OWN_LICENCE = "BSD-3-Clause (made by this package)"
UNKNOWN_LICENCE = "not stated"
_FOR = (
    "Foreground (cells against bare surface), single cells, rounded cells, aggregates and debris in transmitted-light "
    "pictures of adherent cells, foremost spindle-shaped ones: confluency and shape of MSC cultures.",
    "A person looks at fields that are flagged. The model supports a decision; it makes none.",
)
_NOT_FOR = (
    "Fluorescence, stained sections, tissue, suspension cultures, microcarriers.",
    "Diagnosis, identity, potency or release of a product.",
    "Results where it was not checked: compare with masks of your own first (`msc-vision evaluate`).",
)


@dataclass(frozen=True, slots=True)
class CardTable:
    """Figures of a card.

    Attributes
    ----------
    title : str
    columns : sequence of str
    rows : sequence of sequences
        Numbers are written with three significant digits.
    note : str
        How they were got.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""


def read_licences(root: Path) -> dict[str, str]:
    """Return the licence of each set from the ``SOURCES.json`` of a data folder; none if there is no such file.

    Raises
    ------
    InvalidDataError
        If it cannot be read.
    """
    path = root / "SOURCES.json"
    if not path.is_file():
        return {}
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {name: str(entry.get("license", UNKNOWN_LICENCE)) for name, entry in stored.items()}
    except (OSError, ValueError, AttributeError) as err:
        raise InvalidDataError(f"{path}: cannot be read as a list of sources ({err}).") from err


def data_record(data: TrainingData, root: Path) -> list[dict[str, Any]]:
    """Return a row per part of the data: what, how many pictures, share of the crops, licences."""
    licences = read_licences(root)
    total = sum(part.share for part in data.parts)
    rows = []
    for part in data.parts:
        sets = sorted({item.set_name for item in part.items})
        made = {"synthetic", "pasted"} & set(sets)
        own = OWN_LICENCE if made == {"synthetic"} else "as its annotated sets" if made else None
        known = dict.fromkeys(licences.get(name, UNKNOWN_LICENCE) for name in sets)
        rows.append(
            {
                "part": part.title,
                "pictures": len(part.items),
                "share_percent": round(100 * part.share / total, 1),
                "licence": own or "; ".join(known),
            }
        )
    return rows


def score_record(score: Score) -> list[dict[str, Any]]:
    """Return a row per held-out set."""
    return [
        {
            "set": one.set_name,
            "pictures": one.n_images,
            "dice": round(one.dice, 4),
            "mean_error_points": round(one.mean_error_points, 2),
            "worst_error_points": round(one.worst_error_points, 2),
        }
        for one in score.sets
    ]


def card_text(
    config: ModelConfig, description: str, *, tables: Sequence[CardTable] = (), failures: Sequence[str] = ()
) -> str:
    """Return the card as Markdown.

    Parameters
    ----------
    config : ModelConfig
        Its ``training`` tells what the model learned from and how it did on what was held out.
    description : str
        Of the recipe.
    tables : sequence of CardTable
        Further figures: by set, by density, what each ingredient is worth.
    failures : sequence of str
        What is known to go wrong.
    """
    held = _table_of("On what was held out of this training", config.training.get("held_out_figures", []))
    parts = [
        f"# {config.id}, version {config.version}",
        " ".join(description.split()),
        _paragraphs("For", _FOR),
        _paragraphs("Not for", _NOT_FOR),
        _data(config),
        "## Figures",
        *(_markdown(table) for table in (*held, *tables)),
        *([] if held or tables else ["None were measured: nothing was held out. Measure before you use it."]),
        _paragraphs(
            "Known failures", failures or ["None were looked for yet: that is no statement that there are none."]
        ),
        _made(config),
    ]
    return "\n\n".join(parts) + "\n"


def _paragraphs(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"## {title}", *(f"- {line}" for line in lines)])


def _data(config: ModelConfig) -> str:
    rows = config.training.get("data", [])
    columns = ("learned from", "pictures", "share of crops, %", "licence of the pictures")
    cells = [[row["part"], row["pictures"], row["share_percent"], row["licence"]] for row in rows]
    return f"## Data\n{_markdown(CardTable('', columns, cells))}\n\nLicence of the weights: {config.licence}."


def _table_of(title: str, rows: Sequence[dict[str, Any]]) -> list[CardTable]:
    columns = ("set", "pictures", "Dice", "mean error, points", "worst error, points")
    note = (
        "Foreground against the masks, pixels of a set taken together; errors are those of the covered share per "
        "picture, in points of 100."
    )
    return [CardTable(title, columns, [list(row.values()) for row in rows], note)] if rows else []


def _markdown(table: CardTable) -> str:
    lines = [f"### {table.title}", ""] if table.title else []
    lines += [f"| {' | '.join(table.columns)} |", f"|{' --- |' * len(table.columns)}"]
    lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in table.rows]
    return "\n".join([*lines, *(["", table.note] if table.note else [])])


def _cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace("|", "/")


def _made(config: ModelConfig) -> str:
    made = config.training
    lines = [
        f"Canonical pixel size {config.canonical_pixel_size_um:g} µm; maps: {', '.join(config.maps)}.",
        f"{made.get('steps', '?')} steps, seed {made.get('seed', '?')}, on {made.get('device', '?')} with "
        f"{made.get('threads', '?')} threads, torch {made.get('torch', '?')}, "
        f"msc-vision {made.get('msc_vision', __version__)}.",
        f"Recipe sha256 {made.get('recipe_sha256', '?')}; recipe.yaml beside this card states every setting.",
        "`sha256sum --check SHA256SUMS` tells whether a file was altered; weights and config are checked at each load.",
    ]
    if parent := made.get("parent"):
        lines.insert(0, f"Began with the weights of {parent['id']} (sha256 {parent['sha256']}).")
    return _paragraphs("How it was made", lines)
