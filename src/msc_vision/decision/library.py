"""Find and read rule sets: those of a site's folders, and those that ship."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msc_vision.decision.overlay import lay_over
from msc_vision.decision.rule_file import RuleFileError, check_shares, parse_rule_file, read_yaml
from msc_vision.decision.rules import RuleSet
from msc_vision.errors import InvalidArgumentError
from msc_vision.resources import resource_path

SUFFIXES = (".yaml", ".yml")


def load_rules(name_or_path: str | Path, folders: Sequence[Path] = ()) -> RuleSet:
    """Return a rule set in full: overlays are laid over what they extend.

    Parameters
    ----------
    name_or_path : str or Path
        The id of a rule set, which is its file's name without ``.yaml``, or a YAML file.
    folders : sequence of Path
        Searched for the id, in this order, before what ships.

    Raises
    ------
    InvalidArgumentError
        If there is none of that name; the message lists what there is.
    RuleFileError
        If a file cannot be used; with a line for everything that is wrong.
    """
    name = str(name_or_path)
    path = _find(name, folders, None)
    found = _load(path, folders, ())
    if path.stem == name and found.id != name:
        raise RuleFileError((f"{path}: its id is {found.id!r}; a file that is found by id bears it as its name.",))
    return found


def complaints_of(path: Path, folders: Sequence[Path] = ()) -> tuple[str, ...]:
    """Return everything that is wrong with a rule file, a line each; none: it can be used."""
    if not path.is_file():
        return (f"{path}: no such file.",)
    try:
        _load(path, folders, ())
    except RuleFileError as err:
        return err.complaints
    except InvalidArgumentError as err:
        return (str(err),)
    return ()


def rule_set_of(content: Mapping[str, Any], folders: Sequence[Path] = ()) -> RuleSet:
    """Return the rule set that some content says, such as the JSON of `RuleSet.model_dump`; nothing else is read.

    An overlay may name only what lies in the folders or ships: no file elsewhere is looked at.

    Raises
    ------
    RuleFileError, InvalidArgumentError
        As `load_rules`.
    """
    found = parse_rule_file(content, "rule set")
    if isinstance(found, RuleSet):
        return check_shares(found, "rule set")
    path = _by_id(found.extends, folders)
    if path is None:
        raise InvalidArgumentError(_not_there(f"rule set: extends: No rule set is called {found.extends!r}", folders))
    return check_shares(lay_over(_load(path, folders, ()), found, "rule set"), "rule set")


def shipped_rule_sets() -> tuple[str, ...]:
    """Return the ids of the rule sets that ship."""
    return tuple(sorted(_files_of(resource_path("pipelines/rules"))))


def available_rule_sets(folders: Sequence[Path] = ()) -> dict[str, Path]:
    """Return every id that can be asked for, with its file; a folder's own goes before what ships."""
    found: dict[str, Path] = {}
    for folder in (*folders, resource_path("pipelines/rules")):
        for name, path in _files_of(folder).items():
            found.setdefault(name, path)
    return dict(sorted(found.items()))


def _files_of(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise InvalidArgumentError(f"{folder}: no such folder of rule sets.")
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix in SUFFIXES and path.is_file()}


def _by_id(name: str, folders: Sequence[Path]) -> Path | None:
    return available_rule_sets(folders).get(name)


def _find(name: str, folders: Sequence[Path], beside: Path | None) -> Path:
    """Return the file of a rule set by id, or by path, which begins at the file that names it."""
    found = None if name.endswith(SUFFIXES) else _by_id(name, folders)
    if found is not None:
        return found
    path = Path(name) if beside is None else beside.parent / name
    if path.is_file():
        return path
    place = "" if beside is None else f"{beside}: extends: "
    what = f"There is no file {path}" if name.endswith(SUFFIXES) else f"No rule set is called {name!r}"
    raise InvalidArgumentError(_not_there(f"{place}{what}", folders))


def _not_there(what: str, folders: Sequence[Path]) -> str:
    return f"{what}; give a YAML file or one of {', '.join(available_rule_sets(folders))}."


def _load(path: Path, folders: Sequence[Path], via: tuple[Path, ...]) -> RuleSet:
    if path.resolve() in via:
        round_trip = " extends ".join(one.name for one in (*via[via.index(path.resolve()) :], path))
        raise RuleFileError((f"{path}: {round_trip}: a rule set cannot extend itself.",))
    found = parse_rule_file(read_yaml(path), str(path))
    if not isinstance(found, RuleSet):
        base = _find(found.extends, folders, path)
        found = lay_over(_load(base, folders, (*via, path.resolve())), found, str(path))
    return check_shares(found, str(path))
