"""Reading: every container gives the pixels that were put in, region by region, and says in one line what is wrong."""

import hashlib
import json
import random
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import ome_zarr.writer
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from pylibCZIrw import czi

from msc_vision.errors import InvalidArgumentError, InvalidDataError
from msc_vision.io.images import IMAGE_SUFFIXES, check_pixels, content_sha256, luma, open_image
from msc_vision.io.readers.base import Channel, settle_pixel_size, to_um
from msc_vision.io.readers.planes import choose_channel, focus_measure
from msc_vision.records import PlaneChoice, Region
from vendor_files import write_lif, write_nd2

DEFAULT = PlaneChoice()
SHARED = Path(__file__).parents[1].parent / "shared" / "data"


def gradient(height=96, width=128, dtype=np.uint16):
    """A smooth hill with a fine grid on it: every row and column differs."""
    y, x = np.mgrid[:height, :width]
    hill = (np.sin(y / 7) * np.cos(x / 9) + 1) * 100 + (3 * y + 5 * x) % 50
    return hill.astype(dtype)


def read(path, plane=DEFAULT, region=None):
    with open_image(path, plane) as image:
        return image.read(region)


def info_of(path, plane=DEFAULT):
    with open_image(path, plane) as image:
        return image.info


# ---------------------------------------------------------------- round trips


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(["u1", "<u2", ">u2", "i1", "i2", "f2", "<f4", ">f4", "f8", "?"]),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    layout=st.sampled_from([{}, {"rowsperstrip": 7}, {"tile": (16, 32)}]),
    compression=st.sampled_from([None, "zlib", "lzw", "zstd", "packbits"]),
    data=st.data(),
)
def test_tiff_round_trip_and_region_equals_slice(tmp_path_factory, dtype, height, width, layout, compression, data):
    path = tmp_path_factory.mktemp("tiff") / "image.tif"
    image = np.random.default_rng(height * 71 + width).integers(0, 120, (height, width)).astype(dtype)
    tifffile.imwrite(path, image, photometric="minisblack", compression=compression, **layout)
    y0, x0 = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    region = Region(y0, data.draw(st.integers(y0 + 1, height)), x0, data.draw(st.integers(x0 + 1, width)))
    with open_image(path) as field:
        whole, part = field.read(), field.read(region)
        assert str(whole.dtype) == field.info.dtype
    np.testing.assert_array_equal(whole, image.astype(whole.dtype))
    np.testing.assert_array_equal(part, whole[region.y0 : region.y1, region.x0 : region.x1])
    assert whole.dtype in (np.uint8, np.uint16, np.float32)
    assert whole.flags.c_contiguous
    assert part.flags.c_contiguous


@settings(max_examples=15, deadline=None)
@given(
    dtype=st.sampled_from(["u1", "u2", "f4"]),
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    chunks=st.tuples(st.integers(7, 40), st.integers(7, 40)),
    zarr_format=st.sampled_from([2, 3]),
)
def test_zarr_array_round_trip(tmp_path_factory, dtype, shape, chunks, zarr_format):
    path = tmp_path_factory.mktemp("zarr") / "image.zarr"
    image = np.random.default_rng(shape[0]).integers(1, 120, shape).astype(dtype)
    zarr.create_array(path, shape=shape, chunks=chunks, dtype=dtype, zarr_format=zarr_format)[:] = image
    np.testing.assert_array_equal(read(path), image)
    region = Region(shape[0] // 2, shape[0], shape[1] // 3, shape[1])
    np.testing.assert_array_equal(read(path, region=region), image[region.y0 :, region.x0 :])


def write_png(path, image):
    path.write_bytes(imagecodecs.png_encode(image))


def write_jpeg(path, image):
    path.write_bytes(imagecodecs.jpeg8_encode(image, level=95))


def write_czi(path, image):
    with czi.create_czi(str(path)) as file:
        file.write(image[..., None], location=(3, -5))


def write_ome_zarr_v3(path, image):
    ome_zarr.writer.write_image(image, zarr.open_group(path, mode="w", zarr_format=3), axes="yx")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("image.png", write_png),
        ("image.czi", write_czi),
        ("image.ome.zarr", write_ome_zarr_v3),
        ("image.lif", lambda path, image: write_lif(path, {"A1": image[None, None]})),
        ("image.nd2", lambda path, image: write_nd2(path, image[None, None, ..., None], ["Phase"])),
    ],
    ids=["png", "czi", "ome-zarr", "lif", "nd2"],
)
def test_container_round_trip_leaves_the_file_alone(tmp_path, name, write):
    image = gradient()
    path = tmp_path / name
    write(path, image)
    before = content_sha256(path), path.stat().st_mtime_ns
    with open_image(path) as field:
        np.testing.assert_array_equal(field.read(), image)
        np.testing.assert_array_equal(field.read(Region(10, 31, 20, 97)), image[10:31, 20:97])
        assert field.info.shape == image.shape
        assert field.info.dtype == "uint16"
    assert (content_sha256(path), path.stat().st_mtime_ns) == before


def test_jpeg_is_read_within_its_loss(tmp_path):
    image = gradient(dtype=np.uint8)
    write_jpeg(tmp_path / "image.jpg", image)
    assert np.abs(read(tmp_path / "image.jpg").astype(int) - image).max() < 12
    assert any("lossy" in note for note in info_of(tmp_path / "image.jpg").notes)


@pytest.mark.parametrize("bits", [1, 2, 4], ids=lambda b: f"{b}-bit")
def test_palette_png_is_read_as_luma_of_its_colours(tmp_path, bits):
    """Two entries: black and pure red, whose Rec. 601 luma is 76."""
    rows = np.array([[0, 1], [1, 0]], np.uint8)
    packed = b"".join(b"\0" + bytes([sum(int(v) << (8 - bits * (i + 1)) for i, v in enumerate(row))]) for row in rows)
    chunks = [
        (b"IHDR", (2).to_bytes(4, "big") * 2 + bytes([bits, 3, 0, 0, 0])),
        (b"PLTE", bytes([0, 0, 0, 255, 0, 0])),
        (b"IDAT", zlib.compress(packed)),
        (b"IEND", b""),
    ]
    body = b"".join(len(d).to_bytes(4, "big") + k + d + zlib.crc32(k + d).to_bytes(4, "big") for k, d in chunks)
    (tmp_path / "palette.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    np.testing.assert_array_equal(read(tmp_path / "palette.png"), rows * 76)


# ---------------------------------------------------------------- colour


@given(st.integers(0, 65_535))
def test_grey_stored_as_colour_keeps_its_value(value):
    for dtype in (np.uint8, np.uint16):
        grey = np.full((2, 3), value, np.uint32).astype(dtype)
        np.testing.assert_array_equal(luma(np.dstack([grey] * 3)), grey)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_luma_is_rec_601_rounded(dtype):
    colour = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (130, 20, 3)).astype(dtype)
    expected = colour @ np.array([0.299, 0.587, 0.114])
    assert np.abs(luma(colour).astype(float) - expected).max() < 0.51 + np.iinfo(dtype).max * 1.6e-5


@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
def test_rgb_tiff(tmp_path, planarconfig):
    colour = np.random.default_rng(0).integers(0, 255, (40, 50, 3)).astype(np.uint8)
    stored = colour if planarconfig == "contig" else np.moveaxis(colour, -1, 0)
    tifffile.imwrite(tmp_path / "rgb.tif", stored, photometric="rgb", planarconfig=planarconfig)
    np.testing.assert_array_equal(read(tmp_path / "rgb.tif"), luma(colour))
    np.testing.assert_array_equal(read(tmp_path / "rgb.tif", region=Region(3, 9, 4, 30)), luma(colour)[3:9, 4:30])
    assert any("Rec. 601" in note for note in info_of(tmp_path / "rgb.tif").notes)


def test_white_is_zero_is_turned_round(tmp_path):
    image = gradient(dtype=np.uint8)
    tifffile.imwrite(tmp_path / "w.tif", image, photometric="miniswhite")
    np.testing.assert_array_equal(read(tmp_path / "w.tif"), 255 - image)


# ---------------------------------------------------------------- planes


def test_ome_tiff_picks_the_transmitted_channel_and_says_so(tmp_path):
    stack = np.stack([gradient() + i for i in range(6)]).reshape(2, 3, 96, 128)
    metadata = {"axes": "TCYX", "Channel": {"Name": ["DAPI", "TL Phase", "GFP"]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, metadata=metadata)
    info = info_of(tmp_path / "a.ome.tif")
    assert (info.format, info.channel, info.channel_name, info.n_time) == ("OME-TIFF", 1, "TL Phase", 2)
    assert any("TL Phase" in note and "transmitted light" in note for note in info.notes)
    assert any("Time point 0 of 0 to 1" in note for note in info.notes)
    np.testing.assert_array_equal(read(tmp_path / "a.ome.tif"), stack[0, 1])
    np.testing.assert_array_equal(read(tmp_path / "a.ome.tif", PlaneChoice(time=1, channel="gfp")), stack[1, 2])


@pytest.mark.parametrize(
    ("kind", "compression"),
    [("imagej", None), ("ome", None), ("ome", "zlib"), ("plain", None), ("plain", "zlib")],
)
def test_every_plane_of_a_stack_is_found(tmp_path, kind, compression):
    stack = (np.arange(24)[:, None, None] * 50 + gradient(20, 30)).reshape(2, 3, 4, 20, 30).astype(np.uint16)
    options = {"imagej": {"imagej": True}, "ome": {"ome": True}, "plain": {}}[kind]
    path = tmp_path / "stack.tif"
    metadata = {"axes": "TZCYX"}
    tifffile.imwrite(path, stack, photometric="minisblack", metadata=metadata, compression=compression, **options)
    for time, z, channel in np.ndindex(2, 3, 4):
        choice = PlaneChoice(time=time, z=z, channel=channel)
        np.testing.assert_array_equal(read(path, choice, Region(2, 9, 3, 30)), stack[time, z, channel, 2:9, 3:30])


def test_channels_that_a_writer_called_rgb_stay_channels(tmp_path):
    stack = np.stack([gradient() + i for i in range(4)])
    metadata = {"axes": "CYX"}
    tifffile.imwrite(tmp_path / "c.tif", stack, photometric="rgb", planarconfig="separate", metadata=metadata)
    np.testing.assert_array_equal(read(tmp_path / "c.tif", PlaneChoice(channel=2)), stack[2])


def test_pages_without_a_name_are_time_points_or_z_when_asked(tmp_path):
    stack = np.stack([gradient() + 7 * i for i in range(4)])
    with tifffile.TiffWriter(tmp_path / "s.tif") as file:
        for page in stack:
            file.write(page, metadata=None, contiguous=False)
    assert any("does not say what its 4 pages are" in note for note in info_of(tmp_path / "s.tif").notes)
    np.testing.assert_array_equal(read(tmp_path / "s.tif"), stack[0])
    np.testing.assert_array_equal(read(tmp_path / "s.tif", PlaneChoice(z=2)), stack[2])
    np.testing.assert_array_equal(read(tmp_path / "s.tif", PlaneChoice(time=3)), stack[3])


def test_the_sharpest_z_is_taken(tmp_path):
    """Five planes of a checkerboard of 8 px squares; plane 3 is the least blurred."""
    board = (np.indices((128, 128)) // 8).sum(0) % 2 * 1000.0 + 500
    planes = [board if z == 3 else (board + 3 * np.roll(board, abs(z - 3) * 2, 1)) / 4 for z in range(5)]
    tifffile.imwrite(tmp_path / "z.ome.tif", np.stack(planes).astype(np.uint16), metadata={"axes": "ZYX"})
    info = info_of(tmp_path / "z.ome.tif")
    assert info.z == 3
    assert any("z 3 of 0 to 4" in note and "sharpest" in note for note in info.notes)


def test_focus_measure_ignores_brightness():
    image = gradient().astype(np.float64)
    assert focus_measure(image * 3) == pytest.approx(focus_measure(image))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["DAPI", "Phase"], 1),
        (["Ph1 10x", "GFP"], 0),
        (["mCherry", "BF"], 1),
        (["Alexa 488", "T-PMT"], 1),
        (["GFP", "Camera 2"], 1),
        (["EGFP", "DIC", "Brightfield"], 1),
        (["channel a", "channel b"], 0),
        ([None, None, "TRANS"], 2),
        (["Graph", "Oblique"], 1),
    ],
)
def test_channel_choice(names, expected):
    index, notes = choose_channel("x", tuple(Channel(n) for n in names), None)
    assert index == expected
    assert len(notes) == 1


def test_what_the_file_says_outranks_the_name():
    channels = (Channel("Phase-locked GFP", is_fluorescence=True), Channel("Cam", is_fluorescence=False))
    assert choose_channel("x", channels, None)[0] == 1


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (PlaneChoice(time=5), "time point 5 is asked for, but the file holds 0 to 1"),
        (PlaneChoice(channel="Phase"), "channel 'Phase' is asked for, but the file holds A, B"),
        (PlaneChoice(channel=2), "channel 2 is asked for, but the file holds 0 to 1"),
        (PlaneChoice(z=1), "z 1 is asked for, but the file holds 0 to 0"),
        (PlaneChoice(scene=3), "scene 3 asked for, but the file holds 1"),
    ],
)
def test_a_plane_that_is_not_there_is_refused(tmp_path, choice, message):
    metadata = {"axes": "TCYX", "Channel": {"Name": ["A", "B"]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((2, 2, 8, 8), np.uint8), metadata=metadata)
    with pytest.raises(InvalidArgumentError, match=message):
        open_image(tmp_path / "a.ome.tif", choice)


def test_vendor_files_tell_scene_channel_size_and_stage(tmp_path):
    image = np.stack([gradient(), gradient() + 9])
    write_lif(tmp_path / "a.lif", {"A1": image[:, None], "B2": image[:, None] + 1})
    info = info_of(tmp_path / "a.lif", PlaneChoice(scene="B2"))
    assert (info.n_scenes, info.scene, info.channel_name, info.pixel_size_um) == (2, 1, "TL-PH", 0.65)
    assert (info.objective, info.instrument, info.saturation_level) == ("N PLAN 10x/0.25", "DMi8", 4095.0)
    np.testing.assert_array_equal(read(tmp_path / "a.lif", PlaneChoice(scene="B2")), image[1] + 1)
    frames = np.stack([gradient() + i for i in range(8)]).reshape(2, 2, 2, 96, 128).transpose(0, 1, 3, 4, 2)
    write_nd2(tmp_path / "a.nd2", frames, ["GFP", "Phase"])
    info = info_of(tmp_path / "a.nd2", PlaneChoice(scene=1, time=1))
    assert (info.scene_name, info.channel, info.modality, info.x_um) == ("L02", 1, "phaseContrast", 10.0)
    assert (info.pixel_size_um, info.acquired_at) == (0.65, "2024-01-01T00:00:00+00:00")
    np.testing.assert_array_equal(read(tmp_path / "a.nd2", PlaneChoice(scene=1, time=1)), frames[1, 1, ..., 1])


def test_czi_scene_and_channel(tmp_path):
    path = tmp_path / "a.czi"
    with czi.create_czi(str(path)) as file:
        for scene, channel in np.ndindex(2, 2):
            image = (gradient() + 100 * scene + 10 * channel)[..., None]
            file.write(image, plane={"C": channel}, scene=scene, location=(500 * scene, 0))
        file.write_metadata("a", channel_names={0: "DAPI", 1: "Brightfield"}, scale_x=1.24e-6, scale_y=1.24e-6)
    info = info_of(path, PlaneChoice(scene=1))
    assert (info.n_scenes, info.channel_name, info.pixel_size_um) == (2, "Brightfield", 1.24)
    np.testing.assert_array_equal(read(path, PlaneChoice(scene=1)), gradient() + 110)


# ---------------------------------------------------------------- pixel size


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"metadata": {"axes": "YX", "PhysicalSizeX": 0.65, "PhysicalSizeY": 0.65}, "ome": True}, 0.65),
        (
            {
                "metadata": {
                    "axes": "YX", "PhysicalSizeX": 650.0, "PhysicalSizeXUnit": "nm",
                    "PhysicalSizeY": 0.65e-3, "PhysicalSizeYUnit": "mm",
                },
                "ome": True,
            },
            0.65,
        ),
        ({"metadata": {"axes": "YX", "PhysicalSizeX": 1.0, "PhysicalSizeY": 1.0}, "ome": True}, None),
        ({"metadata": {"axes": "YX", "PhysicalSizeX": 0.65, "PhysicalSizeY": 0.8}, "ome": True}, None),
        ({"imagej": True, "resolution": (1 / 0.65, 1 / 0.65), "metadata": {"unit": "um"}}, 0.65),
        ({"imagej": True, "resolution": (1 / 0.65, 1 / 0.65), "metadata": {"unit": "micron"}}, 0.65),
        ({"imagej": True, "resolution": (1.0, 1.0), "metadata": {"unit": "pixel"}}, None),
        ({"imagej": True}, None),
        ({"resolution": (1e4 / 0.65, 1e4 / 0.65), "resolutionunit": "CENTIMETER"}, 0.65),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),
        ({"resolution": (96 / 2.54, 96 / 2.54), "resolutionunit": "CENTIMETER"}, None),
        ({"resolution": (1, 1)}, None),
        ({}, None),
    ],
    ids=[
        "ome um", "ome nm and mm", "ome bare 1", "ome not square", "imagej um", "imagej micron", "imagej pixel",
        "imagej none", "tags cm", "72 dpi", "300 dpi", "96 dpi in cm", "no unit", "nothing",
    ],
)  # fmt: skip
def test_pixel_size_of_tiff(tmp_path, options, expected):
    tifffile.imwrite(tmp_path / "a.tif", gradient(), **options)
    assert info_of(tmp_path / "a.tif").pixel_size_um == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("unit", ["µm", "\u03bcm", "um", "micrometer", "\\u00B5m", "micron"])
def test_all_spellings_of_micrometre_agree(unit):
    assert to_um("2.5", unit) == 2.5


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_pixel_size_is_never_outside_a_microscopes_reach(size):
    found, _ = settle_pixel_size(size, size)
    assert found is None or 0.01 <= found <= 100


@pytest.mark.parametrize("zarr_format", [2, 3], ids=["NGFF 0.4", "NGFF 0.5"])
@pytest.mark.parametrize(("unit", "expected"), [("micrometer", 0.65), ("nanometer", None), (None, None)])
def test_pixel_size_of_ome_zarr_needs_a_unit(tmp_path, zarr_format, unit, expected):
    window = {"start": 0, "end": 1, "min": 0, "max": 1}
    ome_zarr.writer.write_image(
        np.stack([gradient(), gradient() + 1]),
        zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=zarr_format),
        axes="cyx",
        scale_factors=[],
        scale={"c": 1.0, "y": 0.65, "x": 0.65},
        axes_units={"y": unit, "x": unit} if unit else None,
        omero={"channels": [{"label": name, "color": "FFFFFF", "window": window} for name in ("GFP", "Phase")]},
    )
    info = info_of(tmp_path / "a.zarr")
    assert info.pixel_size_um == expected
    assert (info.n_channels, info.channel_name) == (2, "Phase")
    np.testing.assert_array_equal(read(tmp_path / "a.zarr"), gradient() + 1)


def test_fields_of_a_plate_and_series_of_bioformats2raw_are_scenes(tmp_path):
    for at in ("plate.zarr/A/1/0", "plate.zarr/A/1/1", "series.zarr/0", "series.zarr/1"):
        shift = 100 * int(at[-1])
        ome_zarr.writer.write_image(gradient() + shift, zarr.open_group(tmp_path / at, mode="w"), axes="yx")
    plate = {"plate": {"wells": [{"path": "A/1", "rowIndex": 0, "columnIndex": 0}]}}
    zarr.open_group(tmp_path / "plate.zarr", mode="a").attrs["ome"] = plate
    well = {"well": {"images": [{"path": "0"}, {"path": "1"}]}}
    zarr.open_group(tmp_path / "plate.zarr/A/1", mode="a").attrs["ome"] = well
    zarr.open_group(tmp_path / "series.zarr", mode="a").attrs["ome"] = {"bioformats2raw.layout": 3}
    for name, scene in (("plate.zarr", "A/1/1"), ("series.zarr", "1")):
        assert info_of(tmp_path / name).n_scenes == 2
        np.testing.assert_array_equal(read(tmp_path / name, PlaneChoice(scene=scene)), gradient() + 100)


def test_regions_may_be_read_from_several_threads(tmp_path):
    image = gradient(500, 700)
    tifffile.imwrite(tmp_path / "a.tif", image, tile=(64, 64), compression="zlib")
    tifffile.imwrite(tmp_path / "b.tif", image, rowsperstrip=9)
    write_png(tmp_path / "c.png", image)
    write_lif(tmp_path / "d.lif", {"A": image[None, None]})
    regions = [Region(y, y + 50, x, x + 100) for y in range(0, 500, 50) for x in range(0, 700, 100)]
    for path in sorted(tmp_path.iterdir()):
        with open_image(path) as field, ThreadPoolExecutor(4) as pool:
            for region, part in zip(regions, pool.map(field.read, regions), strict=True):
                np.testing.assert_array_equal(part, image[region.y0 : region.y1, region.x0 : region.x1])


def test_saturation_level(tmp_path):
    tifffile.imwrite(tmp_path / "8.tif", gradient(dtype=np.uint8))
    tifffile.imwrite(tmp_path / "16.tif", gradient())
    tifffile.imwrite(tmp_path / "12.ome.tif", gradient(), metadata={"axes": "YX", "SignificantBits": 12})
    tifffile.imwrite(tmp_path / "m.tif", gradient(), extratags=[(281, 3, 1, 4095, True)])
    levels = [info_of(tmp_path / n).saturation_level for n in ("8.tif", "16.tif", "12.ome.tif", "m.tif")]
    assert levels == [255.0, None, 4095.0, 4095.0]


# ---------------------------------------------------------------- lazy


def peak_mb(work):
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def test_a_region_of_a_huge_tiled_tiff_costs_a_region(tmp_path):
    """40,000 x 40,000 pixels, 3.2 GB decoded, of 1024 px tiles that repeat every seventh."""
    path, side = tmp_path / "huge.tif", 1024
    tiles = [zlib.compress(np.full((side, side), 10 + i, np.uint16).tobytes(), 1) for i in range(7)]
    n = -(-40_000 // side)
    tifffile.imwrite(
        path,
        (tiles[i % 7] for i in range(n * n)),
        shape=(40_000, 40_000),
        dtype=np.uint16,
        tile=(side, side),
        compression="zlib",
        photometric="minisblack",
    )

    def work():
        with open_image(path) as image:
            part = image.read(Region(20_000, 21_000, 30_000, 31_000))
        assert part[500, 500] == 10 + (20_500 // side * n + 30_500 // side) % 7

    assert peak_mb(work) < 40


def test_a_region_of_a_huge_strip_tiff_costs_a_region(tmp_path):
    """A wide uncompressed file: 3,000 rows of 40,000 pixels (240 MB), of which 2,900 x 100 are read."""
    path = tmp_path / "wide.tif"
    tifffile.memmap(path, shape=(3_000, 40_000), dtype=np.uint16)[1_000, 39_950] = 7
    with open_image(path) as image:
        assert peak_mb(lambda: image.read(Region(50, 2_950, 39_900, 40_000))) < 40
        assert image.read(Region(990, 1_010, 39_900, 40_000))[10, 50] == 7


def test_a_region_of_a_huge_zarr_costs_a_region(tmp_path):
    path = tmp_path / "huge.zarr"
    array = zarr.create_array(path, shape=(40_000, 40_000), chunks=(1024, 1024), dtype="u2")
    array[20_480:21_504, 30_720:31_744] = 9

    def work():
        with open_image(path) as image:
            assert image.read(Region(20_000, 21_000, 30_000, 31_000))[-1, -1] == 9
            assert any("1599 of 1600 chunks have no file" in note for note in image.info.notes)

    assert peak_mb(work) < 40


# ---------------------------------------------------------------- errors


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tif", b"", "the file is empty"),
        ("a.tif", b"%PDF-1.7 ...", "looks like a PDF"),
        ("a.png", b"<!DOCTYPE html><html>", "looks like a web page"),
        ("a.jpg", b"well,field,confluency\n", "looks like text"),
        ("a.tif", bytes(5_000), "filled with zeros"),
        ("a.tif", b"II*\0\xff\xff\xff\x7f", "the TIFF holds no image"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "PNG is truncated"),
        ("a.jpg", b"\xff\xd8\xff\xe0", "JPEG is truncated"),
        ("a.czi", b"ZISRAWFILE" + bytes(40), "cannot be read as CZI"),
        ("a.nd2", b"\xda\xce\xbe\x0a" + bytes(40), "cannot be read as ND2"),
        ("a.lif", b"\x70\0\0\0" + bytes(40), "cannot be read as LIF"),
    ],
)
def test_what_is_no_image_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidDataError, match=message) as caught:
        read(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_plain_folder(tmp_path):
    with pytest.raises(InvalidDataError, match="there is no such file"):
        open_image(tmp_path / "a.tif")
    with pytest.raises(InvalidDataError, match="is a folder, not an image"):
        open_image(tmp_path)
    with pytest.raises(InvalidDataError, match="there is no such file"):
        content_sha256(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "options", [{}, {"rowsperstrip": 8}, {"tile": (32, 32), "compression": "zlib"}, {"imagej": True}]
)
def test_truncated_tiff(tmp_path, options):
    tifffile.imwrite(tmp_path / "a.tif", gradient(), **options)
    truncated(tmp_path / "a.tif")
    with pytest.raises(InvalidDataError, match=r"a\.tif: TIFF is truncated.*file"):
        read(tmp_path / "a.tif")


def test_truncated_png_jpeg_and_lif(tmp_path):
    write_png(tmp_path / "a.png", gradient())
    write_jpeg(tmp_path / "a.jpg", gradient(dtype=np.uint8))
    write_lif(tmp_path / "a.lif", {"A": gradient()[None, None]})
    for name, message in (("a.png", "PNG is truncated"), ("a.jpg", "JPEG is truncated"), ("a.lif", "LIF is truncated")):
        truncated(tmp_path / name)
        with pytest.raises(InvalidDataError, match=message):
            read(tmp_path / name)


def test_png_with_a_flipped_bit_is_refused(tmp_path):
    write_png(tmp_path / "a.png", gradient())
    flipped(tmp_path / "a.png", 900)
    with pytest.raises(InvalidDataError, match="checksum of chunk b'IDAT'"):
        read(tmp_path / "a.png")


def test_a_hole_in_a_tiff_is_an_error_not_zeros(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", gradient(), tile=(32, 32), compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        counts = file.pages[0].tags["TileByteCounts"]
        counts.overwrite([0, *counts.value[1:]])
    with pytest.raises(InvalidDataError, match="1 of 12 tiles of the TIFF have no data"):
        read(tmp_path / "a.tif")


def test_complex_and_cmyk_pixels_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "c.tif", gradient().astype(np.complex64))
    with pytest.raises(InvalidDataError, match="pixels of type complex64 are no grey or colour values"):
        read(tmp_path / "c.tif")
    tifffile.imwrite(tmp_path / "s.tif", np.zeros((8, 8, 4), np.uint8), photometric="separated")
    with pytest.raises(InvalidDataError, match="CMYK"):
        read(tmp_path / "s.tif")


def test_a_header_that_claims_more_than_the_file_holds(tmp_path):
    write_png(tmp_path / "a.png", gradient(8, 8))
    content = (tmp_path / "a.png").read_bytes()
    header = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + content[24:29]
    (tmp_path / "a.png").write_bytes(content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:])
    with pytest.raises(InvalidDataError, match="claims 60000 x 60000 pixels, more than"):
        read(tmp_path / "a.png")


def test_incomplete_zarr(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", shape=(64, 64), chunks=(32, 32), dtype="u2")
    with pytest.raises(InvalidDataError, match="none of the 4 chunks"):
        open_image(tmp_path / "a.zarr")
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "b.zarr" / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "group"}))
    with pytest.raises(InvalidDataError, match="holds no image"):
        open_image(tmp_path / "b.zarr")


def test_suffix_that_lies_is_noted(tmp_path):
    write_png(tmp_path / "a.tif", gradient())
    info = info_of(tmp_path / "a.tif")
    assert info.format == "PNG"
    assert any("named .tif but its content is PNG" in note for note in info.notes)


def test_region_outside_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", gradient())
    with open_image(tmp_path / "a.tif") as image, pytest.raises(InvalidArgumentError, match="not within the 96 x 128"):
        image.read(Region(0, 97, 0, 128))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((4, 5), 7, np.uint8), "all 20 pixels have the same value"),
        (np.array([[1, np.nan], [3, 4]], np.float32), r"1 pixels \(25 %\) are NaN"),
        (np.array([[1, np.inf], [3, 4]], np.float32), r"1 pixels \(25 %\) are infinite"),
        (np.zeros((0, 5), np.uint8), "zero-sized"),
    ],
    ids=["constant", "nan", "inf", "no pixels"],
)
def test_pixels_that_are_no_picture(image, message):
    with pytest.raises(InvalidDataError, match=f"x.tif: .*{message}"):
        check_pixels(image, "x.tif")


def test_a_picture_passes_the_check():
    check_pixels(gradient(), "x.tif")
    edges = np.zeros((4, 4), np.uint8)
    edges[2, 2] = 1  # first and last pixel agree, one inside does not
    check_pixels(edges, "x.tif")


def make_samples(folder):
    small = gradient(dtype=np.uint8)
    tifffile.imwrite(folder / "plain.tif", gradient())
    tifffile.imwrite(folder / "zlib.tif", gradient(), tile=(32, 32), compression="zlib", predictor=True)
    tifffile.imwrite(folder / "lzw.tif", gradient(), rowsperstrip=16, compression="lzw")
    tifffile.imwrite(folder / "ome.ome.tif", np.stack([gradient()] * 2), metadata={"axes": "CYX"})
    tifffile.imwrite(folder / "ij.tif", np.stack([gradient()] * 3), imagej=True, metadata={"axes": "ZYX"})
    write_png(folder / "a.png", gradient())
    write_jpeg(folder / "a.jpg", small)
    write_czi(folder / "a.czi", gradient())
    write_lif(folder / "a.lif", {"A": gradient()[None, None]})
    write_nd2(folder / "a.nd2", gradient()[None, None, ..., None], ["Phase"])
    return sorted(folder.iterdir())


def test_damaged_files_give_pixels_or_a_named_error(tmp_path, caplog):
    """Cut anywhere: always an error. One bit flipped anywhere: pixels or an error, never a crash, never a giant."""
    caplog.set_level("CRITICAL", logger="tifffile")
    dice = random.Random(7)
    (tmp_path / "good").mkdir()
    for sample in make_samples(tmp_path / "good"):
        content = sample.read_bytes()
        for n in range(25):
            damaged = bytearray(content)
            is_cut = n % 2 == 0
            if is_cut:
                damaged = damaged[: dice.randrange(1, len(content) - 12)]
            else:
                at = dice.randrange(min(len(content), 2_000 if n % 3 else len(content)))
                damaged[at] ^= 1 << dice.randrange(8)
            path = tmp_path / f"damaged{n}{sample.suffix}"
            path.write_bytes(damaged)
            try:
                pixels = read(path)
            except InvalidDataError as err:
                assert path.name in str(err)
                assert "\n" not in str(err)
            else:
                assert not is_cut, f"{sample.name} cut to {len(damaged)} of {len(content)} bytes was read"
                assert pixels.nbytes < 5e7


# ---------------------------------------------------------------- digests, real pictures


def test_file_digest_is_that_of_sha256sum(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert content_sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


def test_folder_digest_sees_names_and_contents_but_not_file_browsers(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "c").mkdir(parents=True)
        (tmp_path / name / "c" / "0").write_bytes(b"abc")
    assert content_sha256(tmp_path / "a") == content_sha256(tmp_path / "b")
    (tmp_path / "b" / ".DS_Store").write_bytes(b"x")
    assert content_sha256(tmp_path / "a") == content_sha256(tmp_path / "b")
    (tmp_path / "b" / "c" / "0").rename(tmp_path / "b" / "c" / "1")
    assert content_sha256(tmp_path / "a") != content_sha256(tmp_path / "b")


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared images are not beside the checkout")
def test_all_shared_pictures_are_read():
    paths = [p for p in SHARED.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and "masks" not in p.parts]
    assert paths
    for path in paths[::4]:
        with open_image(path) as image:
            pixels = image.read()
            assert pixels.shape == image.info.shape
            assert image.info.pixel_size_um != 1.0
            check_pixels(pixels, path)
