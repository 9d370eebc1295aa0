"""The way in for pictures: any supported container as one grey field, read region by region.

`open_image` finds out what a file is (by its first bytes, then its suffix), picks one plane and says why, and hands out
(Y, X) pixels as uint8, uint16 or float32. Whatever is wrong with a file comes out as one `InvalidDataError` that names
it. Files are opened for reading only.

To add a reader: copy a module of `msc_vision.io.readers`, and add a line to `READERS`.
"""

import hashlib
import os
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from msc_vision.errors import InvalidArgumentError, InvalidDataError, MscVisionError
from msc_vision.io.readers.base import Contents, Plane, Reader
from msc_vision.io.readers.planes import choose_plane
from msc_vision.records import ImageInfo, PlaneChoice, Region


@dataclass(frozen=True, slots=True)
class ReaderEntry:
    """One line of the registry: how a container is recognised and who reads it (imported only when needed)."""

    format: str
    suffixes: tuple[str, ...]
    magic: tuple[bytes, ...]
    reader: str

    def load(self) -> type[Reader]:
        """Import the reader class."""
        found: type[Reader] = pkgutil.resolve_name(self.reader)
        return found


_AT = "msc_vision.io.readers."
READERS: tuple[ReaderEntry, ...] = (
    ReaderEntry("TIFF", (".tif", ".tiff", ".btf"), (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _AT + "tiff:TiffReader"),
    ReaderEntry("PNG", (".png",), (b"\x89PNG\r\n\x1a\n",), _AT + "raster:PngReader"),
    ReaderEntry("JPEG", (".jpg", ".jpeg"), (b"\xff\xd8\xff",), _AT + "raster:JpegReader"),
    ReaderEntry("OME-Zarr", (".zarr",), (), _AT + "ome_zarr:ZarrReader"),
    ReaderEntry("CZI", (".czi",), (b"ZISRAWFILE",), _AT + "czi:CziReader"),
    ReaderEntry("ND2", (".nd2",), (b"\xda\xce\xbe\x0a",), _AT + "nd2:Nd2Reader"),
    ReaderEntry("LIF", (".lif",), (b"\x70\0\0\0",), _AT + "lif:LifReader"),
)
IMAGE_SUFFIXES = frozenset(suffix for entry in READERS for suffix in entry.suffixes)
ZARR_MARKS = ("zarr.json", ".zattrs", ".zgroup", ".zarray")

# What files that are no microscope image look like, to say so by name.
OTHER_CONTENT = (
    (b"%PDF", "a PDF"), (b"PK\x03\x04", "a ZIP archive or Office document"), (b"\x1f\x8b", "a gzip archive"),
    (b"GIF8", "a GIF"), (b"BM", "a BMP"), (b"\x89HDF", "an HDF5 file"), (b"RIFF", "a RIFF file (WebP, AVI)"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 file"), (b"<?xml", "an XML text"), (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"), (b"{", "a JSON text"),
)  # fmt: skip

# Rec. 601 luma weights in 1/65536; they add up to 65536, so that grey stored as RGB comes out unchanged.
LUMA_WEIGHTS = (19_595, 38_470, 7_471)
LUMA_BAND_ROWS = 64  # bands that stay in the processor's cache


class FieldImage:
    """One open field: `info` tells what it is, `read` gives its pixels. Close it, or use it in a ``with`` block.

    Regions may be read from several threads.
    """

    def __init__(self, reader: Reader, plane: Plane, info: ImageInfo) -> None:
        self._reader = reader
        self._plane = plane
        self.info = info

    def read(self, region: Region | None = None) -> NDArray[Any]:
        """Return the pixels of a region, or of the whole field, decoding only what the region touches.

        Parameters
        ----------
        region : Region, optional
            Half-open rectangle within the field; the whole field by default.

        Returns
        -------
        (Y, X) array, C-contiguous, uint8, uint16 or float32
            ``info.dtype`` says which; it is the same for every region.

        Raises
        ------
        InvalidArgumentError
            If the region is empty or reaches beyond the field.
        InvalidDataError
            If the pixels cannot be decoded.
        """
        height, width = self.info.shape
        region = region or Region(0, height, 0, width)
        if not (0 <= region.y0 < region.y1 <= height and 0 <= region.x0 < region.x1 <= width):
            raise InvalidArgumentError(f"{self.info.path}: {region} is not within the {height} x {width} pixels.")
        return self._read_plane(self._plane, region)

    def _read_plane(self, plane: Plane, region: Region) -> NDArray[Any]:
        with _failures_named(self.info.path, self.info.format):
            pixels = self._reader.read(plane, region)
            if pixels.shape[:2] != region.shape:
                raise InvalidDataError(
                    f"{self.info.path}: {region.shape} pixels were expected, {pixels.shape[:2]} decoded."
                )
            return to_grey(pixels)

    def close(self) -> None:
        """Release the file."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_image(path: Path | str, plane: PlaneChoice = PlaneChoice()) -> FieldImage:  # noqa: B008  (frozen)
    """Open one field of an image file or OME-Zarr folder; pixels are decoded when `FieldImage.read` asks for them.

    Parameters
    ----------
    path : path
        TIFF, OME-TIFF, PNG, JPEG, CZI, ND2, LIF, or an OME-Zarr folder.
    plane : PlaneChoice
        Scene, time point, channel, z; what is None is chosen and told in ``info.notes``.

    Raises
    ------
    InvalidDataError
        If the file is missing, empty, truncated, damaged, or no supported image; the message says what was seen.
    InvalidArgumentError
        If ``plane`` asks for what the file does not hold.
    """
    path = Path(path)
    entry, notes = identify(path)
    reader = _open_reader(entry, path, plane.scene)
    try:
        draft = _describe(path, reader, Plane(), notes)
        image = FieldImage(reader, Plane(), draft)
        chosen, why = choose_plane(path, reader.contents, plane, image._read_plane)
        with _failures_named(path, reader.format):
            why += reader.notes_on(chosen)
        image._plane, image.info = chosen, _describe(path, reader, chosen, (*notes, *why))
    except BaseException:
        reader.close()
        raise
    return image


def _open_reader(entry: ReaderEntry, path: Path, scene: int | str | None) -> Reader:
    """Open a container; headers are small, so one that asks for more memory than there is, is damaged."""
    with _failures_named(path, entry.format):
        reader_class = entry.load()
        try:
            return reader_class(path, scene)
        except MemoryError as err:
            raise InvalidDataError(f"{path}: its {entry.format} header asks for more memory than there is.") from err


def _describe(path: Path, reader: Reader, plane: Plane, notes: tuple[str, ...]) -> ImageInfo:
    contents = reader.contents
    dtype, conversion = grey_dtype(contents)
    return ImageInfo(
        path=path,
        format=reader.format,
        shape=contents.shape,
        dtype=str(dtype),
        saturation_level=contents.saturation_level,
        pixel_size_um=contents.pixel_size_um,
        n_time=contents.n_time,
        n_channels=len(contents.channels),
        n_z=contents.n_z,
        time=plane.time,
        channel=plane.channel,
        channel_name=contents.channels[plane.channel].name,
        z=plane.z,
        n_scenes=contents.n_scenes,
        scene=contents.scene,
        scene_name=contents.scene_name,
        missing_percent=reader.missing_percent(plane),
        acquired_at=contents.acquired_at,
        objective=contents.objective,
        modality=contents.modality,
        instrument=contents.instrument,
        y_um=contents.y_um,
        x_um=contents.x_um,
        z_um=contents.z_um,
        notes=(*notes, *contents.notes, *conversion),
    )


def identify(path: Path) -> tuple[ReaderEntry, tuple[str, ...]]:
    """Return the registry entry for a file, by its first bytes; a suffix that says otherwise is noted.

    Raises
    ------
    InvalidDataError
        If the path is missing, unreadable, empty, a plain folder, or no supported image.
    """
    with _failures_named(path, "file"):
        if path.is_dir():
            if not any((path / mark).is_file() for mark in ZARR_MARKS):
                raise InvalidDataError(
                    f"{path}: is a folder, not an image (an OME-Zarr folder would hold zarr.json or .zattrs)."
                )
            return next(entry for entry in READERS if entry.format == "OME-Zarr"), ()
        with path.open("rb") as file:
            head = file.read(32)
    if not head:
        raise InvalidDataError(f"{path}: the file is empty (0 bytes).")
    for entry in READERS:
        if any(head.startswith(magic) for magic in entry.magic):
            suffix = path.suffix.lower()
            if suffix in entry.suffixes:
                return entry, ()
            return entry, (
                f"The file is named {suffix or 'without a suffix'} but its content is {entry.format}: read as that.",
            )
    raise InvalidDataError(f"{path}: not an image this program reads; it looks like {_looks_like(head)}.")


def _looks_like(head: bytes) -> str:
    for magic, name in OTHER_CONTENT:
        if head.lstrip().lower().startswith(magic.lower()):
            return name
    if not head.strip(b"\0"):
        return "a file filled with zeros (a broken copy?)"
    is_text = all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head)
    return f"text ({head[:20].decode('ascii')!r}…)" if is_text else f"unknown data (first bytes {head[:8].hex(' ')})"


@contextmanager
def _failures_named(path: Path, format_name: str) -> Iterator[None]:
    """Turn whatever a decoder raises into one `InvalidDataError` that names the file: the one place that does."""
    try:
        with np.errstate(all="ignore"):  # decoders divide by what a damaged header says
            yield
    except (MscVisionError, MemoryError):
        raise
    except FileNotFoundError as err:
        if not path.exists():
            raise InvalidDataError(f"{path}: there is no such file.") from err
        raise InvalidDataError(f"{path}: a part of the {format_name} is missing ({err.filename}).") from err
    except PermissionError as err:
        raise InvalidDataError(f"{path}: permission to read it is denied.") from err
    except Exception as err:  # decoders of damaged files raise anything: struct.error, KeyError, their own classes
        seen = " ".join(str(err).split())[:300] or "no reason given"
        raise InvalidDataError(f"{path}: cannot be read as {format_name}: {type(err).__name__}: {seen}") from err


def grey_dtype(contents: Contents) -> tuple[np.dtype[Any], tuple[str, ...]]:
    """Return the type in which pixels are handed out, and notes on what the conversion does."""
    stored = contents.dtype
    notes: tuple[str, ...] = ()
    if contents.is_colour:
        notes = ("Colour is turned to luma with Rec. 601 weights.",)
    if stored in (np.uint8, np.uint16, np.float32):
        return stored.newbyteorder("="), notes
    if stored.kind == "b":
        return np.dtype(np.uint8), (*notes, "Pixels are yes or no: read as 1 and 0.")
    if stored.kind in "iu" or stored.kind == "f":
        if stored.itemsize > 2:
            notes += (f"{stored.name} is read as float32, which keeps 24 significant bits.",)
        return np.dtype(np.float32), notes
    raise InvalidDataError(f"pixels of type {stored} are no grey values.")


def to_grey(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return (Y, X) C-contiguous uint8, uint16 or float32 of (Y, X) or colour (Y, X, 3 or 4) pixels.

    Integer luma is computed in integers, so it is the same on every machine.
    """
    if pixels.dtype not in (np.uint8, np.uint16, np.float32):
        with np.errstate(over="ignore"):  # beyond float32 becomes infinity, which `check_pixels` names
            pixels = pixels.astype(np.uint8 if pixels.dtype == bool else np.float32)
    if pixels.ndim == 3:
        pixels = luma(pixels)
    return np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))


def luma(colour: NDArray[Any]) -> NDArray[Any]:
    """Return Rec. 601 luma of (Y, X, 3 or more) colours, same type; integers are rounded to nearest."""
    if colour.dtype == np.float32:
        red, green, blue = (np.float32(w / 65_536) for w in LUMA_WEIGHTS)
        return (colour[..., 0] * red + colour[..., 1] * green) + colour[..., 2] * blue
    out = np.empty(colour.shape[:2], colour.dtype)
    for top in range(0, len(colour), LUMA_BAND_ROWS):
        band = colour[top : top + LUMA_BAND_ROWS]
        total = np.multiply(band[..., 0], LUMA_WEIGHTS[0], dtype=np.uint32)
        total += np.multiply(band[..., 1], LUMA_WEIGHTS[1], dtype=np.uint32)
        total += np.multiply(band[..., 2], LUMA_WEIGHTS[2], dtype=np.uint32)
        total += np.uint32(32_768)
        total >>= np.uint32(16)
        out[top : top + LUMA_BAND_ROWS] = total
    return out


def check_pixels(image: NDArray[Any], path: Path | str) -> None:
    """Raise when the pixels of a whole field cannot be a picture.

    Parameters
    ----------
    image : (Y, X) array
        As `FieldImage.read` returns it.
    path : path
        Named in the message.

    Raises
    ------
    InvalidDataError
        If all pixels have one value, or any is NaN or infinite.
    """
    if image.size == 0:
        raise InvalidDataError(f"{path}: the image is zero-sized ({image.shape[0]} x {image.shape[1]} pixels).")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        for name, bad in (("NaN", np.isnan(image)), ("infinite", np.isinf(image))):
            if n_bad := int(bad.sum()):
                share = 100 * n_bad / image.size
                raise InvalidDataError(f"{path}: {n_bad} pixels ({share:.2g} %) are {name}; export the image again.")
    first = image.flat[0]
    if image.flat[-1] == first and bool((image == first).all()):
        raise InvalidDataError(f"{path}: all {image.size} pixels have the same value ({first:g}); nothing was imaged.")


IGNORED_BY_DIGEST = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})  # put into folders by file browsers


def content_sha256(path: Path | str) -> str:
    """Return the SHA-256 of a file, or of a folder's files: their relative names, sizes and contents in sorted order.

    Raises
    ------
    InvalidDataError
        If the path is missing or cannot be read.
    """
    path = Path(path)
    with _failures_named(path, "file"):
        if not path.is_dir():
            return _file_sha256(path)
        total = hashlib.sha256()
        for name in sorted(_relative_files(path)):
            if name.rpartition("/")[2] not in IGNORED_BY_DIGEST:
                total.update(f"{len(name.encode())}:{name}:{_file_sha256(path / name)}\n".encode())
        return total.hexdigest()


def _relative_files(folder: Path) -> Iterator[str]:
    for parent, _, files in os.walk(folder):
        for file in files:
            yield (Path(parent) / file).relative_to(folder).as_posix()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
