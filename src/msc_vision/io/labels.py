"""Foreground, instances and what was judged as OME-Zarr 0.5 (Zarr v3), written whole or by tiles, or not at all.

A store ``<key>.ome.zarr`` is a group with ``labels/foreground`` (uint8, 0 or 1), ``labels/instances`` (int32, 0 =
background), ``labels/judgeable`` (uint8, 1 = was judged) and, where there are any, ``labels/aggregates`` (int32). All
are multiscale: level 0 has the working resolution (the native image binned by ``factor``), each further level takes
every second pixel of the one before (labels are names, so they are picked, never averaged) until both sides are at most
256 pixels. The root lists the foreground as its image, so that a viewer opens it with all overlays. ``factor`` and the
native shape stand in the attributes, for `to_native`.

Metadata and chunks are written directly: zarr-python reads them (a test proves it), but its own way of writing takes
four to five times as long. Chunks lie beside their metadata (separator "."), because making the
nested folders took longer than compressing the pixels.
"""

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Literal, Self

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from msc_vision.errors import InvalidArgumentError, InvalidDataError, OutputError
from msc_vision.io.images import content_sha256
from msc_vision.records import Region

Kind = Literal["foreground", "instances", "judgeable", "aggregates"]
DTYPES: Mapping[Kind, np.dtype[Any]] = {
    "foreground": np.dtype("<u1"),
    "instances": np.dtype("<i4"),
    "judgeable": np.dtype("<u1"),
    "aggregates": np.dtype("<i4"),
}
ALWAYS: tuple[Kind, ...] = ("foreground", "instances", "judgeable")
CHUNK_PX = 1024
SMALLEST_LEVEL_PX = 256
ZSTD_LEVEL = 1  # twice as fast as the default, 1 % larger on label images
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class LabelsMeta:
    """How a label store relates to the image it was measured on.

    ``shape`` is the working shape of level 0, ``image_shape`` the native one; one working pixel covers
    ``factor`` x ``factor`` native pixels. ``pixel_size_um`` is the native one, None when it is not known.
    """

    shape: tuple[int, int]
    image_shape: tuple[int, int]
    factor: int
    pixel_size_um: float | None

    def __post_init__(self) -> None:
        """Refuse what cannot belong together."""
        if self.factor < 1 or min(*self.shape, *self.image_shape) < 1:
            raise InvalidArgumentError(f"Shapes and factor must be positive: {self}.")
        for working, native in zip(self.shape, self.image_shape, strict=True):
            if not native // self.factor <= working <= -(-native // self.factor):
                raise InvalidArgumentError(
                    f"Labels of {self.shape} do not belong to an image of {self.image_shape} binned by {self.factor}."
                )
        if self.pixel_size_um is not None and not 0 < self.pixel_size_um < 1e6:
            raise InvalidArgumentError(f"Pixel size {self.pixel_size_um} µm is not a length.")

    def level_shapes(self) -> tuple[tuple[int, int], ...]:
        """Return the shape of each level, finest first."""
        shapes = [self.shape]
        while max(shapes[-1]) > SMALLEST_LEVEL_PX:
            shapes.append(((shapes[-1][0] + 1) // 2, (shapes[-1][1] + 1) // 2))
        return tuple(shapes)


def write_labels(
    path: Path | str,
    foreground: NDArray[np.bool_],
    labels: NDArray[np.int32],
    judgeable: NDArray[np.bool_],
    pixel_size_um: float | None,
    factor: int,
    image_shape: tuple[int, int],
    aggregates: NDArray[np.int32] | None = None,
) -> str:
    """Write the masks of one field, replacing a store of the same name, and return its `labels_sha256`.

    Parameters
    ----------
    path : path
        The ``….ome.zarr`` folder to be; its parent exists.
    foreground : (Y, X) bool array
        True where a pixel belongs to a cell, at working resolution.
    labels : (Y, X) int32 array
        Instances, 0 = background, same shape.
    judgeable : (Y, X) bool array
        True where the field was judged, same shape.
    pixel_size_um : float or None
        Of the native image; None when it is not known.
    factor : int
        Native pixels binned into one working pixel, per side.
    image_shape : (int, int)
        Of the native image.
    aggregates : (Y, X) int32 array, optional
        Aggregates in numbers of their own, 0 = none; not written where none is given.

    Raises
    ------
    InvalidArgumentError
        If types or shapes do not fit.
    OutputError
        If the store cannot be written; nothing is left behind.
    """
    images: dict[Kind, NDArray[Any]] = {"foreground": foreground, "instances": labels, "judgeable": judgeable}
    if aggregates is not None:
        images["aggregates"] = aggregates
    height, width = _common_shape(images)
    meta = LabelsMeta((height, width), _as_shape(image_shape), factor, pixel_size_um)
    files = dict(_metadata_files(Path(path).name, meta, tuple(images)))
    for kind, image in images.items():
        for level in range(len(meta.level_shapes())):
            files.update(_chunk_files(f"labels/{kind}/{level}", image, DTYPES[kind]))
            image = image[::2, ::2]  # noqa: PLW2901
    with _staged(Path(path)) as folder:
        _write_files(folder, files)
    return _files_sha256(files)


def labels_sha256(path: Path | str) -> str:
    """Return the digest of a label store: SHA-256 over the names and bytes of its files, in sorted order.

    The bytes follow from the pixels and the zstd version alone, so the same labels give the same digest.
    """
    return content_sha256(path)


def read_meta(path: Path | str) -> LabelsMeta:
    """Return how a label store relates to its image.

    Raises
    ------
    InvalidDataError
        If it is missing, incomplete, or not a store of this package.
    """
    return _parse_meta(Path(path), _read_json(Path(path), "zarr.json"))


def read_labels(
    path: Path | str, level: int = 0, region: Region | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.int32], LabelsMeta]:
    """Return foreground (Y, X) bool, instances (Y, X) int32 and metadata of a store, or of a region of a level.

    Only the chunks that the region touches are decoded.

    Raises
    ------
    InvalidArgumentError
        If the level or region does not exist.
    InvalidDataError
        If a chunk is missing or damaged: a hole in a store is never read as background.
    """
    path = Path(path)
    meta = read_meta(path)
    shape, region = _asked(path, meta, level, region)
    foreground = _read_region(path, "foreground", level, shape, region)
    instances = _read_region(path, "instances", level, shape, region)
    return foreground.view(np.bool_), instances, meta


def read_judgeable(path: Path | str, level: int = 0, region: Region | None = None) -> NDArray[np.bool_]:
    """Return where a field was judged, (Y, X) bool, of a store or of a region of a level.

    Raises
    ------
    InvalidArgumentError
        If the level or region does not exist.
    InvalidDataError
        If a chunk is missing or damaged, or the store does not say what was judged, as those of older versions do not.
    """
    path = Path(path)
    shape, region = _asked(path, read_meta(path), level, region)
    _check_says_judgeable(path)
    return _read_region(path, "judgeable", level, shape, region).view(np.bool_)


def read_aggregates(path: Path | str, level: int = 0, region: Region | None = None) -> NDArray[np.int32]:
    """Return the aggregates of a store or of a region of a level, (Y, X) int32; all 0 where none was written.

    Raises
    ------
    InvalidArgumentError
        If the level or region does not exist.
    InvalidDataError
        If a chunk is missing or damaged.
    """
    path = Path(path)
    shape, region = _asked(path, read_meta(path), level, region)
    if not (path / "labels" / "aggregates").is_dir():
        return np.zeros(region.shape, np.int32)
    return _read_region(path, "aggregates", level, shape, region)


def is_within_judgeable(path: Path | str) -> bool:
    """Return whether all foreground of a store lies where the field was judged; one chunk at a time is in memory.

    Raises
    ------
    InvalidDataError
        As by `read_judgeable`.
    """
    path = Path(path)
    shape = read_meta(path).shape
    _check_says_judgeable(path)
    kinds: tuple[Kind, Kind] = ("foreground", "judgeable")
    for y, x in _chunk_grid(shape):
        foreground, judgeable = (
            _read_chunk(path, f"labels/{kind}/0/c.{y}.{x}", DTYPES[kind], _chunk_shape(shape)) for kind in kinds
        )
        if (foreground > judgeable).any():
            return False
    return True


def to_native(labels: NDArray[Any], factor: int, shape: tuple[int, int]) -> NDArray[Any]:
    """Return a working-resolution mask with the pixels of the native image.

    Each working pixel covers ``factor`` x ``factor`` native ones. Where binning dropped a rest at the lower or right
    edge, the last working pixel is continued.

    Parameters
    ----------
    labels : (Y, X) array
        Mask or instances at working resolution.
    factor : int
        Native pixels per working pixel and side.
    shape : (int, int)
        Of the native image.
    """
    height, width = shape
    if factor < 1 or any(not n // factor <= w <= -(-n // factor) for n, w in zip(shape, labels.shape, strict=True)):
        raise InvalidArgumentError(f"Labels of {labels.shape} do not belong to an image of {shape} binned by {factor}.")
    if factor == 1:
        return labels
    native = np.repeat(np.repeat(labels, factor, axis=0), factor, axis=1)[:height, :width]
    short_y, short_x = height - native.shape[0], width - native.shape[1]
    return np.pad(native, ((0, short_y), (0, short_x)), mode="edge") if short_y or short_x else native


class LabelsWriter:
    """Writes one store tile by tile in bounded memory; a ``with`` block commits, an exception inside it aborts.

    Tiles may come in any order and from several threads. Every pixel must be written before `commit`; tiles are
    aligned to chunks of ``chunk_px``, so that no chunk is written twice.
    """

    chunk_px = CHUNK_PX

    def __init__(
        self,
        path: Path | str,
        shape: tuple[int, int],
        pixel_size_um: float | None,
        factor: int,
        image_shape: tuple[int, int],
    ) -> None:
        self._path = Path(path)
        self.meta = LabelsMeta(_as_shape(shape), _as_shape(image_shape), factor, pixel_size_um)
        self._written: dict[Kind, set[str]] = {kind: set() for kind in DTYPES}
        self._lock = Lock()
        self._folder = _temporary(self._path, "tmp")
        with _output_errors(self._path):
            self._folder.mkdir()

    def write_tile(
        self,
        region: Region,
        foreground: NDArray[np.bool_] | None,
        labels: NDArray[np.int32] | None,
        judgeable: NDArray[np.bool_] | None,
        aggregates: NDArray[np.int32] | None = None,
    ) -> None:
        """Write the masks of an aligned region; each may be None and follow in a later call.

        Aggregates are left out altogether where no tile has brought any.

        Raises
        ------
        InvalidArgumentError
            If the region is not aligned to chunks, or types and shapes do not fit.
        OutputError
            If it cannot be written.
        """
        self._check_aligned(region)
        given: dict[Kind, NDArray[Any] | None] = {
            "foreground": foreground,
            "instances": labels,
            "judgeable": judgeable,
            "aggregates": aggregates,
        }
        for kind, image in given.items():
            if image is None:
                continue
            _check_image(kind, image, region.shape)
            first = region.y0 // CHUNK_PX, region.x0 // CHUNK_PX
            self._write(kind, 0, dict(_chunk_files(self._at(kind, 0), image, DTYPES[kind], first, self.meta.shape)))

    def read_foreground(self, region: Region) -> NDArray[np.bool_]:
        """Return the foreground that was written for a region, before its instances are."""
        return _read_region(self._folder, "foreground", 0, self.meta.shape, region).view(np.bool_)

    def read_instances(self, region: Region) -> NDArray[np.int32]:
        """Return the instances that were written for a region."""
        return _read_region(self._folder, "instances", 0, self.meta.shape, region)

    def commit(self) -> str:
        """Add the coarser levels and the metadata, move the store to its place, and return its `labels_sha256`."""
        kinds = tuple(kind for kind in DTYPES if kind in ALWAYS or self._written[kind])
        for kind in kinds:
            self._check_complete(kind)
            for level, shape in enumerate(self.meta.level_shapes()[1:], start=1):
                self._decimate(kind, level, shape)
        with _output_errors(self._path):
            _write_files(self._folder, dict(_metadata_files(self._path.name, self.meta, kinds)))
            digest = labels_sha256(self._folder)
            _replace(self._folder, self._path)
        return digest

    def abort(self) -> None:
        """Remove what was written; the store that was there before stays."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.abort()
            return
        try:
            self.commit()
        except BaseException:
            self.abort()
            raise

    def _at(self, kind: Kind, level: int) -> str:
        return f"labels/{kind}/{level}"

    def _write(self, kind: Kind, level: int, files: Mapping[str, bytes]) -> None:
        with _output_errors(self._path):
            _write_files(self._folder, files)
        if level == 0:
            with self._lock:
                self._written[kind].update(files)

    def _check_aligned(self, region: Region) -> None:
        spans = ((region.y0, region.y1, self.meta.shape[0]), (region.x0, region.x1, self.meta.shape[1]))
        for start, stop, n in spans:
            is_aligned = start % CHUNK_PX == 0 and (stop % CHUNK_PX == 0 or stop == n)
            if not (is_aligned and 0 <= start < stop <= n):
                raise InvalidArgumentError(
                    f"{region} is not aligned to chunks of {CHUNK_PX} px within {self.meta.shape}."
                )

    def _check_complete(self, kind: Kind) -> None:
        expected = {f"{self._at(kind, 0)}/c.{y}.{x}" for y, x in _chunk_grid(self.meta.shape)}
        if missing := expected - self._written[kind]:
            raise InvalidArgumentError(
                f"{self._path}: {len(missing)} of {len(expected)} chunks of {kind} were never written."
            )

    def _decimate(self, kind: Kind, level: int, shape: tuple[int, int]) -> None:
        """Write a level from the finer one, a chunk (four of the finer) at a time."""
        finer = self.meta.level_shapes()[level - 1]
        for y, x in _chunk_grid(shape):
            y0, x0 = 2 * y * CHUNK_PX, 2 * x * CHUNK_PX
            source = Region(y0, min(y0 + 2 * CHUNK_PX, finer[0]), x0, min(x0 + 2 * CHUNK_PX, finer[1]))
            pixels = _read_region(self._folder, kind, level - 1, finer, source)[::2, ::2]
            self._write(kind, level, dict(_chunk_files(self._at(kind, level), pixels, DTYPES[kind], (y, x), shape)))


def _as_shape(shape: tuple[int, int]) -> tuple[int, int]:
    height, width = shape
    return int(height), int(width)


def _common_shape(images: Mapping[Kind, NDArray[Any]]) -> tuple[int, int]:
    """Return the shape that the images of a store share."""
    shape = images["foreground"].shape
    if len(shape) != 2:
        raise InvalidArgumentError(f"A mask is (Y, X); this one has shape {shape}.")
    for kind, image in images.items():
        _check_image(kind, image, shape)
    return shape


def _check_image(kind: Kind, image: NDArray[Any], shape: tuple[int, int]) -> None:
    dtype = np.dtype(np.int32 if DTYPES[kind].itemsize > 1 else np.bool_)
    if image.dtype != dtype or image.shape != shape:
        raise InvalidArgumentError(f"{kind} must be {dtype} of shape {shape}; got {image.dtype} of {image.shape}.")


def _chunk_shape(shape: tuple[int, int]) -> tuple[int, int]:
    return min(CHUNK_PX, shape[0]), min(CHUNK_PX, shape[1])


def _chunk_grid(shape: tuple[int, int]) -> Iterator[tuple[int, int]]:
    for y in range(-(-shape[0] // CHUNK_PX)):
        for x in range(-(-shape[1] // CHUNK_PX)):
            yield y, x


def _chunk_files(
    at: str,
    image: NDArray[Any],
    dtype: np.dtype[Any],
    first: tuple[int, int] = (0, 0),
    whole: tuple[int, int] | None = None,
) -> Iterator[tuple[str, bytes]]:
    """Yield name and encoded bytes of the chunks of an image that begins at chunk ``first`` of an array."""
    height, width = image.shape
    chunk = _chunk_shape(whole or (height, width))
    for y, x in _chunk_grid((height, width)):
        block = image[y * CHUNK_PX : (y + 1) * CHUNK_PX, x * CHUNK_PX : (x + 1) * CHUNK_PX]
        value = block[0, 0]
        if (block[0] == value).all() and (block == value).all():
            encoded = _encoded_constant(int(value), block.shape, dtype, chunk)
        else:
            encoded = _encoded(block, dtype, chunk)
        yield f"{at}/c.{first[0] + y}.{first[1] + x}", encoded


@lru_cache(maxsize=64)
def _encoded_constant(value: int, shape: tuple[int, int], dtype: np.dtype[Any], chunk: tuple[int, int]) -> bytes:
    """Return the bytes of a chunk of one value; most fields are judged all over, and encoding is most of the work."""
    return _encoded(np.full(shape, value, dtype), dtype, chunk)


def _encoded(block: NDArray[Any], dtype: np.dtype[Any], chunk: tuple[int, int]) -> bytes:
    if block.shape != chunk:  # Zarr pads the chunks at the lower and right edge
        block = np.pad(block, [(0, full - n) for full, n in zip(chunk, block.shape, strict=True)])
    contiguous = np.ascontiguousarray(block, dtype=dtype)
    return bytes(imagecodecs.zstd_encode(contiguous.data, level=ZSTD_LEVEL))  # type: ignore[arg-type]


def _asked(path: Path, meta: LabelsMeta, level: int, region: Region | None) -> tuple[tuple[int, int], Region]:
    """Return the shape of a level and the region of it that is asked for, all of it by default."""
    shapes = meta.level_shapes()
    if not 0 <= level < len(shapes):
        raise InvalidArgumentError(f"{path}: level {level} is asked for, it has 0 to {len(shapes) - 1}.")
    height, width = shapes[level]
    region = region or Region(0, height, 0, width)
    if not (0 <= region.y0 < region.y1 <= height and 0 <= region.x0 < region.x1 <= width):
        raise InvalidArgumentError(f"{path}: {region} is not within the {height} x {width} pixels of level {level}.")
    return shapes[level], region


def _check_says_judgeable(path: Path) -> None:
    if not (path / "labels" / "judgeable").is_dir():
        raise InvalidDataError(
            f"{path}: it does not say what was judged, as an older version wrote it; score it again."
        )


def _read_region(path: Path, kind: Kind, level: int, shape: tuple[int, int], region: Region) -> NDArray[Any]:
    dtype, chunk = DTYPES[kind], _chunk_shape(shape)
    out = np.empty(region.shape, dtype.newbyteorder("="))
    for cy in range(region.y0 // CHUNK_PX, (region.y1 - 1) // CHUNK_PX + 1):
        for cx in range(region.x0 // CHUNK_PX, (region.x1 - 1) // CHUNK_PX + 1):
            block = _read_chunk(path, f"labels/{kind}/{level}/c.{cy}.{cx}", dtype, chunk)
            y0, x0 = max(region.y0, cy * CHUNK_PX), max(region.x0, cx * CHUNK_PX)
            y1, x1 = min(region.y1, (cy + 1) * CHUNK_PX), min(region.x1, (cx + 1) * CHUNK_PX)
            out[y0 - region.y0 : y1 - region.y0, x0 - region.x0 : x1 - region.x0] = block[
                y0 - cy * CHUNK_PX : y1 - cy * CHUNK_PX, x0 - cx * CHUNK_PX : x1 - cx * CHUNK_PX
            ]
    return out


def _read_chunk(path: Path, name: str, dtype: np.dtype[Any], chunk: tuple[int, int]) -> NDArray[Any]:
    n_bytes = chunk[0] * chunk[1] * dtype.itemsize
    try:
        decoded = imagecodecs.zstd_decode((path / name).read_bytes(), out=n_bytes)
    except FileNotFoundError as err:
        raise InvalidDataError(f"{path}: chunk {name} is missing; the store is incomplete.") from err
    except (imagecodecs.ZstdError, OSError) as err:
        raise InvalidDataError(f"{path}: chunk {name} cannot be read ({err}).") from err
    if len(decoded) != n_bytes:
        raise InvalidDataError(f"{path}: chunk {name} holds {len(decoded)} bytes, {n_bytes} were expected.")
    return np.frombuffer(decoded, dtype).reshape(chunk)


def _read_json(path: Path, name: str) -> Any:
    try:
        return json.loads((path / name).read_bytes())
    except FileNotFoundError as err:
        raise InvalidDataError(f"{path}: there is no {name}; it is no label store, or an incomplete one.") from err
    except (OSError, ValueError) as err:
        raise InvalidDataError(f"{path}: {name} cannot be read ({err}).") from err


def _parse_meta(path: Path, root: Any) -> LabelsMeta:
    try:
        stored = root["attributes"]["msc_vision"]
        shape, image_shape = (_as_shape(stored[key]) for key in ("shape", "image_shape"))
        size = stored["pixel_size_um"]
        return LabelsMeta(shape, image_shape, int(stored["factor"]), None if size is None else float(size))
    except (KeyError, TypeError, ValueError) as err:  # InvalidArgumentError is a ValueError
        raise InvalidDataError(f"{path}: zarr.json does not describe labels of this package ({err}).") from err


def _metadata_files(name: str, meta: LabelsMeta, kinds: Sequence[Kind]) -> Iterator[tuple[str, bytes]]:
    """Yield the zarr.json files of a store."""
    own = {
        "schema_version": SCHEMA_VERSION,
        "shape": meta.shape,
        "image_shape": meta.image_shape,
        "factor": meta.factor,
        "pixel_size_um": meta.pixel_size_um,
    }
    title = name.removesuffix(".ome.zarr")
    yield "zarr.json", _group({"ome": _multiscales(title, meta, "labels/foreground/"), "msc_vision": own})
    yield "labels/zarr.json", _group({"ome": {"version": "0.5", "labels": list(kinds)}})
    for kind in kinds:
        image_label = {"image-label": {"source": {"image": "../../"}}}
        yield f"labels/{kind}/zarr.json", _group({"ome": _multiscales(kind, meta, "") | image_label})
        for level, shape in enumerate(meta.level_shapes()):
            yield f"labels/{kind}/{level}/zarr.json", _array(DTYPES[kind], shape)


def _dump(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode()  # without indent: the compiled encoder is ten times faster


def _group(attributes: Mapping[str, Any]) -> bytes:
    return _dump({"zarr_format": 3, "node_type": "group", "attributes": attributes})


def _array(dtype: np.dtype[Any], shape: tuple[int, int]) -> bytes:
    as_bytes: dict[str, Any] = {"name": "bytes"}
    if dtype.itemsize > 1:
        as_bytes["configuration"] = {"endian": "little"}
    return _dump(
        {
            "zarr_format": 3,
            "node_type": "array",
            "shape": shape,
            "data_type": dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": _chunk_shape(shape)}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": 0,
            "codecs": [as_bytes, {"name": "zstd", "configuration": {"level": ZSTD_LEVEL, "checksum": False}}],
            "dimension_names": ["y", "x"],
            "attributes": {},
        }
    )


def _multiscales(name: str, meta: LabelsMeta, prefix: str) -> dict[str, Any]:
    """Return the NGFF 0.5 description; without a pixel size, lengths are in native pixels and carry no unit.

    The origin is the centre of the first native pixel, so that overlays on the native image fit to half a pixel.
    """
    unit = {} if meta.pixel_size_um is None else {"unit": "micrometer"}
    native = 1.0 if meta.pixel_size_um is None else meta.pixel_size_um
    datasets = []
    for level in range(len(meta.level_shapes())):
        covered = meta.factor * 2**level
        scale = {"type": "scale", "scale": [native * covered] * 2}
        shift = {"type": "translation", "translation": [native * (covered - 1) / 2] * 2}
        datasets.append({"path": f"{prefix}{level}", "coordinateTransformations": [scale, shift]})
    axes = [{"name": axis, "type": "space"} | unit for axis in "yx"]
    return {"version": "0.5", "multiscales": [{"name": name, "type": "nearest", "axes": axes, "datasets": datasets}]}


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    made: set[str] = set()
    base = str(folder)
    for name, content in files.items():
        parent = f"{base}/{name}".rpartition("/")[0]
        if parent not in made:
            os.makedirs(parent, exist_ok=True)  # noqa: PTH103  (sixteen pathlib objects cost more than the writing)
            made.add(parent)
        with open(f"{base}/{name}", "wb", buffering=0) as file:  # noqa: PTH123
            file.write(content)


def _files_sha256(files: Mapping[str, bytes]) -> str:
    """Return what `content_sha256` gives for a folder of these files, without reading them back."""
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{len(name.encode())}:{name}:{hashlib.sha256(files[name]).hexdigest()}\n".encode())
    return total.hexdigest()


def _temporary(path: Path, role: Literal["tmp", "old"]) -> Path:
    return path.with_name(f"{path.name}.{role}-{os.getpid()}-{secrets.token_hex(4)}")


@contextmanager
def _staged(path: Path) -> Iterator[Path]:
    """Give a folder beside ``path`` to write into; it takes its place if the block ends well, and goes if not."""
    folder = _temporary(path, "tmp")
    try:
        with _output_errors(path):
            folder.mkdir()
            yield folder
            _replace(folder, path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _replace(folder: Path, path: Path) -> None:
    """Put a finished folder in place; an older store is moved aside first, because folders cannot be overwritten."""
    try:
        folder.replace(path)
    except OSError:
        if not path.exists():
            raise
        aside = _temporary(path, "old")
        path.replace(aside)
        folder.replace(path)
        shutil.rmtree(aside, ignore_errors=True)


_REASONS = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EROFS: "the file system is read-only; choose another output folder",
    errno.EACCES: "permission is denied; choose another output folder",
    errno.EPERM: "permission is denied; choose another output folder",
    errno.ENOENT: "its folder does not exist",
    errno.EDQUOT: "the disk quota is used up; free some space",
} if hasattr(errno, "EDQUOT") else {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EACCES: "permission is denied; choose another output folder",
    errno.ENOENT: "its folder does not exist",
}  # fmt: skip


@contextmanager
def _output_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into one `OutputError` that names the store."""
    try:
        yield
    except OutputError:
        raise
    except OSError as err:
        reason = _REASONS.get(err.errno or 0, err.strerror or str(err))
        raise OutputError(f"{path}: labels cannot be written: {reason}.") from err
