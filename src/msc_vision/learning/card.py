"""The card that goes with a model: what it learned from, what it is for and not for, figures, known failures."""

from pathlib import Path

from msc_vision.learning.data import TrainingData
from msc_vision.learning.recipe import TrainRecipe
from msc_vision.learning.score import Score
from msc_vision.segmentation.network.weights import ModelConfig


def write_card(config: ModelConfig, recipe: TrainRecipe, data: TrainingData, root: Path, score: Score | None) -> str:
    """Return the card as Markdown."""
    lines = [f"# {config.id}", recipe.description, "", *(f"- {line}" for line in data.describe())]
    if score:
        lines += ["", f"Held out: {score}."]
    return "\n".join(lines) + "\n"
