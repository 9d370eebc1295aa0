"""What a call of the benchmarks measures: sets, recipes, and how thoroughly."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from msc_vision.batch.pipeline import Pipeline, load_pipeline
from msc_vision.errors import MscVisionError
from msc_vision.resources import resource_path

if TYPE_CHECKING:
    from msc_vision.learning.data import Use

SHARED = Path(__file__).parents[1].parent / "shared"
PAIRS = SHARED / "data" / "pairs.csv"


@dataclass(frozen=True, slots=True)
class Setup:
    """What is measured.

    Attributes
    ----------
    pipelines : tuple of str
        Recipes side by side, by name or path; the last of them that has a network is the one whose network is measured.
    sets : tuple of str or None
        Annotated sets; None for all.
    is_trial : bool
        A few pictures of each kind, to try the benchmark itself; its figures mean nothing.
    """

    pipelines: tuple[str, ...] = ("contrast", "default")
    sets: tuple[str, ...] | None = None
    is_trial: bool = False

    @property
    def recipes(self) -> Mapping[str, Pipeline]:
        """The recipes by their names."""
        loaded = [load_pipeline(name) for name in self.pipelines]
        return {recipe.name: recipe for recipe in loaded}

    @property
    def network(self) -> Pipeline | None:
        """The recipe whose network is measured."""
        return next((recipe for recipe in reversed([*self.recipes.values()]) if recipe.network is not None), None)


@dataclass(frozen=True, slots=True)
class Uses:
    """What the network's training did with each picture; ``note`` says what is not known of it."""

    by_picture: "Mapping[str, Use]"
    note: str = ""


def picture_uses_of(recipe: Pipeline | None) -> Uses:
    """Return what the training of a recipe's network did with the pictures of the list, from the model's own files."""
    if recipe is None or recipe.network is None:
        return Uses({})
    from msc_vision.learning.data import picture_uses
    from msc_vision.learning.recipe import parse_recipe
    from msc_vision.segmentation.network.weights import RECIPE, load_model, shipped_models

    name = recipe.network.model
    folder = resource_path(f"models/{name}") if name in shipped_models() else Path(name)
    parent = load_model(name).config.training.get("parent")
    lineage = f" It began from model {parent['id']}, whose own pictures are not listed in it." if parent else ""
    try:
        training = parse_recipe(yaml.safe_load((folder / RECIPE).read_text(encoding="utf-8")), str(folder / RECIPE))
        return Uses(picture_uses(training, PAIRS.parent), lineage)
    except (OSError, yaml.YAMLError, MscVisionError) as err:
        note = f" What it learned from is not known, so nothing is told apart ({type(err).__name__} in its recipe)."
        return Uses({}, note + lineage)
