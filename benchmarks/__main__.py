"""Measure and write down: ``python -m benchmarks [accuracy] [response] [speed] [memory]``; no name means all."""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import accuracy, memory, response, speed
from benchmarks.tables import Section, environment, write_sections

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
PARTS: Mapping[str, Callable[[], Section]] = {
    "accuracy": accuracy.measure,
    "response": response.measure,
    "speed": speed.measure,
    "memory": memory.measure,
}


def main() -> int:
    """Measure the parts that are asked for, print them, and replace their sections of the page."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--keep-page", action="store_true", help="print only; leave docs/benchmarks.md as it is")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    sections: dict[str, Section] = {}
    where = environment()
    for name in arguments.parts or PARTS:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        sections[name] = PARTS[name]()
        print(sections[name].text(), flush=True)
        if not arguments.keep_page:  # at once: a later part that breaks must not cost the earlier ones
            write_sections(PAGE, {name: sections[name]}, where)
    missed = [figure.name for section in sections.values() for figure in section.figures if figure.is_met is False]
    print("every bar is met" if not missed else f"not met: {'; '.join(missed)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
