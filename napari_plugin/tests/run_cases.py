"""Runs for tests of the plugin: the samples of this repository, scored in a second by the classical recipe."""

from pathlib import Path

from msc_vision.batch.pipeline import load_pipeline
from msc_vision.batch.plan import RunSettings, plan_run
from msc_vision.batch.run import run_folder
from msc_vision.io.manifest import read_manifest
from msc_vision.vessels import load_catalogue

SAMPLES = Path(__file__).parents[2] / "sample_data"


def scored_sample(name: str, out: Path) -> Path:
    """Score a sample and return its run folder; ``hyperstack-12`` has three seen layers, one field is rejected."""
    images = SAMPLES / name
    manifest = read_manifest(images / "manifest.csv")
    plan = plan_run(manifest, load_catalogue(), load_pipeline("contrast"), out, settings=RunSettings(workers=1))
    run_folder(plan)
    return out
