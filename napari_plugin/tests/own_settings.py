"""Folders of the tests themselves: nothing of the person who runs them is read or changed. Import it before napari."""

import os
import tempfile
from pathlib import Path

OWN = Path(tempfile.mkdtemp(prefix="msc-vision-napari-"))
for name, folder in (("XDG_CONFIG_HOME", "config"), ("XDG_CACHE_HOME", "cache"), ("XDG_DATA_HOME", "data")):
    os.environ[name] = str(OWN / folder)
os.environ["NAPARI_CONFIG"] = str(OWN / "settings.yaml")
os.environ.setdefault("QT_API", "pyside6")
