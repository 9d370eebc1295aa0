"""Recipes of training, in YAML: which data with which share, how they are varied, how long, and what is held out."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from msc_vision.errors import InvalidArgumentError
from msc_vision.segmentation.network.model import NetworkShape
from msc_vision.segmentation.network.weights import NAME_PATTERN, ModelSettings

Truth = Literal["instances", "foreground", "area"]
Range = tuple[float, float]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Self:
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if str(field.annotation) == str(Range) and value[0] > value[1]:
                raise ValueError(f"{name} is {list(value)}; give the lower end first")
        return self


class SourceRecipe(_Frozen):
    """Annotated pictures."""

    pairs: str = Field("pairs.csv", description="list of images and masks, relative to the data folder")
    sets: tuple[str, ...] = Field((), description="sets of that list; none named: all of it")
    truth: Truth = Field(
        description="instances: one number per cell; foreground: cells against bare surface; area: a covered area "
        "whose outline is not to be trusted, so a band along it teaches nothing"
    )
    share: float = Field(gt=0, description="weight among all parts of the recipe")
    assumed_pixel_size_um: float | None = Field(None, gt=0, description="where neither list nor image states one")


class SyntheticRecipe(_Frozen):
    """Fields of the simulator, as different as microscopes, cultures and hands make them."""

    n_fields: int = Field(ge=1)
    side_px: int = Field(768, ge=128, le=4096)
    seed: int = Field(0, ge=0)
    share: float = Field(gt=0)


class PasteRecipe(_Frozen):
    """Annotated cells pasted densely onto real pictures: what free annotated data lack."""

    n_fields: int = Field(ge=1)
    side_px: int = Field(640, ge=128, le=4096)
    seed: int = Field(0, ge=0)
    share: float = Field(gt=0)
    cover_percent: Range = Field((20.0, 95.0), description="how full the fields become")
    scale: Range = Field((0.8, 1.25), description="size of a pasted cell against its own")
    contrast: Range = Field((0.5, 1.6), description="contrast of a pasted cell against its own")
    overlap_percent: float = Field(25.0, ge=0, le=100, description="how much of a pasted cell may lie on others")


class PseudoRecipe(_Frozen):
    """Pictures without masks, labelled by a teacher; what it is unsure of teaches nothing."""

    pairs: str = "pairs.csv"
    sets: tuple[str, ...] = Field(min_length=1)
    teacher: str = Field("contrast", description="contrast for the classical path, or a model's name or folder")
    share: float = Field(gt=0)
    assumed_pixel_size_um: float | None = Field(None, gt=0)
    sure: Range = Field((0.15, 0.85), description="foreground probabilities between these are left out")


class AugmentationRecipe(_Frozen):
    """Ranges from which each crop draws; pairs of numbers are lowest and highest, chances are 0 to 1."""

    scale: Range = Field((0.65, 1.5), description="size of cells against their own")
    contrast: Range = Field((0.35, 2.2), description="factor on the contrast, logarithmic")
    inversion_chance: float = Field(0.15, ge=0, le=1, description="dark becomes bright: negative phase contrast")
    vignetting_chance: float = Field(0.3, ge=0, le=1)
    tilt: float = Field(0.3, ge=0, description="slope of the brightness across a crop, either way")
    vignetting: Range = Field((-0.3, 0.1), description="brightness at the edges against the middle")
    blur_chance: float = Field(0.4, ge=0, le=1)
    blur_sigma_px: Range = (0.4, 1.8)
    noise_chance: float = Field(0.5, ge=0, le=1)
    noise: Range = Field((0.002, 0.02), description="standard deviation over the mean brightness, logarithmic")
    gamma_chance: float = Field(0.2, ge=0, le=1)
    gamma: Range = (0.6, 1.6)
    jpeg_chance: float = Field(0.25, ge=0, le=1)
    jpeg_quality: Range = (40.0, 95.0)


class TrainingRecipe(_Frozen):
    """The loop."""

    n_steps: int = Field(20_000, ge=1)
    batch: int = Field(8, ge=1)
    crop_px: int = Field(256, ge=64, multiple_of=16)
    learning_rate: float = Field(2e-3, gt=0)
    last_learning_rate: float = Field(1e-5, ge=0)
    warm_up_steps: int = Field(100, ge=0)
    weight_decay: float = Field(1e-2, ge=0)
    gradient_limit: float = Field(1.0, gt=0, description="longest step of the gradient")
    average: float = Field(0.999, ge=0, lt=1, description="weights are averaged over about 1/(1 - this) steps")
    seed: int = Field(0, ge=0)
    checkpoint_every: int = Field(500, ge=1, description="steps that a killed training loses at most")
    map_weights: dict[str, float] = Field(
        {
            "foreground": 1.0,
            "obscured": 0.5,
            "core": 2.0,
            "rounded": 0.5,
            "aggregate": 0.5,
            "debris": 0.5,
            "scale": 0.3,
        },
        description="weight of each map's loss, and of the guess of the pixel size",
    )


class ValidationRecipe(_Frozen):
    """What is held out, always whole sources or whole groups of one: pictures of one dish resemble each other."""

    hold_out: tuple[str, ...] = Field((), description="sets that are never trained on")
    folds: int = Field(0, ge=0, description="0: none; else every set that is large enough is cut into so many parts")
    fold: int = Field(0, ge=0, description="which of them is held out, from 0")
    groups_per_fold: int = Field(3, ge=1, description="contiguous groups, by name, that make a part")
    groups: dict[str, tuple[tuple[str, ...], ...]] = Field(
        default_factory=dict,
        description="groups of a set by patterns of file stems, where names do not tell; group i is in fold i % folds",
    )
    same_origin: tuple[tuple[str, ...], ...] = Field(
        (), description="sets that show the same cells: who holds one out holds them all out"
    )
    n_synthetic: int = Field(0, ge=0, description="fields of the simulator that are held out, beside those to learn")
    every_steps: int = Field(1000, ge=1)
    patience: int = Field(0, ge=0, description="stop after so many looks without a better one; 0: never")

    @model_validator(mode="after")
    def _fold_exists(self) -> Self:
        if self.folds == 1 or (self.folds and self.fold >= self.folds):
            raise ValueError(f"fold {self.fold} of {self.folds} folds; give folds >= 2 and 0 <= fold < folds")
        return self


class TrainRecipe(_Frozen):
    """Everything that decides the weights, but for the machine."""

    name: str = Field(pattern=NAME_PATTERN)
    version: str = "1"
    description: str = Field(min_length=1)
    licence: str = Field("BSD-3-Clause", description="of the weights; has to suit the licences of the data")
    canonical_pixel_size_um: float = Field(0.8, gt=0)
    network: NetworkShape = NetworkShape()
    sources: tuple[SourceRecipe, ...] = ()
    synthetic: SyntheticRecipe | None = None
    paste: PasteRecipe | None = None
    pseudo: tuple[PseudoRecipe, ...] = ()
    augmentation: AugmentationRecipe = AugmentationRecipe()
    training: TrainingRecipe = TrainingRecipe()
    validation: ValidationRecipe = ValidationRecipe()
    settings: ModelSettings | None = Field(None, description="what its maps mean; none: the parent's, or defaults")

    @model_validator(mode="after")
    def _has_data(self) -> Self:
        if not (self.sources or self.synthetic):
            raise ValueError("neither sources nor synthetic: there is nothing to learn from")
        if self.paste and not any(source.truth == "instances" for source in self.sources):
            raise ValueError("paste needs a source with truth: instances, to take cells from")
        return self

    @property
    def sha256(self) -> str:
        """Hash of all settings as canonical JSON; the description is no setting."""
        settings = self.model_dump(mode="json", exclude={"description"})
        return hashlib.sha256(json.dumps(settings, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def load_recipe(path: Path) -> TrainRecipe:
    """Read a recipe.

    Raises
    ------
    InvalidArgumentError
        If it cannot be read, is no YAML, or has unknown keys or values out of range; each is named.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise InvalidArgumentError(f"{path}: the recipe cannot be read: {err.strerror or err}.") from err
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise InvalidArgumentError(f"{path}: the recipe is no YAML: {' '.join(str(err).split())}.") from err
    return parse_recipe(content, str(path))


def parse_recipe(content: Any, where: str) -> TrainRecipe:
    """Check the content of a recipe.

    Parameters
    ----------
    content : mapping
        As read from YAML.
    where : str
        Named in errors.

    Raises
    ------
    InvalidArgumentError
        If keys are unknown or values out of range; each is named.
    """
    try:
        return TrainRecipe.model_validate(content)
    except ValidationError as err:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'recipe'}: {e['msg']}" for e in err.errors())
        raise InvalidArgumentError(f"{where}: {problems}.") from err


def recipe_yaml(recipe: TrainRecipe) -> str:
    """Return a recipe as YAML that states every setting."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)
