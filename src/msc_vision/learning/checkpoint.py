"""Where an interrupted training goes on: one file, written whole or not at all."""

import io
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from msc_vision.errors import InvalidDataError
from msc_vision.io.output import write_whole

NAME = "checkpoint.pt"

Weights = dict[str, Tensor]


@dataclass(slots=True)
class Checkpoint:
    """All that a training needs to go on as if nothing had happened.

    Attributes
    ----------
    recipe_sha256, data_sha256 : str
        Of what it learns; another recipe or other data do not go on from here.
    step : int
        Steps done.
    network, average, optimiser : dict
        Weights, averaged weights, state of the optimiser.
    random : Tensor
        State of torch's generator.
    best : dict or None
        Averaged weights with the best score on what was held out.
    best_score, best_step : float, int
    n_looks_since : int
        Looks at what was held out since the best.
    history : list of dict
        Rows of the log.
    """

    recipe_sha256: str
    data_sha256: str
    step: int
    network: Weights
    average: Weights
    optimiser: dict[str, Any]
    random: Tensor
    best: Weights | None = None
    best_score: float = float("-inf")
    best_step: int = 0
    n_looks_since: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; the one before stays until this one is whole.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    content = io.BytesIO()
    torch.save({name: getattr(checkpoint, name) for name in Checkpoint.__slots__}, content)
    write_whole(folder / NAME, content.getvalue())


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the checkpoint of a folder, None if there is none.

    Raises
    ------
    InvalidDataError
        If it cannot be read.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        return Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, TypeError, EOFError, pickle.UnpicklingError) as err:
        reason = " ".join(str(err).split())[:200]
        raise InvalidDataError(f"{path}: cannot be read ({reason}); delete {folder} and begin again.") from err
