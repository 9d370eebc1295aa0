"""Measure and write down: ``python -m benchmarks [PART ...]``; no part means all but those that train (ablation)."""

import argparse
import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.setup import Setup
from benchmarks.tables import Section, environment, write_sections

DOCS = Path(__file__).parents[1] / "docs"
GENERAL, NETWORK, REALISM = DOCS / "benchmarks.md", DOCS / "network.md", DOCS / "synth-realism.md"
MORPHOLOGY, SAMPLING, GROWTH = DOCS / "morphology.md", DOCS / "sampling.md", DOCS / "growth.md"
SERVICE = DOCS / "service.md"
STORE = DOCS / "store.md"
REVIEW = DOCS / "review.md"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the benchmarks: its module, the page that shows it, and whether it runs without being named."""

    module: str
    page: Path
    is_usual: bool = True

    def measure(self, setup: Setup) -> Section:
        """Measure; only now its libraries are loaded, which torch makes slow."""
        section: Section = importlib.import_module(f"benchmarks.{self.module}").measure(setup)
        return section


PARTS: Mapping[str, Part] = {
    "accuracy": Part("accuracy", GENERAL),
    "response": Part("response", GENERAL),
    "speed": Part("speed", GENERAL),
    "memory": Part("memory", GENERAL),
    "cultures": Part("cultures", NETWORK),
    "calibration": Part("calibration", NETWORK),
    "precision": Part("precision", NETWORK),
    "network-speed": Part("network_speed", NETWORK),
    "runtimes": Part("runtimes", NETWORK),
    "realism": Part("realism", REALISM),
    "drift": Part("drift", MORPHOLOGY, is_usual=False),
    "looks": Part("looks", MORPHOLOGY),
    "aggregates": Part("aggregates", MORPHOLOGY),
    "findings": Part("findings", MORPHOLOGY),
    "surface": Part("surface", MORPHOLOGY),
    "method-error": Part("method_error", SAMPLING),
    "sampling": Part("sampling", SAMPLING),
    "rollup-speed": Part("sampling_speed", SAMPLING),
    "growth": Part("growth", GROWTH),
    "store": Part("store", STORE),
    "service": Part("service", SERVICE),
    "service-faults": Part("service_faults", SERVICE),
    "review": Part("review", REVIEW),
    "ablation": Part("ablation", NETWORK, is_usual=False),
}


def main() -> int:
    """Measure the parts that are asked for, print them, and replace their sections of the pages."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--keep-page", action="store_true", help="print only; leave the pages in docs as they are")
    parser.add_argument("--sets", nargs="+", metavar="SET", help="annotated sets to measure on (default: all)")
    parser.add_argument(
        "--pipelines",
        nargs="+",
        metavar="RECIPE",
        default=Setup().pipelines,
        help="recipes side by side; the network measured is that of the last one that has one (default: %(default)s)",
    )
    parser.add_argument("--trial", action="store_true", help="a few pictures of each kind, to try the benchmark itself")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    sets = tuple(arguments.sets) if arguments.sets else None
    setup = Setup(tuple(arguments.pipelines), sets, arguments.trial)
    sections: dict[str, Section] = {}
    where = environment()
    for name in arguments.parts or [name for name, part in PARTS.items() if part.is_usual]:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        sections[name] = PARTS[name].measure(setup)
        print(sections[name].text(), flush=True)
        if not (arguments.keep_page or setup.is_trial):  # at once: a later part that breaks must not cost these
            write_sections(PARTS[name].page, {name: sections[name]}, where)
    missed = [figure.name for section in sections.values() for figure in section.figures if figure.is_met is False]
    print("every bar is met" if not missed else f"not met: {'; '.join(missed)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
