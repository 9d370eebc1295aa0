"""JSON that carries the sha256 of its own content, so that a change shows."""

import hashlib
import json
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from msc_vision.errors import InvalidDataError

SEAL = "sha256"


def canonical_sha256(content: Mapping[str, Any]) -> str:
    """Return the sha256 of a JSON object that does not depend on the order of keys or on white space."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def sealed_text(content: Mapping[str, Any]) -> str:
    """Return a JSON object, a line per key, that ends with its own sha256."""
    sealed = {**content, SEAL: canonical_sha256(content)}
    lines = [f"  {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in sealed.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def read_sealed(path: Path | Traversable) -> dict[str, Any]:
    """Return the object that `sealed_text` wrote, without its seal.

    Raises
    ------
    InvalidDataError
        If it is missing, damaged or altered.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        seal = content.pop(SEAL)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as err:
        raise InvalidDataError(f"{path}: cannot be read: {' '.join(str(err).split()) or type(err).__name__}.") from err
    if canonical_sha256(content) != seal:
        raise InvalidDataError(f"{path} was altered since it was made: its sha256 does not fit.")
    return content
