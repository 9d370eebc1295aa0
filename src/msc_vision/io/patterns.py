"""What file and folder names say: tables of named-group patterns, shipped as data, or a site's own.

To add an imaging system, add an entry with examples to ``data/filename_patterns.yaml``; the tests run the examples.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any

import yaml

from msc_vision.errors import InvalidArgumentError
from msc_vision.records import ManifestRow

COLUMNS = tuple(column.name for column in fields(ManifestRow))
COLUMN_GROUPS = frozenset(COLUMNS) - {"path", "sha256"}
CLOCK_GROUPS = ("year", "month", "day", "hour", "minute", "second")
WELL_GROUPS = ("well", "well_row", "well_column", "well_number")
PLANE_GROUPS = ("time", "z", "channel")
KNOWN_GROUPS = COLUMN_GROUPS | {"vessel", "position", *WELL_GROUPS, *PLANE_GROUPS, *CLOCK_GROUPS}


@dataclass(frozen=True, slots=True)
class NamePattern:
    """A pattern with named groups; ``examples`` are names with the groups they give, ``misses`` must not match."""

    name: str
    source: str
    expression: re.Pattern[str]
    examples: tuple[tuple[str, Mapping[str, str]], ...] = ()
    misses: tuple[str, ...] = ()

    def groups_in(self, text: str) -> dict[str, str] | None:
        """Return the named groups found in a text, or None if the pattern does not match all of it."""
        match = self.expression.fullmatch(text)
        return None if match is None else _found(match)


@dataclass(frozen=True, slots=True)
class SitePattern:
    """A site's own pattern: searched anywhere in the path, suffix included, as its author would expect."""

    expression: re.Pattern[str]
    name: str = "the site's own pattern"

    def groups_in(self, text: str) -> dict[str, str] | None:
        """Return the named groups found in a path, or None."""
        match = self.expression.search(text)
        return None if match is None else _found(match)


def _found(match: re.Match[str]) -> dict[str, str]:
    return {group: text for group, text in match.groupdict().items() if text}


@cache
def filename_patterns() -> tuple[NamePattern, ...]:
    """Return the shipped file-name patterns, in the order in which they are tried."""
    return tuple(
        NamePattern(
            entry["name"],
            entry["source"],
            re.compile(rf"(?:.*?/)??{entry['regex']}"),
            tuple((example["text"], example["groups"]) for example in entry["examples"]),
            tuple(entry["misses"]),
        )
        for entry in _load("filename_patterns.yaml")["patterns"]
    )


@cache
def folder_levels() -> tuple[NamePattern, ...]:
    """Return what single folder names mean, in the order in which they are tried."""
    return tuple(
        NamePattern(
            entry["name"],
            "folder level",
            re.compile(entry["regex"], re.IGNORECASE),
            tuple(entry["examples"].items()),
            tuple(entry["misses"]),
        )
        for entry in _load("folder_levels.yaml")["levels"]
    )


def _load(name: str) -> Any:
    return yaml.safe_load((files("msc_vision.io") / "data" / name).read_text(encoding="utf-8"))


def site_pattern(regex: str) -> SitePattern:
    r"""Return a site's own pattern, such as ``(?P<vessel_id>\w+)_S(?P<layer>\d+)_(?P<field>\d+)\.tif``.

    Parameters
    ----------
    regex : str
        A regular expression with named groups. It is searched in the path relative to the imaging folder, with ``/``
        between folders and the suffix included.

    Raises
    ------
    InvalidArgumentError
        If it is not a regular expression, has no named group, or has one that means nothing here.
    """
    try:
        expression = re.compile(regex)
    except re.error as err:
        raise InvalidArgumentError(f"The pattern {regex!r} is not a regular expression: {err}.") from err
    if not expression.groupindex:
        raise InvalidArgumentError(f"The pattern {regex!r} has no named group; write for example (?P<layer>\\d+).")
    unknown = sorted(set(expression.groupindex) - KNOWN_GROUPS)
    if unknown:
        raise InvalidArgumentError(
            f"The pattern {regex!r} has unknown groups {', '.join(unknown)}; known: {', '.join(sorted(KNOWN_GROUPS))}."
        )
    return SitePattern(expression)


def name_without_suffix(relative_path: str) -> str:
    """Return a path without its image suffix: ``L01/F07.ome.tif`` becomes ``L01/F07``."""
    path = PurePosixPath(relative_path)
    stem = path.stem[:-4] if path.stem.lower().endswith(".ome") else path.stem
    return stem if len(path.parts) == 1 else f"{path.parent}/{stem}"


def parse_name(relative_path: str, own: SitePattern | None = None) -> tuple[str, dict[str, str]] | None:
    """Return the name of the pattern that recognises a path, and its groups; None if none does.

    Parameters
    ----------
    relative_path : str
        Path of the image within the imaging folder, ``/`` between folders.
    own : SitePattern, optional
        A site's own pattern; it is then the only one tried.
    """
    if own is not None:
        groups = own.groups_in(relative_path)
        return None if groups is None else (own.name, groups)
    text = name_without_suffix(relative_path)
    for pattern in filename_patterns():
        groups = pattern.groups_in(text)
        if groups is not None:
            return pattern.name, groups
    return None


def parse_folder(name: str) -> tuple[str, dict[str, str]] | None:
    """Return the name of the folder level that a folder's name means, and its groups; None if it means none."""
    for level in folder_levels():
        groups = level.groups_in(name)
        if groups is not None:
            return level.name, groups
    return None


def well_name(groups: Mapping[str, str]) -> str | None:
    """Return the well as people write it: ``A1`` from ``A01`` or from row 1 and column 1; ``W7`` from a bare number."""
    if "well" in groups:
        text = groups["well"].upper()
    elif "well_row" in groups and "well_column" in groups:
        row = groups["well_row"].upper()
        letter = chr(ord("A") + int(row) - 1) if row.isdecimal() and 1 <= int(row) <= 26 else row
        text = f"{letter}{groups['well_column']}"
    elif "well_number" in groups:
        text = f"W{groups['well_number']}"
    else:
        return None
    match = re.fullmatch(r"([A-Z]+)0*(\d+)", text, re.ASCII)
    return f"{match[1]}{match[2]}" if match else text


def plain_number(text: str) -> str:
    """Return digits without leading zeros, so that ``s1`` and ``s01`` are one field; other text as it is."""
    return str(int(text)) if text.isascii() and text.isdecimal() else text


def field_name(groups: Mapping[str, str], *, with_well: bool) -> str | None:
    """Return the field's name from the groups of a file name, or None.

    ``with_well`` puts the well before it: on a vessel without wells, instruments still number scan areas as wells.
    """
    well = well_name(groups) if with_well else None
    numbers = [plain_number(groups[group]) for group in ("position", "field") if group in groups]
    parts = [well, *numbers] if well is not None else numbers
    return "_".join(parts) or None


def clock_time(groups: Mapping[str, str]) -> str | None:
    """Return ``2021-08-06T11:39`` from the clock groups, without a zone because names have none; None if incomplete."""
    if not all(group in groups for group in CLOCK_GROUPS[:5]):
        return None
    year = groups["year"] if len(groups["year"]) == 4 else f"20{groups['year']}"
    date = "-".join((year, *(groups[group].zfill(2) for group in ("month", "day"))))
    clock = ":".join(groups[group].zfill(2) for group in CLOCK_GROUPS[3:] if group in groups)
    return f"{date}T{clock}"
