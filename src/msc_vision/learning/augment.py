"""Crops that look as if other hands, microscopes and cameras had made them.

Each step is a `torchvision.transforms.v2.Transform` on a (1, Y, X) tensor whose mean is one. They draw from a generator
that is handed in, not from torch's global one, so that a crop depends on its number alone and not on which thread made
it. Blur and JPEG call OpenCV: v2's gaussian_blur took 4 ms a crop of 256 x 256 where OpenCV takes 0.1, and v2's JPEG
needs compiled parts that do not load beside a CPU build of torch.
"""

import math
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msc_vision.learning.recipe import AugmentationRecipe, Range
from msc_vision.learning.vision_ops import transforms_v2

v2: Any = transforms_v2()

FloatArray = NDArray[np.float32]
DARKEST = 0.02
"""Brightness below which nothing falls, over the mean: logarithms follow."""


def log_uniform(rng: np.random.Generator, span: Range) -> float:
    """Draw a factor: halving is as likely as doubling."""
    return math.exp(rng.uniform(math.log(span[0]), math.log(span[1])))


class Drawn(v2.Transform):  # type: ignore[misc]
    """A transform that draws from a generator of its own."""

    def __init__(self, recipe: AugmentationRecipe, rng: np.random.Generator) -> None:
        super().__init__()
        self.recipe = recipe
        self.rng = rng


class Contrast(Drawn):
    """Stretch or flatten around the mean."""

    factor = 1.0

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:  # noqa: ARG002
        """Draw the factor, and remember it for the noise."""
        self.factor = log_uniform(self.rng, self.recipe.contrast)
        return {"factor": self.factor}

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Return 1 + factor * (picture - 1)."""
        return (inpt - 1).mul_(params["factor"]).add_(1)


class Inversion(Drawn):
    """Dark becomes bright."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:  # noqa: ARG002
        """Draw whether."""
        return {"is_on": self.rng.random() < self.recipe.inversion_chance}

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Return 2 - picture."""
        return 2 - inpt if params["is_on"] else inpt


class Vignetting(Drawn):
    """Uneven light: a slope and a darker or brighter rim."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:  # noqa: ARG002
        """Draw slopes along y and x, and the rim."""
        tilt = self.recipe.tilt
        return {
            "is_on": self.rng.random() < self.recipe.vignetting_chance,
            "slopes": self.rng.uniform(-tilt, tilt, 2),
            "rim": self.rng.uniform(*self.recipe.vignetting),
        }

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Multiply by the light."""
        if not params["is_on"]:
            return inpt
        y = torch.linspace(-1, 1, inpt.shape[-2])[:, None]
        x = torch.linspace(-1, 1, inpt.shape[-1])[None]
        along_y, along_x = (float(slope) for slope in params["slopes"])
        rim = float(params["rim"])
        return inpt * ((1 + along_y * y + rim * y * y) + (along_x * x + rim * x * x))


class Blur(Drawn):
    """Out of focus."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:  # noqa: ARG002
        """Draw whether, and how much."""
        return {
            "is_on": self.rng.random() < self.recipe.blur_chance,
            "sigma_px": self.rng.uniform(*self.recipe.blur_sigma_px),
        }

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Blur by a Gaussian."""
        if not params["is_on"]:
            return inpt
        return torch.from_numpy(cv2.GaussianBlur(inpt[0].numpy(), (0, 0), params["sigma_px"]))[None]


class Noise(Drawn):
    """Grain of the camera, less where contrast is low: a cell that drowns in noise must not be called a cell."""

    def __init__(self, recipe: AugmentationRecipe, rng: np.random.Generator, contrast: Contrast) -> None:
        super().__init__(recipe, rng)
        self.contrast = contrast

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw whether, how much, and the grain itself."""
        is_on = self.rng.random() < self.recipe.noise_chance
        level = log_uniform(self.rng, self.recipe.noise) if self.recipe.noise[0] > 0 else 0.0
        grain = self.rng.standard_normal(tuple(flat_inputs[0].shape), dtype=np.float32) if is_on else None
        return {"grain": grain, "level": level * min(1.0, self.contrast.factor)}

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Add the grain, and never below `DARKEST`."""
        if params["grain"] is not None:
            inpt = inpt + torch.from_numpy(params["grain"]).mul_(params["level"])
        return inpt.clamp(min=DARKEST)


class Gamma(Drawn):
    """The curve of a camera or of a person's display settings."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:  # noqa: ARG002
        """Draw whether, and the exponent."""
        return {
            "is_on": self.rng.random() < self.recipe.gamma_chance,
            "exponent": self.rng.uniform(*self.recipe.gamma),
        }

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Raise to the exponent."""
        return inpt.pow(params["exponent"]) if params["is_on"] else inpt


class Jpeg(Drawn):
    """Eight bits and blocks."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:  # noqa: ARG002
        """Draw whether, and the quality."""
        return {
            "is_on": self.rng.random() < self.recipe.jpeg_chance,
            "quality": int(self.rng.uniform(*self.recipe.jpeg_quality)),
        }

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Go through a JPEG file that holds three standard deviations below the mean and all above."""
        if not params["is_on"]:
            return inpt
        grey = inpt[0].numpy()
        low = max(0.0, 0.8 - 3 * float(grey.std()))
        span = max(float(grey.max()) - low, 1e-6)
        as_bytes = np.clip((grey - low) * (255 / span), 0, 255).astype(np.uint8)
        encoded = cv2.imencode(".jpg", as_bytes, [cv2.IMWRITE_JPEG_QUALITY, params["quality"]])[1]
        decoded = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.float32) * np.float32(span / 255)
        return torch.from_numpy(decoded)[None].add_(low).clamp_(min=DARKEST)


def photometric(recipe: AugmentationRecipe, rng: np.random.Generator) -> Any:
    """Return all steps in the order in which light passes them: specimen, lamp, lens, camera, file.

    Parameters
    ----------
    recipe : AugmentationRecipe
        Ranges and chances.
    rng : numpy.random.Generator
        Decides everything.

    Returns
    -------
    torchvision.transforms.v2.Compose
        Takes and returns a (1, Y, X) float32 tensor of mean about one.
    """
    contrast = Contrast(recipe, rng)
    specimen = [contrast, Inversion(recipe, rng), Vignetting(recipe, rng), Blur(recipe, rng)]
    camera = [Noise(recipe, rng, contrast), Gamma(recipe, rng), Jpeg(recipe, rng)]
    return v2.Compose([*specimen, *camera])
