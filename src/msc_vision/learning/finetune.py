"""Recipes for a laboratory's own corrected masks: short, gentle, and with enough simulated fields not to forget."""

from pathlib import Path

from msc_vision.errors import InvalidArgumentError
from msc_vision.learning.recipe import (
    PasteRecipe,
    SourceRecipe,
    SyntheticRecipe,
    TrainingRecipe,
    TrainRecipe,
    Truth,
    ValidationRecipe,
)
from msc_vision.learning.sources import annotated_images
from msc_vision.segmentation.network.weights import ModelConfig

_LEAST_TO_HOLD_OUT = 8
"""Pictures from which a quarter can be spared to say how good the new model is."""


def folder_recipe(folder: Path, name: str, parent: ModelConfig, pixel_size_um: float | None) -> TrainRecipe:
    """Return the recipe that fine-tunes a model on a folder of images with corrected masks.

    Parameters
    ----------
    folder : Path
        With ``X_labels.tif`` beside each image, or a ``pairs.csv``.
    name : str
        Id of the new model.
    parent : ModelConfig
        Whose weights it begins with.
    pixel_size_um : float, optional
        For images that do not state one.

    Raises
    ------
    InvalidDataError
        If there is nothing to learn from.
    """
    truth: Truth = "instances"
    images = annotated_images(SourceRecipe(pairs=".", truth="foreground", share=1), folder)
    if any(image.kind != "instances" for image in images):
        truth = "foreground"
    held = ValidationRecipe(folds=4, groups_per_fold=1) if len(images) >= _LEAST_TO_HOLD_OUT else ValidationRecipe()
    own = SourceRecipe(pairs=".", truth=truth, share=0.55, assumed_pixel_size_um=pixel_size_um)
    return TrainRecipe(
        name=name,
        description=f"{parent.id}, fine-tuned on {len(images)} images of {folder.resolve().name}.",
        licence=parent.licence,
        canonical_pixel_size_um=parent.canonical_pixel_size_um,
        network=parent.network,
        sources=(own,),
        synthetic=SyntheticRecipe(n_fields=64, side_px=576, share=0.3),
        paste=PasteRecipe(n_fields=24, share=0.15) if truth == "instances" else None,
        training=TrainingRecipe(n_steps=1500, learning_rate=4e-4, average=0.99, checkpoint_every=250),
        validation=held,
    )


def refuse_other_scale(recipe: TrainRecipe, parent: ModelConfig) -> None:
    """Refuse a recipe whose canonical pixel size or network is not that of the model it begins with.

    Raises
    ------
    InvalidArgumentError
        Naming both.
    """
    for what in ("canonical_pixel_size_um", "network"):
        ours, theirs = getattr(recipe, what), getattr(parent, what)
        if ours != theirs:
            raise InvalidArgumentError(f"Recipe {recipe.name}: {what} is {ours}, that of {parent.id} is {theirs}.")
