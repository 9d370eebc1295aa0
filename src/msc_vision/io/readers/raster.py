"""PNG and JPEG: decoded as a whole, after a check of their structure, as decoders fill missing halves silently."""

import struct
import zlib
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from msc_vision.errors import InvalidDataError
from msc_vision.io.readers.base import Contents, Plane, Reader, check_shape, settle_pixel_size
from msc_vision.records import Region

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # colour type -> samples per pixel
DEFLATE_MAX_RATIO = 1032  # zlib cannot expand further: a larger claim is damage, not compression
JPEG_MAX_RATIO = 4096  # pixels per byte: 2 bits per 8x8 block, subsampled fourfold, and room

# Dots per inch that printers, screens and editors write without knowing the scale.
PRINT_DPI = (50, 72, 75, 90, 96, 100, 120, 144, 150, 180, 200, 240, 250, 254, 300, 350, 360, 400, 500, 600, 720, 800,
             1000, 1200, 1440, 2400, 2880, 4800)  # fmt: skip


def size_from_density(dots_per_cm_x: float, dots_per_cm_y: float) -> tuple[float | None, tuple[str, ...]]:
    """Return a pixel size from a print resolution if it can only be a microscope's scale, else None."""
    if not (dots_per_cm_x > 0 and dots_per_cm_y > 0):
        return None, ()
    dpi = dots_per_cm_x * 2.54
    x_um, y_um = 1e4 / dots_per_cm_x, 1e4 / dots_per_cm_y
    if any(abs(dpi - d) < 0.05 for d in PRINT_DPI) or x_um > 100:
        return None, ()
    return settle_pixel_size(x_um, y_um)


class _WholeImageReader(Reader):
    """Base of formats that can only be decoded as a whole; the decoded picture is kept for the next region."""

    def __init__(self, path: Path, scene: int | str | None) -> None:
        del scene  # a picture holds one
        self._path = path
        self._encoded: bytes | None = path.read_bytes()
        self._pixels: NDArray[Any] | None = None
        self._lock = Lock()
        self.contents = self._inspect(self._encoded)

    def _inspect(self, encoded: bytes) -> Contents:
        raise NotImplementedError

    def _decode(self, encoded: bytes) -> NDArray[Any]:
        raise NotImplementedError

    def read(self, plane: Plane, region: Region) -> NDArray[Any]:
        """Return a region of the picture, which is decoded once."""
        del plane
        with self._lock:
            if self._pixels is None:
                assert self._encoded is not None
                self._pixels = self._decode(self._encoded)
                self._encoded = None
        if self._pixels.shape[:2] != self.contents.shape:
            raise InvalidDataError(
                f"{self._path}: header claims {self.contents.shape}, decoded {self._pixels.shape[:2]} pixels."
            )
        return self._pixels[region.y0 : region.y1, region.x0 : region.x1]


class PngReader(_WholeImageReader):
    """PNG, 1 to 16 bit, grey, RGB, with or without alpha, palette."""

    format: ClassVar[str] = "PNG"

    def _inspect(self, encoded: bytes) -> Contents:
        header, density = _check_png(self._path, encoded)
        width, height, depth, colour_type = struct.unpack(">IIBB", header[:10])
        shape = check_shape(self._path, height, width)
        if colour_type not in PNG_SAMPLES:
            raise InvalidDataError(
                f"{self._path}: PNG colour type {colour_type} does not exist; the header is damaged."
            )
        n_bytes = height * width * depth * PNG_SAMPLES[colour_type] // 8
        if n_bytes > DEFLATE_MAX_RATIO * len(encoded) + 4096:
            raise InvalidDataError(
                f"{self._path}: the header claims {height} x {width} pixels, more than {len(encoded)} bytes can hold."
            )
        is_colour = colour_type in {2, 3, 6}
        notes = ["The alpha channel is ignored."] if colour_type in {4, 6} else []
        pixel_size_um, more = (None, ()) if density is None else size_from_density(*density)
        return Contents(
            shape=shape,
            dtype=np.dtype(np.uint16 if depth == 16 else np.uint8),
            is_colour=is_colour,
            saturation_level=255.0 if depth < 16 else None,
            pixel_size_um=pixel_size_um,
            notes=(*notes, *more),
        )

    def _decode(self, encoded: bytes) -> NDArray[Any]:
        pixels: NDArray[Any] = imagecodecs.png_decode(encoded)
        if not self.contents.is_colour and pixels.ndim == 3:
            return pixels[..., 0]
        return pixels


def _check_png(path: Path, encoded: bytes) -> tuple[bytes, tuple[float, float] | None]:
    """Return the IHDR chunk and the density in dots per cm, after walking all chunks and their checksums."""
    view, at = memoryview(encoded), len(PNG_SIGNATURE)
    header: bytes | None = None
    density: tuple[float, float] | None = None
    while True:
        if at + 12 > len(encoded):
            raise InvalidDataError(
                f"{path}: PNG is truncated: it ends after {len(encoded)} bytes without its end mark."
            )
        n_bytes = int.from_bytes(view[at : at + 4], "big")
        kind, end = bytes(view[at + 4 : at + 8]), at + 12 + n_bytes
        if end > len(encoded):
            missing = end - len(encoded)
            raise InvalidDataError(f"{path}: PNG is truncated: chunk {kind!r} lacks {missing} of its {n_bytes} bytes.")
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise InvalidDataError(f"{path}: PNG is damaged: checksum of chunk {kind!r} at byte {at} does not match.")
        body = view[at + 8 : end - 4]
        if header is None and (kind != b"IHDR" or n_bytes != 13):
            raise InvalidDataError(f"{path}: PNG is damaged: it does not begin with its header chunk.")
        if kind == b"IHDR":
            header = bytes(body)
        elif kind == b"pHYs" and n_bytes == 9 and body[8] == 1:  # unit 1: dots per metre
            per_m = struct.unpack(">II", body[:8])
            density = per_m[0] / 100, per_m[1] / 100
        elif kind == b"IEND":
            assert header is not None
            return header, density
        at = end


class JpegReader(_WholeImageReader):
    """JPEG, 8 bit, grey or colour; colour is read as its stored luma (Rec. 601), which is what JPEG encodes."""

    format: ClassVar[str] = "JPEG"

    def _inspect(self, encoded: bytes) -> Contents:
        bits, height, width, n_components = _check_jpeg(self._path, encoded)
        shape = check_shape(self._path, height, width)
        if bits != 8:
            raise InvalidDataError(f"{self._path}: JPEG of {bits} bit per sample is not supported; export it as TIFF.")
        if n_components not in {1, 3}:
            raise InvalidDataError(
                f"{self._path}: JPEG with {n_components} components (CMYK?); export it as RGB or grey."
            )
        if height * width > JPEG_MAX_RATIO * len(encoded):
            raise InvalidDataError(
                f"{self._path}: the header claims {height} x {width} pixels, more than {len(encoded)} bytes can hold."
            )
        notes = ["JPEG compression is lossy: fine texture is altered."]
        if n_components == 3:
            notes.append("Colour is read as the luma that JPEG stores (Rec. 601).")
        return Contents(shape=shape, dtype=np.dtype(np.uint8), saturation_level=255.0, notes=tuple(notes))

    def _decode(self, encoded: bytes) -> NDArray[Any]:
        pixels: NDArray[Any] = imagecodecs.jpeg8_decode(encoded, outcolorspace="GRAYSCALE")
        return pixels


_JPEG_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_JPEG_LONE_MARKERS = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a body


def _check_jpeg(path: Path, encoded: bytes) -> tuple[int, int, int, int]:
    """Return bits, height, width and number of components, after finding the frame, the scan and the end mark."""
    at, frame = 2, None
    while at + 4 <= len(encoded):
        if encoded[at] != 0xFF:
            raise InvalidDataError(f"{path}: JPEG is damaged: no marker where one must be (byte {at}).")
        marker = encoded[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _JPEG_LONE_MARKERS:
            at += 2
            continue
        n_bytes = int.from_bytes(encoded[at + 2 : at + 4], "big")
        if marker in _JPEG_FRAMES and at + 10 <= len(encoded):
            frame = struct.unpack(">BHHB", encoded[at + 4 : at + 10])
        at += 2 + n_bytes
        if marker == 0xDA:
            break
    else:
        raise InvalidDataError(f"{path}: JPEG is truncated: {len(encoded)} bytes hold no picture data.")
    if frame is None:
        raise InvalidDataError(f"{path}: JPEG is damaged: it has no frame header.")
    if encoded.rfind(b"\xff\xd9") < at:
        raise InvalidDataError(f"{path}: JPEG is truncated: it ends after {len(encoded)} bytes without its end mark.")
    return frame
