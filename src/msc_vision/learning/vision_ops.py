"""The one way in to torchvision's transforms, also where its compiled part does not fit the torch that is installed.

torchvision from the package index is built for the GPU build of torch. Beside a CPU build its compiled operators do not
load, and its Python part then fails at import because it describes two of them. The transforms need neither.
"""

from typing import Any

from msc_vision.errors import MissingDependencyError

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_MISSING = ("nms", "qnms")


def transforms_v2() -> Any:
    """Return the module ``torchvision.transforms.v2``.

    Raises
    ------
    MissingDependencyError
        If torchvision is not installed, or fails to import for another reason than the missing operators.
    """
    for name in _MISSING:
        try:
            return _import()
        except RuntimeError as err:
            if f"torchvision::{name}" not in str(err):
                raise MissingDependencyError(f"torchvision does not fit this torch: {err}.") from err
            _declare(name)
    return _import()


def _import() -> Any:
    try:
        from torchvision.transforms import v2
    except ImportError as err:
        raise MissingDependencyError('Training needs torchvision: pip install "msc-vision[train]".') from err
    return v2


def _declare(name: str) -> None:
    """Declare an operator without a body: it can be described, and calling it is an error of its own."""
    import torch

    torch.library.define(f"torchvision::{name}", _SIGNATURE)
