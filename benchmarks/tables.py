"""Figures against bars, as text that reads well in a terminal and as Markdown."""

import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure; ``bar`` is what was to be reached, ``is_met`` None where there is no bar."""

    name: str
    value: str
    bar: str = ""
    is_met: bool | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """What one part of the benchmarks found."""

    intro: str
    figures: tuple[Figure, ...] = ()
    tables: tuple[str, ...] = ()

    def text(self) -> str:
        """Return it as Markdown."""
        words = {True: "met", False: "**not met**", None: ""}
        rows = [(f.name, f.value, f.bar, words[f.is_met]) for f in self.figures]
        parts = [self.intro]
        if rows:
            parts.append(table(("figure", "measured", "bar", ""), rows))
        return "\n\n".join((*parts, *self.tables)) + "\n"


def at_least(name: str, value: float, bar: float, unit: str = "", *, digits: int = 2) -> Figure:
    """Return a figure that has to reach a bar; NaN does not."""
    return Figure(name, f"{value:.{digits}f}{unit}", f"≥ {bar:g}{unit}", value >= bar)


def at_most(name: str, value: float, bar: float, unit: str = "", *, digits: int = 2) -> Figure:
    """Return a figure that has to stay at or below a bar; NaN does not."""
    return Figure(name, f"{value:.{digits}f}{unit}", f"≤ {bar:g}{unit}", value <= bar)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table with columns of even width."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def environment() -> str:
    """Return where and with what the figures were measured, in one sentence."""
    from msc_vision.batch.plan import available_cores

    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "opencv-python-headless", "tifffile", "zarr"))
    today = datetime.now(UTC).date().isoformat()
    return (
        f"Measured on {today} at commit {_commit()}, on {_processor()}, {available_cores()} cores usable, "
        f"{platform.system()}, Python {platform.python_version()}, {packages}.{_company()}"
    )


def _company() -> str:
    """Say if the machine was at work on something else: that makes every speed too low."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return f" The machine was busy with other work before (load {load:.1f}): speeds are too low." if load > 0.7 else ""


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"model name\s*:\s*(.+)", info.read_text())):
        return found[1].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    try:
        head = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "src", "pipelines")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + (" with uncommitted changes" if changed else "")


def _git(*arguments: str) -> str:
    root = Path(__file__).parents[1]
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def write_sections(page: Path, sections: Mapping[str, Section], where: str) -> None:
    """Replace the sections between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->``; the rest of the page stays."""
    text = page.read_text(encoding="utf-8")
    for name, section in sections.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if begin not in text or end not in text:
            raise ValueError(f"{page} has no markers {begin} and {end}.")
        before, after = text.split(begin)[0], text.split(end)[1]
        text = f"{before}{begin}\n{where}\n\n{section.text()}{end}{after}"
    page.write_text(text, encoding="utf-8")
