"""Pages out of templates, written whole or not at all."""

import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from msc_vision.errors import OutputError


def render(template: str, **values: Any) -> str:
    """Fill a template of this package; autoescape is on, an unknown name is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("msc_vision.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (files("msc_vision.report") / "templates" / "style.css").read_text(encoding="utf-8")
    # Our own file, not data: the only text that goes in unescaped.
    return environment.get_template(template).render(style=Markup(style), **values)


def make_folder(folder: Path) -> None:
    """Make a folder for a page, if it is not there.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise OutputError(f"{folder}: cannot be made ({err.strerror or err}); choose another --out.") from err


def write_page(path: Path, page: str) -> Path:
    """Write a page beside its place and move it there, so that nobody reads half of it.

    Raises
    ------
    OutputError
        If the folder is not writable or the disk is full.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        partial.write_text(page, encoding="utf-8")
        partial.replace(path)
    except OSError as err:
        partial.unlink(missing_ok=True)
        raise OutputError(
            f"{path}: the page could not be written ({err.strerror or err}); free space or allow writing."
        ) from err
    return path
