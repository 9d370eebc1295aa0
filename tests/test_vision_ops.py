"""torchvision's transforms load beside any build of torch, and where they cannot, the message is the fix."""

import pytest

from msc_vision.errors import MissingDependencyError
from msc_vision.learning import vision_ops


def test_transforms_load():
    assert hasattr(vision_ops.transforms_v2(), "Compose")


def test_only_the_missing_operators_are_declared(monkeypatch):
    declared = []
    complaints = iter(["operator torchvision::nms does not exist", "operator torchvision::qnms does not exist"])

    def load():
        for complaint in complaints:
            raise RuntimeError(complaint)
        return "v2"

    monkeypatch.setattr(vision_ops, "_import", load)
    monkeypatch.setattr(vision_ops, "_declare", declared.append)
    assert vision_ops.transforms_v2() == "v2"
    assert declared == ["nms", "qnms"]


def test_another_failure_is_passed_on(monkeypatch):
    def load():
        raise RuntimeError("operator torchvision::roi_align does not exist")

    monkeypatch.setattr(vision_ops, "_import", load)
    with pytest.raises(MissingDependencyError, match="roi_align"):
        vision_ops.transforms_v2()


def test_without_torchvision_the_message_is_its_fix(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torchvision", None)
    monkeypatch.setitem(__import__("sys").modules, "torchvision.transforms", None)
    with pytest.raises(MissingDependencyError, match=r"pip install .msc-vision\[train\]"):
        vision_ops.transforms_v2()
