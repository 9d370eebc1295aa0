"""What people install: the library alone brings no window, the plugin alone brings everything that it needs."""

import ast
import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from npe2 import PluginManifest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "napari_plugin"
SOURCE = PLUGIN / "src" / "napari_msc_vision"
WINDOWS = {"napari", "qtpy", "pyside6", "pyside6-essentials", "pyqt5", "pyqt6", "npe2", "magicgui", "superqt", "vispy"}
WITHOUT_QT = ("convert", "fields", "session", "work")


def project(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text())["project"]


def names(requirements):
    return {Requirement(one).name.lower() for one in requirements}


def test_the_library_asks_for_no_window():
    """Neither the base nor any extra."""
    found = project(ROOT)
    asked = names(found["dependencies"]).union(*(names(one) for one in found["optional-dependencies"].values()))
    assert not asked & WINDOWS
    assert not names(importlib.metadata.requires("msc-vision")) & WINDOWS


@pytest.mark.parametrize("module", ["msc_vision", *(f"napari_msc_vision.{name}" for name in WITHOUT_QT)])
def test_importing_it_loads_no_window(module):
    code = f"import {module}, sys; print(sorted({{name.split('.')[0].lower() for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(done.stdout))
    assert not loaded & (WINDOWS - {"magicgui"} | {"pyside6", "napari"})


def test_the_plugin_asks_for_everything_that_it_imports():
    asked = names(project(PLUGIN)["dependencies"])
    known = {"PySide6": "pyside6-essentials", "msc_vision": "msc-vision", "napari_msc_vision": None}
    of_the_library = {"numpy", "cv2", "dask", "pandas", "pyarrow", "pydantic", "scipy", "skimage", "yaml", "tifffile"}
    of_the_library |= {"PIL", "app_model"}  # the second comes with napari
    missing = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules = [one.name for one in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            else:
                continue
            for top in {module.split(".")[0] for module in modules} - set(sys.stdlib_module_names) - of_the_library:
                name = known.get(top, top.lower())
                if name is not None and name not in asked and name not in {"httpx"}:  # the extra `service`
                    missing.add((path.name, top))
    assert not missing


def test_the_plugin_brings_a_qt_and_keeps_to_the_napari_it_was_tested_with():
    asked = {one.name.lower(): one.specifier for one in map(Requirement, project(PLUGIN)["dependencies"])}
    assert "0.9.2" in asked["napari"]
    assert "0.10.0" not in asked["napari"]
    assert "pyside6-essentials" in asked


def test_the_manifest_is_valid_and_every_command_of_it_is_there():
    manifest = PluginManifest.from_file(SOURCE / "napari.yaml")
    assert manifest.name == project(PLUGIN)["name"] == "napari-msc-vision"
    for command in manifest.contributions.commands:
        module, name = command.python_name.split(":")
        path = SOURCE.joinpath(*module.split(".")[1:]).with_suffix(".py")
        defined = {node.name for node in ast.parse(path.read_text()).body if hasattr(node, "name")}
        assert name in defined, command.python_name


def test_what_the_manifest_offers_is_a_command_of_it():
    found = yaml.safe_load((SOURCE / "napari.yaml").read_text())["contributions"]
    ids = {one["id"] for one in found["commands"]}
    assert len(ids) == len(found["commands"])  # npe2 does not mind, napari does
    for part, name in (("widgets", "display_name"), ("sample_data", "key")):
        assert len({one[name] for one in found[part]}) == len(found[part])
    used = [one["command"] for part in ("readers", "widgets", "sample_data") for one in found[part]]
    used += [one["command"] for items in found["menus"].values() for one in items]
    assert set(used) == ids


def test_npe2_finds_no_fault():
    done = subprocess.run(
        [sys.executable, "-m", "npe2", "validate", str(SOURCE / "napari.yaml")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
