"""An analysis recipe: every setting that may change a score, read from YAML and named by its hash."""

import hashlib
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from msc_vision.batch.describe import DescribeSettings
from msc_vision.errors import InvalidArgumentError
from msc_vision.findings.aggregates import AggregateSettings
from msc_vision.findings.background import BackgroundSettings
from msc_vision.findings.contamination import ContaminationSettings
from msc_vision.findings.spheroids import SpheroidSettings
from msc_vision.findings.surface import SurfaceSettings
from msc_vision.imaging.artefacts import ArtefactSettings
from msc_vision.imaging.quality import QualitySettings
from msc_vision.morphology.density import DensitySettings
from msc_vision.morphology.looks import LookSettings
from msc_vision.morphology.orientation import OrderSettings
from msc_vision.morphology.shape import ShapeSettings
from msc_vision.resources import resource_path
from msc_vision.segmentation.contrast import ContrastSettings
from msc_vision.segmentation.fusion import DoubtSettings
from msc_vision.statistics.settings import SamplingSettings

Precision = Literal["auto", "float32", "bfloat16"]


class ScaleSettings(BaseModel):
    """How native pixels become working pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target_um: float = Field(1.3, gt=0, description="native pixels are binned as long as they stay at or below this")
    unknown_side_px: int = Field(1450, ge=64, description="without a pixel size, a camera picture is binned below this")
    unknown_factor_max: int = Field(4, ge=1, description="but not more: a larger picture is a mosaic")


class NetworkSettings(BaseModel):
    """Which network looks at a field; what its maps mean stands in the network's own config."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="a shipped model by name, or a folder")
    model_sha256: str | None = Field(None, description="of the model's files; filled in when the recipe is read")
    precision: Precision = Field("auto", description="auto: bfloat16 where the processor computes it natively")
    scale_tolerance: float = Field(
        0.1, ge=0, lt=0.5, description="relative distance from the canonical pixel size at which nothing is resampled"
    )
    doubt: DoubtSettings = Field(DoubtSettings(), description="when a person has to look")


class Pipeline(BaseModel):
    """An analysis recipe. How a field is cut into tiles is no part of it: that cannot change a score."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    version: str
    description: str
    scale: ScaleSettings = Field(ScaleSettings(), description="Native pixels to working pixels.")
    artefacts: ArtefactSettings = Field(ArtefactSettings(), description="What of a field is left out as not judgeable.")
    quality: QualitySettings = Field(QualitySettings(), description="Whether a field can be judged at all.")
    contrast: ContrastSettings = Field(ContrastSettings(), description="Cells against bare surface, by local contrast.")
    network: NetworkSettings | None = Field(None, description="The network; without it local contrast stands alone.")
    shape: ShapeSettings = Field(ShapeSettings(), description="Shape of each cell; cells need the network.")
    order: OrderSettings = Field(OrderSettings(), description="Order and texture of the layer as a whole.")
    density: DensitySettings = Field(DensitySettings(), description="Cells per area.")
    aggregates: AggregateSettings = Field(AggregateSettings(), description="Clusters of several layers.")
    background: BackgroundSettings = Field(BackgroundSettings(), description="The surface beside the cells.")
    contamination: ContaminationSettings = Field(ContaminationSettings(), description="Visual signs of contamination.")
    spheroids: SpheroidSettings = Field(SpheroidSettings(), description="On ultra-low attachment surfaces only.")
    surface: SurfaceSettings = Field(SurfaceSettings(), description="Flaws of the surface itself.")
    looks: LookSettings = Field(LookSettings(), description="What cells look like: exploratory, no lineage.")
    sampling: SamplingSettings = Field(SamplingSettings(), description="From fields to layers and vessels.")

    @property
    def describe(self) -> DescribeSettings:
        """What is measured once cells are known."""
        return DescribeSettings(
            self.shape,
            self.order,
            self.density,
            self.aggregates,
            self.background,
            self.contamination,
            self.surface,
            self.looks,
        )

    @property
    def sha256(self) -> str:
        """Hash of all settings as canonical JSON; the description is no setting."""
        settings = self.model_dump(mode="json", exclude={"description"})
        return hashlib.sha256(json.dumps(settings, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def load_pipeline(name_or_path: str | Path) -> Pipeline:
    """Read a recipe that ships with the package (by name) or a file of one's own (by path).

    A recipe may begin with ``extends: NAME`` and then states only what differs.

    Raises
    ------
    InvalidArgumentError
        If there is no such recipe, or it is no YAML, or has unknown keys or values out of range.
    """
    path = _find(str(name_or_path))
    try:
        pipeline = Pipeline.model_validate(_settings(path, seen=()))
    except ValidationError as err:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in err.errors())
        raise InvalidArgumentError(f"Recipe {path}: {problems}.") from err
    return pipeline if pipeline.network is None else _with_model(pipeline, pipeline.network, path)


def _with_model(pipeline: Pipeline, network: NetworkSettings, path: Path) -> Pipeline:
    """Return the recipe with the hash of its network, and refuse one that names another hash."""
    from msc_vision.segmentation.network.weights import model_sha256  # loads torch

    found = model_sha256(network.model)
    if network.model_sha256 not in (None, found):
        raise InvalidArgumentError(
            f"Recipe {path}: it wants model {network.model} with sha256 {str(network.model_sha256)[:12]}…,"
            f" here it has {found[:12]}…."
        )
    return pipeline.model_copy(update={"network": network.model_copy(update={"model_sha256": found})})


def shipped_pipelines() -> tuple[str, ...]:
    """Return the names of the recipes that ship with the package."""
    return tuple(sorted(path.stem for path in resource_path("pipelines").glob("*.yaml")))


def _find(name: str) -> Path:
    if name in shipped_pipelines():
        return resource_path(f"pipelines/{name}.yaml")
    path = Path(name)
    if path.is_file():
        return path
    raise InvalidArgumentError(f"No recipe {name!r}: give a YAML file or one of {', '.join(shipped_pipelines())}.")


def _settings(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path in seen:
        raise InvalidArgumentError(f"Recipe {path} extends itself.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise InvalidArgumentError(f"Recipe {path} is no YAML: {' '.join(str(err).split())}.") from err
    if not isinstance(content, dict):
        raise InvalidArgumentError(f"Recipe {path} holds no settings.")
    base = content.pop("extends", None)
    if base is None:
        return content
    return _merged(_settings(_find(str(base)), (*seen, path)), content)


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        is_group = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merged(base[key], value) if is_group else value
    return merged


def recipe_text(pipeline: Pipeline) -> str:
    """Return a recipe as YAML that states every setting, each with its reason as a comment."""
    head = {"name": pipeline.name, "version": pipeline.version, "description": pipeline.description}
    lines = [yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=110).rstrip()]
    for group, field in Pipeline.model_fields.items():
        settings = getattr(pipeline, group)
        if not isinstance(settings, BaseModel):
            continue
        lines += ["", f"# {field.description}", f"{group}:", *_stated(settings, "  ")]
    return "\n".join(lines) + "\n"


def _stated(settings: BaseModel, indent: str) -> Iterator[str]:
    """Yield the lines of a group of settings, groups within it further indented."""
    for name, setting in type(settings).model_fields.items():
        yield from (f"{indent}# {part}" for part in textwrap.wrap(setting.description or "", 114 - len(indent)))
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield f"{indent}{name}:"
            yield from _stated(value, f"{indent}  ")
        else:
            yield f"{indent}{name}: {_plain(value)}"


def _plain(value: Any) -> str:
    listed = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(listed, default_flow_style=True).removesuffix("\n...\n").strip()
