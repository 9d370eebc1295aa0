"""Where the store lies when nobody says: a file in the user's data folder."""

import os
from typing import Final

from platformdirs import user_data_path

VARIABLE: Final = "MSC_VISION_DATABASE"


def default_database_url() -> str:
    """Return the URL in the environment variable MSC_VISION_DATABASE, else of a file in the user's data folder.

    That is ``~/.local/share/msc-vision/store.db`` on Linux, and the folders that Windows and macOS have for it: not
    the current folder, in which another command would find another store.
    """
    return os.environ.get(VARIABLE) or f"sqlite:///{user_data_path('msc-vision', appauthor=False) / 'store.db'}"
