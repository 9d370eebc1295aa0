"""The small net that tells the inside of aggregates: its weights are whole numbers in a data file, checked when read.

`msc_vision.learning.aggregates` fits and writes them; they are never edited by hand.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msc_vision.errors import InvalidArgumentError, InvalidDataError
from msc_vision.io.sealed import read_sealed, sealed_text

SIGN_MOST = 127
HIDDEN_MOST = 2047
_EXACT = 2**24
"""Whole numbers up to here are exact in float32, and so are sums of them in any order."""
_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class AggregateNet:
    """A net of one hidden layer, all whole numbers.

    Attributes
    ----------
    signs : tuple of str
        What is weighed, in order.
    weights_in : (hidden, signs) float32 array
    bias_in : (hidden,) float32 array
    weights_out : (hidden,) float32 array
    bias_out : int
    shift : tuple of two int
        Bits that are dropped after the hidden layer and after the answer: then 16 steps are 1 in the logarithm of the
        odds.
    training : mapping
        How the weights were made, for a person to read.
    """

    signs: tuple[str, ...]
    weights_in: NDArray[np.float32]
    bias_in: NDArray[np.float32]
    weights_out: NDArray[np.float32]
    bias_out: int
    shift: tuple[int, int]
    training: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse weights that do not fit each other, are no whole numbers, or whose sums would not be exact."""
        hidden = len(self.bias_in)
        if self.weights_in.shape != (hidden, len(self.signs)) or self.weights_out.shape != (hidden,):
            raise InvalidArgumentError(
                f"{len(self.signs)} signs, weights {self.weights_in.shape}, {hidden} units, {self.weights_out.shape}."
            )
        numbers = (self.weights_in, self.bias_in, self.weights_out)
        most_in = SIGN_MOST * np.abs(self.weights_in).sum(axis=1) + np.abs(self.bias_in)
        most_out = HIDDEN_MOST * float(np.abs(self.weights_out).sum()) + abs(self.bias_out)
        if any((values != np.rint(values)).any() for values in numbers) or max(*most_in, most_out) >= _EXACT:
            raise InvalidArgumentError(f"Weights must be whole numbers and their sums below {_EXACT}.")

    def weigh(self, signs: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return 128 plus 16 times the logarithm of the odds that a place lies in an aggregate, (Y, X) uint8.

        Parameters
        ----------
        signs : (signs, Y, X) float32 array
            Whole numbers from -127 to 127.
        """
        hidden = self.weights_in @ signs.reshape(len(signs), -1)
        hidden += self.bias_in[:, None]
        hidden *= np.float32(2.0 ** -self.shift[0])
        np.clip(hidden, 0, HIDDEN_MOST, out=hidden)
        np.floor(hidden, out=hidden)
        answer = self.weights_out @ hidden
        answer = np.floor((answer + np.float32(self.bias_out)) * np.float32(2.0 ** -self.shift[1]))
        return np.clip(answer + 128, 0, 255).astype(np.uint8).reshape(signs.shape[1:])


def net_json(net: AggregateNet) -> bytes:
    """Return a net as the content of a data file, sealed with its sha256."""
    content: dict[str, Any] = {
        "schema_version": _SCHEMA_VERSION,
        "training": dict(net.training),
        "signs": list(net.signs),
        "shift": list(net.shift),
        "bias_out": net.bias_out,
        "weights_out": _whole(net.weights_out),
        "bias_in": _whole(net.bias_in),
        "weights_in": _whole(net.weights_in),
    }
    return sealed_text(content).encode()


def read_net(path: Path) -> AggregateNet:
    """Read a net and check that nobody has altered it.

    Raises
    ------
    InvalidDataError
        If it is damaged, altered or of another format.
    """
    content = read_sealed(path)
    try:
        version = content["schema_version"]
        net = AggregateNet(
            tuple(content["signs"]),
            np.array(content["weights_in"], np.float32),
            np.array(content["bias_in"], np.float32),
            np.array(content["weights_out"], np.float32),
            int(content["bias_out"]),
            (int(content["shift"][0]), int(content["shift"][1])),
            content["training"],
        )
    except (ValueError, KeyError, TypeError, IndexError) as err:
        raise InvalidDataError(f"{path}: the weights cannot be read: {' '.join(str(err).split())}.") from err
    if version != _SCHEMA_VERSION:
        raise InvalidDataError(f"{path}: weights of format {version}; this version reads {_SCHEMA_VERSION}.")
    return net


@lru_cache(maxsize=1)
def shipped_net() -> AggregateNet:
    """Return the net that ships with the package."""
    return read_net(shipped_path())


def shipped_path() -> Path:
    """Return where the weights of the shipped net lie."""
    return Path(str(files("msc_vision.findings") / "data" / "aggregates.json"))


def _whole(values: NDArray[np.float32]) -> list[Any]:
    listed: list[Any] = values.astype(np.int64).tolist()
    return listed
