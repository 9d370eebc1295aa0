"""Which plane of a container is the field: time point, channel, z; each choice is told in a note."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msc_vision.errors import InvalidArgumentError
from msc_vision.io.readers.base import Channel, Contents, Plane
from msc_vision.records import PlaneChoice, Region

FOCUS_CROP_PX = 1024  # focus is compared on the centre of the field, so that the cost does not grow with the image


@dataclass(frozen=True, slots=True)
class NameRule:
    """How a kind of channel is named: by one of these words standing alone, or a part of a longer name."""

    words: frozenset[str]
    parts: tuple[str, ...] = ()

    def matches(self, name: str) -> bool:
        """Tell whether a name, in any case, follows the rule."""
        lowered = name.lower()
        return not self.words.isdisjoint(re.findall(r"[a-z]+\d*|\d+", lowered)) or any(p in lowered for p in self.parts)


# Transmitted light, what shows cells best first.
TRANSMITTED = (
    NameRule(frozenset({"phase", "ph", "pc", "phc", "dpc", "ph1", "ph2", "ph3"}), ("phase",)),
    NameRule(frozenset({"dic"}), ("interference",)),
    NameRule(frozenset({"oblique", "hoffman", "rc", "imc", "rmc"}), ("oblique", "hoffman")),
    NameRule(frozenset({"bf", "bright", "dia"}), ("brightfield", "bright field", "bright-field")),
    NameRule(frozenset({"tl", "td", "trl", "tpmt", "trans"}), ("transmit", "esid", "t-pmt", "tl-")),
    NameRule(frozenset({"gray", "grey"})),
)

# Fluorescence: dyes, proteins, filter cubes, laser lines.
FLUORESCENCE = NameRule(
    frozenset({"dapi", "hoechst", "gfp", "egfp", "yfp", "cfp", "rfp", "fitc", "tritc", "cy3", "cy5", "cy7", "mcherry",
               "txred", "pi", "green", "red", "blue", "nir", "fl", "fluo", "calcein", "draq5", "sytox"}),
    ("alexa", "fluor", "mcherry", "tomato", "gfp", "hoechst", "dapi", "texas", "cyanine", "sir-", "488", "561", "594",
     "647"),
)  # fmt: skip


def choose_plane(
    path: object, contents: Contents, choice: PlaneChoice, read: Callable[[Plane, Region], NDArray[Any]]
) -> tuple[Plane, tuple[str, ...]]:
    """Return the plane to read and the notes that say why.

    Time: the one asked for, else the first. Channel: the one asked for, else the only one, else the transmitted-light
    one by name, else the only one that is not fluorescence, else the first. z: the one asked for, else the sharpest.

    Raises
    ------
    InvalidArgumentError
        If a time point, channel or z is asked for that the file does not hold.
    """
    time, z, notes = _settle_stack(path, contents, choice)
    channel, why = choose_channel(path, contents.channels, choice.channel)
    notes += why
    if z is None and contents.n_z > 1:
        z, score = sharpest_z(contents, Plane(time, channel, 0), read)
        notes += (f"z {z} of 0 to {contents.n_z - 1} is read: the sharpest (gradient energy {score:.3g}).",)
    return Plane(time, channel, z or 0), notes


def _settle_stack(path: object, contents: Contents, choice: PlaneChoice) -> tuple[int, int | None, tuple[str, ...]]:
    """Return time, z (None: to be chosen by focus) and notes."""
    n_time, n_z, z = contents.n_time, contents.n_z, choice.z
    notes: tuple[str, ...] = ()
    if contents.is_loose_stack and n_z == 1 and z is not None and choice.time is None:
        _check_index(path, "z", z, n_time)
        return z, 0, (f"Page {z} of 0 to {n_time - 1} is read: asked for as z.",)
    if choice.time is not None:
        _check_index(path, "time point", choice.time, n_time)
    if z is not None:
        _check_index(path, "z", z, n_z)
    time = choice.time or 0
    if n_time > 1:
        why = "asked for" if choice.time is not None else "the first is taken when none is asked for"
        notes += (f"Time point {time} of 0 to {n_time - 1} is read: {why}.",)
    if n_z > 1 and z is not None:
        notes += (f"z {z} of 0 to {n_z - 1} is read: asked for.",)
    return time, z, notes


def _check_index(path: object, what: str, index: int, n: int) -> None:
    if not 0 <= index < n:
        raise InvalidArgumentError(f"{path}: {what} {index} is asked for, but the file holds 0 to {n - 1}.")


def choose_channel(
    path: object, channels: tuple[Channel, ...], wanted: int | str | None
) -> tuple[int, tuple[str, ...]]:
    """Return the index of the channel to read and a note that says which and why."""
    names = tuple(c.name or f"channel {i}" for i, c in enumerate(channels))
    if isinstance(wanted, int):
        _check_index(path, "channel", wanted, len(channels))
        return wanted, (f"Channel {wanted} ({names[wanted]}) is read: asked for.",)
    if isinstance(wanted, str):
        matches = [i for i, name in enumerate(names) if name.casefold() == wanted.casefold()]
        if not matches:
            raise InvalidArgumentError(
                f"{path}: channel {wanted!r} is asked for, but the file holds {', '.join(names)}."
            )
        return matches[0], (f"Channel {matches[0]} ({names[matches[0]]}) is read: asked for.",)
    if len(channels) == 1:
        is_odd = _is_fluorescence(channels[0]) and _rank(channels[0].name) is None
        return 0, (f"The only channel, {names[0]}, looks like fluorescence, not transmitted light.",) if is_odd else ()
    index, why = _transmitted(channels)
    return index, (f"Channel {index} ({names[index]}) of {', '.join(names)} is read: {why}.",)


def _transmitted(channels: tuple[Channel, ...]) -> tuple[int, str]:
    ranks = [_rank(c.name) for c in channels]
    named = [i for i, rank in enumerate(ranks) if rank is not None]
    stated = [i for i, c in enumerate(channels) if c.is_fluorescence is False]
    if stated:
        best = min(stated, key=lambda i: (len(TRANSMITTED) if ranks[i] is None else ranks[i], i))
        return best, "the file says it is transmitted light"
    if named:
        best = min(named, key=lambda i: (ranks[i], i))
        return best, "its name says transmitted light"
    dim = [i for i, c in enumerate(channels) if not _is_fluorescence(c)]
    if len(dim) == 1:
        return dim[0], "the only one that is not fluorescence by its name"
    return (dim or [0])[0], "no name says which is transmitted light, so the first candidate is taken"


def _is_fluorescence(channel: Channel) -> bool:
    if channel.is_fluorescence is not None:
        return channel.is_fluorescence
    return channel.name is not None and FLUORESCENCE.matches(channel.name)


def _rank(name: str | None) -> int | None:
    """Return the place of a name among the kinds of transmitted light, None when it is none of them."""
    return next((i for i, rule in enumerate(TRANSMITTED) if rule.matches(name or "")), None)


def sharpest_z(contents: Contents, first: Plane, read: Callable[[Plane, Region], NDArray[Any]]) -> tuple[int, float]:
    """Return the z with the highest focus measure on the centre of the field; the lowest z wins a tie."""
    crop = central_region(contents.shape, FOCUS_CROP_PX)
    scores = [focus_measure(read(Plane(first.time, first.channel, z), crop)) for z in range(contents.n_z)]
    best = int(np.argmax(scores))
    return best, scores[best]


def central_region(shape: tuple[int, int], side: int) -> Region:
    """Return the central square of at most ``side`` pixels."""
    height, width = min(shape[0], side), min(shape[1], side)
    y0, x0 = (shape[0] - height) // 2, (shape[1] - width) // 2
    return Region(y0, y0 + height, x0, x0 + width)


def focus_measure(image: NDArray[Any]) -> float:
    """Return Brenner's gradient energy over two pixels, of the 2x2-binned image, divided by its squared mean.

    Binning keeps sensor noise from passing for sharpness; the division makes lamp brightness cancel.

    References
    ----------
    Brenner et al., J Histochem Cytochem 24:100 (1976), doi:10.1177/24.1.1254907.
    """
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    if height < 6 or width < 6:
        return 0.0
    pixels = image[:height, :width].astype(np.float64)
    binned = pixels[::2, ::2] + pixels[1::2, ::2] + pixels[::2, 1::2] + pixels[1::2, 1::2]
    energy = np.mean((binned[2:] - binned[:-2]) ** 2) + np.mean((binned[:, 2:] - binned[:, :-2]) ** 2)
    score = float(energy / max(float(np.mean(binned)) ** 2, 1e-12))
    return score if np.isfinite(score) else 0.0
