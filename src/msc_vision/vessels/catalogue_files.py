"""Read the catalogue: the shipped YAML files, and a site's own beside them."""

from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from msc_vision.errors import InvalidDataError
from msc_vision.vessels.vessel_type import Catalogue, Refusal, VesselType, spelling_key


class _StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # a class chosen at import
    """A safe loader that refuses a key given twice, where YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping of a node, or refuse it."""
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key_node.value!r} twice", key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)


def load_catalogue(extra: Sequence[Path] = ()) -> Catalogue:
    """Return the shipped vessel types together with those of a site's own YAML files.

    Parameters
    ----------
    extra : sequence of Path
        YAML files of the same form as the shipped ones, or folders of such files. An id or a spelling that is
        already taken is refused: a shipped type is never silently replaced.

    Raises
    ------
    InvalidDataError
        If a file cannot be read, has an unknown key, a figure that contradicts another, or redefines an id. The
        message is one line that names the file and the id.
    """
    shipped = Path(str(files("msc_vision.vessels")))
    types: dict[str, VesselType] = {}
    origin: dict[str, Path] = {}
    spellings: dict[str, str] = {}
    for path in (*_yaml_files(shipped / "catalogue"), *(file for given in extra for file in _yaml_files(Path(given)))):
        for vessel in _read_vessels(path):
            if vessel.id in types:
                raise InvalidDataError(
                    f"{path}: vessel {vessel.id!r} is already defined in {origin[vessel.id]}; give yours another id."
                )
            _add_spellings(vessel, path, spellings, origin)
            types[vessel.id], origin[vessel.id] = vessel, path
    return Catalogue(types, origin, spellings, _read_refusals(shipped / "out_of_scope.yaml"))


def _yaml_files(path: Path) -> Iterator[Path]:
    if not path.exists():
        raise InvalidDataError(f"{path}: no such file or folder of vessel types.")
    if path.is_file():
        yield path
        return
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in (".yaml", ".yml"))
    if not found:
        raise InvalidDataError(f"{path}: this folder has no .yaml file of vessel types.")
    yield from found


def _add_spellings(vessel: VesselType, path: Path, spellings: dict[str, str], origin: dict[str, Path]) -> None:
    for text in (vessel.id, vessel.name, *vessel.aliases):
        key = spelling_key(text)
        owner = spellings.setdefault(key, vessel.id)
        if owner != vessel.id:
            raise InvalidDataError(
                f"{path}: vessel {vessel.id!r}: the name {text!r} already means {owner!r} of {origin[owner]}."
            )


def _load_yaml(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_StrictLoader)
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark is not None else ""
        problem = getattr(err, "problem", None) or " ".join(str(err).split())
        raise InvalidDataError(f"{path}: {where}not readable as YAML: {problem}.") from err
    except (OSError, UnicodeDecodeError) as err:
        raise InvalidDataError(f"{path}: cannot be read as a UTF-8 text file: {err}.") from err


def _entries(path: Path, key: str) -> list[dict[str, Any]]:
    data = _load_yaml(path)
    if not isinstance(data, dict) or list(data) != [key] or not isinstance(data[key], list):
        seen = ", ".join(map(str, data)) if isinstance(data, dict) else type(data).__name__
        raise InvalidDataError(f"{path}: must hold one key {key!r} with a list under it, got: {seen}.")
    for number, entry in enumerate(data[key], start=1):
        if not isinstance(entry, dict):
            raise InvalidDataError(f"{path}: entry {number} must be a mapping of keys, got {entry!r}.")
    return data[key]


def _read_vessels(path: Path) -> Iterator[VesselType]:
    for number, entry in enumerate(_entries(path, "vessels"), start=1):
        try:
            yield VesselType.model_validate(entry)
        except ValidationError as err:
            raise InvalidDataError(f"{path}: vessel {entry.get('id', f'number {number}')!r}: {_summary(err)}.") from err


def _summary(err: ValidationError) -> str:
    """Return all that pydantic found as one line in plain words."""
    known = ", ".join(VesselType.model_fields)
    parts = []
    for problem in err.errors(include_url=False):
        where = ".".join(str(step) for step in problem["loc"])
        if problem["type"] == "extra_forbidden":
            parts.append(f"unknown key {where!r} (known: {known})")
        elif problem["type"] == "missing":
            parts.append(f"{where} is missing")
        elif problem["type"] == "value_error":
            parts.append(str(problem["ctx"]["error"]))
        else:
            text = problem["msg"][0].lower() + problem["msg"][1:]
            parts.append(f"{where}: {text}, got {problem['input']!r}")
    return "; ".join(parts)


def _read_refusals(path: Path) -> tuple[Refusal, ...]:
    return tuple(
        Refusal(entry["name"], tuple(entry["patterns"]), entry["reason"]) for entry in _entries(path, "out_of_scope")
    )
