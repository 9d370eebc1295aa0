"""A trained network as a folder: weights, what they were made for, how they were made, and proof that none changed.

``models/<name>/`` holds ``weights.safetensors``, ``config.json``, ``recipe.yaml``, ``card.md`` and ``SHA256SUMS``.
Nothing is fetched: a model ships with the package or lies where a path says. Weights and config decide results, so both
are checked each time they are read; card and recipe are listed too, for `sha256sum --check`.
"""

import difflib
import hashlib
import json
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from msc_vision.errors import InvalidArgumentError, InvalidDataError, OutputError
from msc_vision.io.output import output_errors, write_whole
from msc_vision.resources import resource_path
from msc_vision.segmentation.cells import CellSettings
from msc_vision.segmentation.fusion import TrustSettings
from msc_vision.segmentation.network.maps import MAPS, MapName
from msc_vision.segmentation.network.model import CultureNetwork, NetworkShape

WEIGHTS, CONFIG, RECIPE, CARD, SUMS = "weights.safetensors", "config.json", "recipe.yaml", "card.md", "SHA256SUMS"
NAME_PATTERN = r"^[a-z0-9][a-z0-9.-]*$"
_CHECKED = (WEIGHTS, CONFIG)
_LISTED = (WEIGHTS, CONFIG, RECIPE, CARD)


class ModelSettings(BaseModel):
    """What a model's maps mean; found on held-out data of its training, and sealed with the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    foreground_limit: float = Field(0.5, gt=0, lt=1, description="probability above which a pixel is cell")
    obscured_limit: float = Field(
        0.5, gt=0, lt=1, description="probability above which something hides the surface and a pixel is not judged"
    )
    cells: CellSettings = Field(CellSettings(), description="how basins are joined to cells")
    strange_from: float = Field(
        3.0, gt=0, description="strangeness of a field (median of its patches) from which it is flagged"
    )
    trust: TrustSettings = Field(TrustSettings(), description="how far a field's confluency may be off")


class ModelConfig(BaseModel):
    """What has to be known to use the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    id: str = Field(pattern=NAME_PATTERN, description="name of the model; another training is another id")
    version: str = Field("1", min_length=1)
    network: NetworkShape = NetworkShape()
    canonical_pixel_size_um: float = Field(gt=0, description="pixel size of what the network sees")
    maps: tuple[MapName, ...] = Field(MAPS, description="what it answers, in this order")
    calibration_temperature: float = Field(1.0, gt=0, description="foreground logits are divided by it")
    settings: ModelSettings = Field(ModelSettings(), description="what its maps mean: limits, and how cells are joined")
    licence: str = Field("BSD-3-Clause", min_length=1, description="of the weights")
    training: dict[str, Any] = Field(default_factory=dict, description="recipe hash, steps, seed, parent model")


@dataclass(frozen=True, slots=True)
class Model:
    """A checked model, ready to use.

    Attributes
    ----------
    config : ModelConfig
    network : CultureNetwork
        In evaluation mode, on the CPU.
    sha256 : str
        Of weights and config together: what a result's provenance names.
    """

    config: ModelConfig
    network: CultureNetwork
    sha256: str


def shipped_models() -> tuple[str, ...]:
    """Return the names of the models that ship with the package."""
    return tuple(sorted(path.parent.name for path in resource_path("models").glob(f"*/{CONFIG}")))


def load_model(name_or_path: str | Path) -> Model:
    """Read a model that ships with the package (by name) or a folder of one's own (by path).

    Raises
    ------
    InvalidArgumentError
        If there is no such model; near names are said.
    InvalidDataError
        If a file is missing, was altered after it was sealed, or does not fit the others.
    """
    folder = model_folder(str(name_or_path))
    sums = _read_sums(folder)
    content = {name: _checked_bytes(folder, name, sums) for name in _CHECKED}
    config = _parse_config(folder, content[CONFIG])
    return Model(config, _network(folder, config, content[WEIGHTS]), _identity(sums))


def model_sha256(name_or_path: str | Path) -> str:
    """Return what names a model in a result's provenance, without reading its weights.

    Raises
    ------
    InvalidArgumentError, InvalidDataError
        As `load_model`.
    """
    return _identity(_read_sums(model_folder(str(name_or_path))))


def save_model(folder: Path, config: ModelConfig, network: CultureNetwork, *, recipe: str, card: str) -> str:
    """Write a model folder in one piece or not at all, and return its sha256.

    Parameters
    ----------
    folder : Path
        Must not exist: a model is never overwritten, another training is another id.
    config : ModelConfig
    network : CultureNetwork
        Weights on any device.
    recipe : str
        YAML that made it.
    card : str
        Markdown: data and licences, what it is for and not for, figures, known failures.

    Raises
    ------
    OutputError
        If the folder exists or cannot be written.
    """
    if folder.exists():
        raise OutputError(f"{folder}: exists already; a model is never overwritten, choose another name.")
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    content = {
        WEIGHTS: safetensors.torch.save(weights, metadata={"format": "pt"}),  # one key: the order of more is random
        CONFIG: (config.model_dump_json(indent=2) + "\n").encode(),
        RECIPE: recipe.encode(),
        CARD: card.encode(),
    }
    draft = folder.with_name(f".{folder.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    with output_errors(folder):
        try:
            draft.mkdir(parents=True)
            for name, one in content.items():
                write_whole(draft / name, one)
            seal_model(draft)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return _identity(_read_sums(folder))


def seal_model(folder: Path) -> None:
    """Write SHA256SUMS anew, after a person has edited a card or settled the limits in config.json.

    Raises
    ------
    InvalidDataError
        If a file is missing or the config is not valid.
    OutputError
        If the sums cannot be written.
    """
    lines = [f"{hashlib.sha256(_read_bytes(folder, name)).hexdigest()}  {name}\n" for name in _LISTED]
    _parse_config(folder, _read_bytes(folder, CONFIG))
    write_whole(folder / SUMS, "".join(lines).encode())


def model_folder(name: str) -> Path:
    """Return the folder of a model that ships (by name) or of one's own (by path).

    Raises
    ------
    InvalidArgumentError
        If there is no such model; near names are said.
    """
    known = shipped_models()
    if name in known:
        return resource_path(f"models/{name}")
    path = Path(name)
    if path.is_dir():
        return path
    if "/" in name or "\\" in name:
        raise InvalidArgumentError(f"{name}: there is no such model folder.")
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known) or 'none that ship'}."
    raise InvalidArgumentError(f"No model {name!r}: {hint} A folder is given as ./{name}.")


def _read_sums(folder: Path) -> dict[str, str]:
    sums: dict[str, str] = {}
    for line in _read_bytes(folder, SUMS).decode("utf-8", "replace").splitlines():
        digest, _, name = line.partition("  ")
        sums[name.strip()] = digest.strip()
    if missing := [name for name in _CHECKED if name not in sums]:
        raise InvalidDataError(f"{folder / SUMS}: does not list {', '.join(missing)}; the model is incomplete.")
    return sums


def _read_bytes(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError as err:
        raise InvalidDataError(f"{folder}: {name} is missing; the model is incomplete, copy it again.") from err
    except OSError as err:
        raise InvalidDataError(f"{folder / name}: cannot be read ({err.strerror or err}).") from err


def _checked_bytes(folder: Path, name: str, sums: dict[str, str]) -> bytes:
    content = _read_bytes(folder, name)
    found = hashlib.sha256(content).hexdigest()
    if found != sums[name]:
        raise InvalidDataError(
            f"{folder / name}: was altered: its sha256 is {found[:12]}…, {SUMS} has {sums[name][:12]}…; "
            "copy the model again."
        )
    return content


def _parse_config(folder: Path, content: bytes) -> ModelConfig:
    try:
        return ModelConfig.model_validate(json.loads(content))
    except ValidationError as err:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in err.errors())
        raise InvalidDataError(f"{folder / CONFIG}: {problems}.") from err
    except ValueError as err:
        raise InvalidDataError(f"{folder / CONFIG}: is no JSON ({err}).") from err


def _network(folder: Path, config: ModelConfig, content: bytes) -> CultureNetwork:
    if config.maps != MAPS:
        raise InvalidDataError(f"{folder / CONFIG}: its maps are {config.maps}, this version reads {MAPS}.")
    network = CultureNetwork(config.network)
    try:
        network.load_state_dict(safetensors.torch.load(content))
    except (safetensors.SafetensorError, RuntimeError) as err:
        reason = " ".join(str(err).split())[:200]
        raise InvalidDataError(f"{folder / WEIGHTS}: does not fit {CONFIG} ({reason}).") from err
    return network.eval()


def _identity(sums: dict[str, str]) -> str:
    return hashlib.sha256("".join(f"{sums[name]}  {name}\n" for name in _CHECKED).encode()).hexdigest()
