"""The package is light to import, and data moves one way."""

import subprocess
import sys

import pytest

HEAVY = (
    "torch", "napari", "qtpy", "fastapi", "starlette", "flask", "bioio", "dask", "distributed", "zarr", "pandas",
    "matplotlib", "cv2", "scipy", "sqlalchemy", "alembic", "argon2", "psycopg",
)  # fmt: skip


def loaded_by(statement):
    """Return the top-level modules that a statement loads in a fresh interpreter."""
    code = f"{statement}\nimport sys\nprint(' '.join(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(result.stdout.split())


@pytest.mark.parametrize(
    "statement",
    ["import msc_vision", "import msc_vision.cli", "import msc_vision.vessels", "import msc_vision.records"],
)
def test_import_loads_nothing_heavy(statement):
    assert loaded_by(statement).isdisjoint(HEAVY)


@pytest.mark.parametrize(
    "statement",
    ["import msc_vision.batch.field", "import msc_vision.report", "from msc_vision.batch.run import run_folder"],
)
def test_scoring_without_a_network_loads_no_torch_and_no_gui(statement):
    assert loaded_by(statement).isdisjoint({"torch", "napari", "qtpy", "fastapi", "starlette", "flask"})
