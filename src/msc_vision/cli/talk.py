"""How the command line speaks: exit codes, errors in one line, complaints as a list, tables on stderr."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from msc_vision.records import Complaint

DONE, UNEXPECTED, USER_ERROR, DONE_WITH_FAILURES, INTERRUPTED = 0, 1, 2, 3, 130
MAX_LISTED = 20


def say(text: str) -> None:
    """Tell a person something, on stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def say_error(text: str) -> None:
    """Tell a person what to put right, on stderr."""
    say(f"error: {text}")


def say_table(table: "Table") -> None:
    """Show a table on stderr, as wide as it needs when that is no terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        console = Console(stderr=True, width=120)
    console.print(table)


def say_complaints(complaints: Iterable["Complaint"]) -> None:
    """List complaints on stderr, errors first; what is said of many rows is said once, and a long list is cut."""
    by_message: dict[tuple[bool, str], list[Complaint]] = {}
    for complaint in complaints:
        by_message.setdefault((complaint.severity != "error", complaint.message), []).append(complaint)
    lines = [_line(by_message[key]) for key in sorted(by_message, key=lambda key: key[0])]
    for line in lines[:MAX_LISTED]:
        say(line)
    if len(lines) > MAX_LISTED:
        say(f"… and {len(lines) - MAX_LISTED} more; `msc-vision manifest` lists all.")


def _line(alike: list["Complaint"]) -> str:
    """Return one line for complaints that say the same of several rows."""
    first = alike[0]
    if len(alike) == 1:
        return str(first)
    return f"{first.severity}: {len(alike)} rows, from {first.path} to {alike[-1].path}: {first.message}"
