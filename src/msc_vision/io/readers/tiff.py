"""TIFF, BigTIFF, OME-TIFF and ImageJ stacks: headers by tifffile, pixels strip by strip or tile by tile."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

import numpy as np
import tifffile
from numpy.typing import NDArray

from msc_vision.errors import InvalidDataError
from msc_vision.io.readers import ome
from msc_vision.io.readers.base import (
    Channel,
    Contents,
    Plane,
    Reader,
    check_shape,
    pick_scene,
    settle_pixel_size,
    to_um,
)
from msc_vision.io.readers.raster import size_from_density
from msc_vision.records import Region

BAND_BYTES = 16 * 2**20  # uncompressed strips are cropped in bands of this size, so width costs no memory
COLOUR_PHOTOMETRICS = frozenset({2, 6})  # RGB, YCbCr (decoded to RGB)
WHITE_IS_ZERO, PALETTE, CIELAB, SEPARATED = 0, 3, 8, 5

# How many times its encoded size a segment can decode to; a larger claim is a damaged header, not compression.
MAX_RATIO = {1: 8, 5: 2_800, 8: 1_040, 32946: 1_040, 32773: 130, 50000: 40_000}
MAX_RATIO_OTHERS = 100_000


@dataclass(frozen=True, slots=True)
class _Axes:
    """Where time, channel and z lie among the leading axes of a series, and what else leads."""

    names: str  # leading axes, before Y X (S)
    sizes: tuple[int, ...]
    time: int | None
    channel: int | None
    z: int | None
    samples: int | None  # leading axis of colour samples stored plane by plane
    is_loose: bool  # the time axis is one the file does not name
    others: tuple[int, ...]

    def size(self, axis: int | None) -> int:
        return 1 if axis is None else self.sizes[axis]

    def flat_index(self, plane: Plane, sample: int = 0) -> int:
        index = [0] * len(self.sizes)
        wanted = ((self.time, plane.time), (self.channel, plane.channel), (self.z, plane.z), (self.samples, sample))
        for axis, value in wanted:
            if axis is not None:
                index[axis] = value
        return int(np.ravel_multi_index(index, self.sizes)) if index else 0


def _map_axes(names: str, sizes: tuple[int, ...], *, samples_are_colour: bool) -> _Axes:
    """Give each leading axis its role; an unnamed one (I, Q) is time if no axis is, else z."""
    roles: dict[str, int] = {}
    is_loose = False
    others: list[int] = []
    for axis, (name, size) in enumerate(zip(names, sizes, strict=True)):
        if name in "TCZ" and name not in roles:
            roles[name] = axis
        elif name == "S" and samples_are_colour:
            roles["S"] = axis
        elif size == 1:
            continue
        elif name == "S" and "C" not in names:
            roles["C"] = axis
        elif name in "IQ" and (free := next((r for r in "TZ" if r not in names and r not in roles), None)):
            roles[free] = axis
            is_loose = True
        else:
            others.append(axis)
    return _Axes(
        names=names,
        sizes=sizes,
        time=roles.get("T"),
        channel=roles.get("C"),
        z=roles.get("Z"),
        samples=roles.get("S"),
        is_loose=is_loose,
        others=tuple(others),
    )


class TiffReader(Reader):
    """TIFF in all its dialects."""

    format: ClassVar[str] = "TIFF"

    def __init__(self, path: Path, scene: int | str | None) -> None:
        self._path = path
        self._tif = tifffile.TiffFile(path)
        self._lock = Lock()
        try:
            self._open(scene)
        except BaseException:
            self._tif.close()
            raise

    def _open(self, scene: int | str | None) -> None:
        tif = self._tif
        self._size = tif.filehandle.size
        series = list(tif.series)
        if not series:
            raise InvalidDataError(f"{self._path}: the TIFF holds no image; it is truncated or damaged.")
        _check_chain(self._path, tif, self._size)
        if tif.is_imagej and series[0].kind not in {"imagej", "ome", "shaped"}:
            raise InvalidDataError(
                f"{self._path}: TIFF is truncated or damaged: the file is shorter than its ImageJ header says."
            )
        if tif.is_ome:
            self.format = "OME-TIFF"  # type: ignore[misc]
            index, notes = pick_scene(self._path, tuple(s.name or None for s in series), scene)
        elif scene is not None:
            index, notes = pick_scene(self._path, tuple(s.name or None for s in series), scene)
        else:  # thumbnails and pyramid levels may lie before the picture
            index = max(range(len(series)), key=lambda i: math.prod(_plane_shape(series[i])))
            others = f"The file holds {len(series)} series of different size; the largest, number {index}, is read."
            notes = (others,) if len(series) > 1 else ()
        self._series = series[index]
        self._page: Any = self._series.keyframe
        self._check_page_kind()
        self.contents = self._describe(index, len(series), notes)

    def _check_page_kind(self) -> None:
        page = self._page
        if page.dtype is None or page.dtype.kind not in "buif":
            seen = page.dtype or f"{page.bitspersample}-bit, sample format {page.sampleformat}"
            raise InvalidDataError(f"{self._path}: pixels of type {seen} are no grey or colour values.")
        if page.photometric in {CIELAB, SEPARATED}:
            raise InvalidDataError(
                f"{self._path}: colours are stored as CIELab or CMYK; export the image as grey or RGB."
            )

    def _describe(self, index: int, n_scenes: int, notes: tuple[str, ...]) -> Contents:
        page, series = self._page, self._series
        axes, shape = series.get_axes(squeeze=False), series.get_shape(squeeze=False)
        at = axes.find("YX")
        if at < 0 or (shape[at], shape[at + 1]) != (page.imagelength, page.imagewidth):
            axes, shape, notes = page.axes, page.shape, (*notes, "Its axes are not understood: the first page is read.")
            at = axes.find("YX")
        height, width = check_shape(self._path, shape[at], shape[at + 1])
        tail_samples = math.prod(shape[at + 2 :])
        has_samples = tail_samples >= 3 or "S" in axes[:at]  # else the file calls its samples channels
        is_rgb = page.photometric in COLOUR_PHOTOMETRICS and page.samplesperpixel >= 3 and has_samples
        is_colour = is_rgb or page.photometric == PALETTE
        self._axes = _map_axes(axes[:at], tuple(shape[:at]), samples_are_colour=is_rgb)
        self._contiguous_channels = tail_samples > 1 and not is_rgb
        if self._contiguous_channels and page.extrasamples and tail_samples == 2:
            notes = (*notes, "The alpha channel is ignored.")
            tail_samples = 1
        self._n_inner = tail_samples
        n_channels = self._axes.size(self._axes.channel) * (tail_samples if self._contiguous_channels else 1)
        if is_rgb and page.samplesperpixel > 3:
            notes = (*notes, "The alpha channel is ignored.")
        if page.photometric == WHITE_IS_ZERO and page.dtype.kind in "bu":
            notes = (*notes, "The file stores white as zero; grey values are inverted to the usual order.")
        notes = (*notes, *self._axis_notes())
        self._check_segments(page)
        found = self._metadata(index)
        return Contents(
            shape=(height, width),
            dtype=page.dtype,
            is_colour=is_colour,
            n_time=self._axes.size(self._axes.time),
            n_z=self._axes.size(self._axes.z),
            channels=found.channels if len(found.channels) == n_channels else (Channel(),) * n_channels,
            is_loose_stack=self._axes.is_loose,
            n_scenes=n_scenes,
            scene=index,
            scene_name=series.name or None,
            saturation_level=self._saturation(found.significant_bits),
            pixel_size_um=found.pixel_size_um,
            acquired_at=found.acquired_at,
            objective=found.objective,
            modality=found.modality,
            instrument=found.instrument,
            y_um=found.y_um,
            x_um=found.x_um,
            z_um=found.z_um,
            notes=(*notes, *found.notes),
        )

    def _axis_notes(self) -> Iterator[str]:
        axes = self._axes
        if axes.is_loose:
            n_pages = axes.size(axes.time) if axes.time is not None else axes.size(axes.z)
            yield f"The file does not say what its {n_pages} pages are; they count as time points unless z is asked."
        for axis in axes.others:
            yield f"Axis {axes.names[axis]} has {axes.sizes[axis]} entries; the first is read."

    def _saturation(self, significant_bits: int | None) -> float | None:
        page = self._page
        if page.dtype == np.uint8:
            return 255.0
        if page.dtype != np.uint16:
            return None
        bits = (
            page.bitspersample if isinstance(page.bitspersample, int) and page.bitspersample < 16 else significant_bits
        )
        if bits is not None and 1 <= bits < 16:
            return float(2**bits - 1)
        tag = page.tags.get("MaxSampleValue")
        top = None if tag is None else max(tag.value) if isinstance(tag.value, tuple) else tag.value
        return float(top) if isinstance(top, int) and top > 0 and (top + 1) & top == 0 else None

    def _metadata(self, index: int) -> ome.Metadata:
        tif, page = self._tif, self._page
        if tif.is_ome and tif.ome_metadata:
            return ome.parse(tif.ome_metadata, index)
        if tif.is_imagej:
            return _imagej_metadata(tif.imagej_metadata or {}, page)
        return _tag_metadata(page)

    def _check_segments(self, page: Any) -> None:
        """Raise when the strips or tiles of a page are missing, lie beyond the file, or cannot hold what is claimed."""
        key, size = page.keyframe, page.parent.filehandle.size
        if (offset := self._data_offset()) is not None:  # all planes lie one after another
            if offset + self._series.nbytes > size:
                raise InvalidDataError(
                    f"{self._path}: TIFF is truncated: its pixels end at byte {offset + self._series.nbytes}, "
                    f"but the file has {size} bytes."
                )
            return
        offsets = np.asarray(page.dataoffsets, dtype=np.uint64)
        n_bytes = np.asarray(page.databytecounts, dtype=np.uint64)
        kind = "tiles" if key.is_tiled else "strips"
        expected = math.prod(key.chunked)
        if len(offsets) != len(n_bytes):
            raise InvalidDataError(
                f"{self._path}: TIFF states {len(offsets)} positions but {len(n_bytes)} sizes of its {kind}; damaged."
            )
        if len(offsets) < (1 if key.is_contiguous else expected):
            raise InvalidDataError(
                f"{self._path}: TIFF lists {len(offsets)} of the {expected} {kind} its size needs; damaged."
            )
        beyond = (offsets > size) | (n_bytes > size) | (offsets + n_bytes > size)
        if beyond.any():
            raise InvalidDataError(
                f"{self._path}: TIFF is truncated: {int(beyond.sum())} of {len(offsets)} {kind} lie beyond the end "
                f"of the file ({size} bytes)."
            )
        empty = (n_bytes == 0) | (offsets == 0)
        if empty.any():
            raise InvalidDataError(
                f"{self._path}: {int(empty.sum())} of {len(offsets)} {kind} of the TIFF have no data."
            )
        claimed = page.nbytes if key.is_contiguous else math.prod(key.chunks) * key.dtype.itemsize
        held = int(n_bytes.sum()) if key.is_contiguous else int(n_bytes.max())
        if claimed > MAX_RATIO.get(int(key.compression), MAX_RATIO_OTHERS) * held + 65_536 or (
            key.is_contiguous and claimed > size
        ):
            raise InvalidDataError(
                f"{self._path}: TIFF claims {key.imagelength} x {key.imagewidth} pixels, more than its {size} bytes "
                "hold; damaged."
            )

    def read(self, plane: Plane, region: Region) -> NDArray[Any]:
        """Return a region of one plane, decoding only the strips or tiles it touches."""
        if self._axes.samples is not None:
            stack = [self._read_flat(self._axes.flat_index(plane, s), region) for s in range(3)]
            return np.stack([p[..., 0] for p in stack], axis=-1)
        page = self._page
        if not self._contiguous_channels:
            pixels = self._read_flat(self._axes.flat_index(plane), region)
        else:
            outer, inner = divmod(plane.channel, self._n_inner)
            flat = self._axes.flat_index(Plane(plane.time, outer, plane.z))
            pixels = self._read_flat(flat, region)[..., inner : inner + 1]
        if page.photometric == PALETTE:
            return _apply_palette(pixels[..., 0], page.colormap)
        if self.contents.is_colour:
            return pixels
        grey = pixels[..., 0]
        if page.photometric == WHITE_IS_ZERO and page.dtype.kind in "bu":
            return _invert(grey, page.bitspersample)
        return grey

    def _data_offset(self) -> int | None:
        """Return where the pixels of the whole series begin, when they lie in one piece as they are to be read."""
        key = self._page
        if self._series.is_multifile or not (key.is_final and self._is_plain(key)):
            return None
        offset = self._series.dataoffset
        return None if offset is None else int(offset)

    def _read_flat(self, flat: int, region: Region) -> NDArray[Any]:
        """Return (Y, X, samples) of the plane with a flat index over the leading axes."""
        key = self._page
        n_pages = len(self._series)
        per_page = max(1, math.prod(self._axes.sizes) // max(n_pages, 1))
        page_index, inner = divmod(flat, per_page)
        plane_bytes = key.imagelength * key.imagewidth * key.shaped[4] * key.dtype.itemsize
        if (offset := self._data_offset()) is not None:
            return self._read_rows(offset + flat * plane_bytes, region, self._tif.filehandle)
        page = self._series[page_index]
        if page is None:
            raise InvalidDataError(
                f"{self._path}: the plane asked for is listed but not in the file (a companion is missing)."
            )
        if page.parent.filehandle.closed:  # a companion file of an OME-TIFF
            page.parent.filehandle.open()
        self._check_segments(page)
        if key.is_final and self._is_plain(key):
            return self._read_rows(int(page.dataoffsets[0]) + inner * plane_bytes, region, page.parent.filehandle)
        return self._read_segments(page, inner, region)

    @staticmethod
    def _is_plain(key: Any) -> bool:
        return key.bitspersample in {8, 16, 32, 64} and (not key.is_tiled or key.imagewidth == key.tilewidth)

    def _read_rows(self, offset: int, region: Region, handle: Any) -> NDArray[Any]:
        """Read rows that lie one after another in the file, in one go or in bands that are cropped."""
        key = self._page
        width, samples = key.imagewidth, key.shaped[4]
        dtype = np.dtype(self._tif.byteorder + key.dtype.char)
        row_bytes = width * samples * dtype.itemsize
        height, wanted = region.shape
        rows_per_band = height if wanted == width else max(1, BAND_BYTES // row_bytes)
        out = np.empty((height, wanted, samples), dtype)
        for top in range(0, height, rows_per_band):
            n_rows = min(rows_per_band, height - top)
            band = out[top : top + n_rows] if wanted == width else np.empty((n_rows, width, samples), dtype)
            start = offset + (region.y0 + top) * row_bytes
            with self._lock:
                handle.seek(start)
                n_read = handle.readinto(band.reshape(-1).view(np.uint8))
            if n_read != n_rows * row_bytes:
                raise InvalidDataError(
                    f"{self._path}: TIFF is truncated: {start + n_rows * row_bytes} bytes are needed, "
                    f"it has {self._size}."
                )
            if wanted != width:
                out[top : top + n_rows] = band[:, region.x0 : region.x1]
        return out if dtype.isnative else out.astype(dtype.newbyteorder("="))

    def _read_segments(self, page: Any, inner: int, region: Region) -> NDArray[Any]:
        """Decode the strips or tiles that a region touches and place them."""
        key = page.keyframe
        out: NDArray[Any] | None = None
        depth = key.shaped[1]
        for number in _segments_touched(key, divmod(inner, depth), region):
            data, (_, z0, y0, x0, _), _ = key.decode(
                self._read_segment(page, number), number, jpegtables=key.jpegtables
            )
            if data is None:
                raise InvalidDataError(f"{self._path}: strip or tile {number} of the TIFF has no data.")
            block = data[inner % depth - z0]
            if out is None:
                out = np.empty((*region.shape, key.shaped[4]), block.dtype)
            top, left = max(y0, region.y0), max(x0, region.x0)
            bottom, right = min(y0 + block.shape[0], region.y1), min(x0 + block.shape[1], region.x1)
            out[top - region.y0 : bottom - region.y0, left - region.x0 : right - region.x0] = block[
                top - y0 : bottom - y0, left - x0 : right - x0
            ]
        assert out is not None
        return out

    def _read_segment(self, page: Any, number: int) -> bytes:
        offset, n_bytes = page.dataoffsets[number], page.databytecounts[number]
        handle = page.parent.filehandle
        with self._lock:
            handle.seek(offset)
            data: bytes = handle.read(n_bytes)
        if len(data) != n_bytes:
            raise InvalidDataError(
                f"{self._path}: TIFF is truncated: strip or tile {number} has {len(data)} of {n_bytes} bytes."
            )
        if page.keyframe.compression in {6, 7} and data.rfind(b"\xff\xd9") < 0:
            raise InvalidDataError(f"{self._path}: strip or tile {number} of the TIFF is a JPEG without its end mark.")
        return data

    def close(self) -> None:
        """Close the file."""
        self._tif.close()


def _plane_shape(series: Any) -> tuple[int, int]:
    return series.keyframe.imagelength, series.keyframe.imagewidth


def _segments_touched(key: Any, sample_and_depth: tuple[int, int], region: Region) -> Iterator[int]:
    """Yield the linear numbers of the strips or tiles of a page that a region touches."""
    sample, depth_index = sample_and_depth
    rows = key.tilelength if key.is_tiled else key.rowsperstrip
    columns = key.tilewidth if key.is_tiled else key.imagewidth
    n_down, n_across = math.ceil(key.imagelength / rows), math.ceil(key.imagewidth / columns)
    depth_step = key.tiledepth if key.is_tiled else 1
    n_deep = math.ceil(key.shaped[1] / depth_step)
    base = (sample * n_deep + depth_index // depth_step) * n_down * n_across
    for row in range(region.y0 // rows, (region.y1 - 1) // rows + 1):
        for column in range(region.x0 // columns, (region.x1 - 1) // columns + 1):
            yield base + row * n_across + column


def _check_chain(path: Path, tif: tifffile.TiffFile, size: int) -> None:
    """Raise when the last page points to a next page that is not there: the file was cut or is still being written."""
    pages = tif.pages
    last = pages.first if not pages.is_multipage else pages[len(pages) - 1]
    if last.is_virtual if isinstance(last, tifffile.TiffFrame) else False:
        return
    handle, layout = tif.filehandle, tif.tiff
    handle.seek(last.offset)
    n_tags = int.from_bytes(handle.read(layout.tagnosize), layout_order(tif))
    handle.seek(last.offset + layout.tagnosize + n_tags * layout.tagsize)
    following = int.from_bytes(handle.read(layout.offsetsize), layout_order(tif))
    if following >= size:
        raise InvalidDataError(
            f"{path}: TIFF is truncated: its next page lies at byte {following}, but the file has {size} bytes."
        )


def layout_order(tif: tifffile.TiffFile) -> Any:
    """Return the byte order of a TIFF in the words of `int.from_bytes`."""
    return "little" if tif.byteorder == "<" else "big"


def _apply_palette(indices: NDArray[Any], colormap: NDArray[Any]) -> NDArray[Any]:
    """Return (Y, X, 3) colours; a colour map of 8-bit entries, scaled or not, gives 8-bit colours."""
    table: NDArray[Any] = np.asarray(colormap, dtype=np.uint16)
    if table.max(initial=0) > 255:
        table = table >> 8
    return table.astype(np.uint8).T[indices]


def _invert(grey: NDArray[Any], bits: int) -> NDArray[Any]:
    if grey.dtype == bool:
        return ~grey
    return grey.dtype.type(2**bits - 1) - grey


def _imagej_metadata(metadata: dict[str, Any], page: Any) -> ome.Metadata:
    """Read what ImageJ writes: unit in its description, pixels per unit in the resolution tags, labels per slice."""
    unit = str(metadata.get("unit", ""))
    per_x, per_y = _resolution(page)
    size, notes = None, ()  # type: tuple[float | None, tuple[str, ...]]
    if unit and unit.lower() not in {"pixel", "pixels", "px"} and per_x and per_y:
        size, notes = settle_pixel_size(to_um(1 / per_x, unit), to_um(1 / per_y, unit))
    names = metadata.get("Labels") or ()
    n_channels = int(metadata.get("channels", 1))
    channels = tuple(Channel(str(n)) for n in names[:n_channels]) if len(names) >= n_channels else ()
    return ome.Metadata(pixel_size_um=size, notes=notes, channels=channels, acquired_at=_datetime(page))


def _tag_metadata(page: Any) -> ome.Metadata:
    """Read pixel size and date from baseline tags; print resolutions are no pixel size."""
    per_x, per_y = _resolution(page)
    per_unit_cm = {2: 2.54, 3: 1.0}.get(int(page.resolutionunit) if 296 in page.tags else 0)
    size, notes = None, ()  # type: tuple[float | None, tuple[str, ...]]
    if per_unit_cm and per_x and per_y:
        size, notes = size_from_density(per_x / per_unit_cm, per_y / per_unit_cm)
    maker = " ".join(str(page.tags[n].value).strip() for n in ("Make", "Model") if n in page.tags) or None
    return ome.Metadata(pixel_size_um=size, notes=notes, acquired_at=_datetime(page), instrument=maker)


def _resolution(page: Any) -> tuple[float | None, float | None]:
    """Return pixels per unit in X and Y as the tags state them."""

    def value(code: int) -> float | None:
        tag = page.tags.get(code)
        if tag is None or not isinstance(tag.value, tuple) or len(tag.value) != 2 or not tag.value[1]:
            return None
        return float(tag.value[0] / tag.value[1]) or None

    return value(282), value(283)


def _datetime(page: Any) -> str | None:
    """Return the date tag as ISO 8601 without zone: the tag has none."""
    tag = page.tags.get("DateTime")
    text = str(tag.value).strip("\x00 ") if tag is not None else ""
    if len(text) >= 19 and text[4] == text[7] == ":":
        return f"{text[:4]}-{text[5:7]}-{text[8:10]}T{text[11:19]}"
    return text or None
