"""The page of all figures that are measured, from the records in the code that measures them: ``docs/features.md``.

Printed by ``python -m msc_vision.report.features``; ``make docs`` writes it.
"""

import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pkgutil import iter_modules

from msc_vision.morphology.feature import Feature

MEASURING = ("msc_vision.morphology", "msc_vision.findings")
SUFFIX = "_FEATURES"
TITLES = {
    "SHAPE_FEATURES": "Shape of each cell",
    "LOOK_FEATURES": "Look of each cell",
    "ORDER_FEATURES": "Order and texture of the layer",
    "DENSITY_FEATURES": "Density",
    "AGGREGATE_FEATURES": "Aggregates",
    "SPHEROID_FEATURES": "Spheroids and organoids",
    "BACKGROUND_FEATURES": "Surface between cells: visual signs of contamination",
    "SURFACE_FEATURES": "Surface of the vessel",
}
"""Headings, in the order of the page; a tuple without one stands at the end under its own name."""
INTRODUCTION = """\
# What is measured

Made from the code by `make docs`; do not edit it by hand.

Every figure has its unit, what it means, how it is computed, and where the definition comes from ("own" is ours).
Figures of cells and aggregates are columns of `objects.parquet`. Figures of fields are columns of `fields.parquet`,
behind `morphology_` or `findings_`; not every figure of this page is kept there. A figure that could not be measured is
empty, never 0. No figure here is a limit of biology.
"""


def feature_groups() -> dict[str, tuple[Feature, ...]]:
    """Return every tuple of `Feature` records by the name of its constant, in the order of the page."""
    found = {
        name: value
        for module in _modules()
        for name, value in sorted(vars(import_module(module)).items())
        if name.endswith(SUFFIX) and isinstance(value, tuple)
    }
    ordered = [name for name in TITLES if name in found] + sorted(name for name in found if name not in TITLES)
    return {name: found[name] for name in ordered}


def _modules() -> Iterator[str]:
    for package in MEASURING:
        for module in iter_modules(import_module(package).__path__):
            yield f"{package}.{module.name}"


def features_page() -> str:
    """Return the page as Markdown."""
    parts = [INTRODUCTION]
    for name, features in feature_groups().items():
        title = TITLES.get(name, name.removesuffix(SUFFIX).replace("_", " ").capitalize())
        parts.append(f"## {title}\n\n{_table(features)}")
    return "\n".join(parts)


def _table(features: Iterable[Feature]) -> str:
    rows = ["| figure | of | unit | what it tells | how it is computed | source |", "|---|---|---|---|---|---|"]
    for one in features:
        cells = (f"`{one.name}`", one.of, one.unit, one.meaning, one.formula, one.source)
        rows.append(f"| {' | '.join(_escaped(cell) for cell in cells)} |")
    return "\n".join(rows) + "\n"


def _escaped(text: str) -> str:
    """Return a text that stays in its cell and is no markup of its own."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # a console may be of another encoding
    sys.stdout.write(features_page())
