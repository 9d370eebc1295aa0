"""What every test relies on: the annotated images may be absent, and examples are drawn without a stopwatch."""

from pathlib import Path

import pytest
from hypothesis import settings

from store_cases import (  # noqa: F401  (fixtures)
    database_url,
    postgresql,
    postgresql_template,
    postgresql_url,
    sqlite_template,
    sqlite_url,
    store,
)

SHARED = Path(__file__).parents[1].parent / "shared"

settings.register_profile("steady", deadline=None, print_blob=True)
settings.load_profile("steady")


def pytest_collection_modifyitems(items):
    """Skip what needs the annotated images where they do not lie beside the checkout."""
    if (SHARED / "data" / "pairs.csv").is_file():
        return
    for item in items:
        if item.get_closest_marker("shared"):
            item.add_marker(pytest.mark.skip(reason=f"{SHARED} is not beside this checkout"))
