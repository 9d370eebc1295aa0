"""Paths that requests name: each has to lie, with all links followed, inside a folder that the site opened."""

from collections.abc import Sequence
from pathlib import Path

from msc_vision.service.problems import ProblemError

MAX_PATH = 1024


def path_within(text: str, roots: Sequence[Path]) -> Path:
    """Return the real folder that a request names.

    Parameters
    ----------
    text : str
        Absolute, or relative to one of the roots.
    roots : sequence of Path
        Absolute.

    Raises
    ------
    ProblemError
        ``outside-roots``: it does not exist, is no folder, or lies elsewhere: all the same to who asks, so that
        nothing is told of what lies outside.
    """
    refusal = ProblemError(
        "outside-roots",
        f"{text[:200]!r} is no folder inside the folders of this service; an admin opens one with `--root DIR`.",
    )
    if not text or len(text) > MAX_PATH or any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise refusal
    for root in roots:
        found = _inside(root, text)
        if found is not None:
            return found
    raise refusal


def _inside(root: Path, text: str) -> Path | None:
    """Return the real folder below a root; None: not there, or not below it once links are followed."""
    try:
        real_root = root.resolve(strict=True)
        real = (real_root / text).resolve(strict=True)
        return real if real.is_relative_to(real_root) and real.is_dir() else None
    except (OSError, ValueError, RuntimeError):  # missing, forbidden, a loop of links, or a name the system refuses
        return None
