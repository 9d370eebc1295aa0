"""Where the data that ships with the package lies: analysis recipes, rule sets, models, in a wheel or a checkout."""

from importlib.resources import files
from pathlib import Path

from msc_vision.errors import InvalidDataError


def resource_path(name: str) -> Path:
    """Return the path of a shipped file or folder such as ``pipelines/contrast.yaml``.

    Raises
    ------
    InvalidDataError
        If neither the installed package nor the checkout has it.
    """
    package = Path(str(files("msc_vision")))
    candidates = (package / "_data" / name, package.parents[1] / name)
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise InvalidDataError(f"{name} is not part of this installation; looked in {candidates[0]} and {candidates[1]}.")
