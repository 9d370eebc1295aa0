"""What the commands about the store share: which database, who is at the keyboard, what has to be installed."""

import getpass
import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from msc_vision.errors import MissingDependencyError

if TYPE_CHECKING:
    from msc_vision.service.store import Store

Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        envvar="MSC_VISION_DATABASE",
        help="sqlite:///path/to/file.db or postgresql://user@host/name; default: store.db in your data folder. A "
        "password belongs into ~/.pgpass or the variable, not into the command.",
        show_default=False,
    ),
]


def url_of(database: str | None) -> str:
    """Return the URL that was given, or the default.

    Raises
    ------
    MissingDependencyError
        If what the store is made of is not installed.
    """
    if importlib.util.find_spec("sqlalchemy") is None or importlib.util.find_spec("argon2") is None:
        raise MissingDependencyError("The store is part of the service: pip install 'msc-vision[service]'.")
    from msc_vision.service.store.location import default_database_url

    return database or default_database_url()


def open_store(database: str | None) -> "Store":
    """Open the store that was named, or the default one."""
    url = url_of(database)
    from msc_vision.service.store import Store

    return Store.open(url)


def by_command_line() -> str:
    """Return who the audit log names: the user of this computer, through the command line."""
    try:
        return f"command line:{getpass.getuser()}"
    except (OSError, KeyError, ImportError):  # a container may run under a number without a name
        return "command line:unknown"


def print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Write rows to stdout in columns as wide as they need."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
