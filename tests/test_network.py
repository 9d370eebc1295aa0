"""The network on whole fields: windows, scales, tiles, precision, doubts. Its weights here are random but fixed."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from msc_vision.batch.field import FieldTask, Tiling, score_field
from msc_vision.batch.pipeline import load_pipeline
from msc_vision.errors import InvalidArgumentError
from msc_vision.io.images import content_sha256
from msc_vision.io.labels import is_within_judgeable, read_judgeable, read_labels
from msc_vision.records import ManifestRow, Region
from msc_vision.segmentation.cells import CellSettings
from msc_vision.segmentation.fusion import Areas, DoubtSettings, Opinion, Probabilities, doubt, probabilities
from msc_vision.segmentation.network import predict
from msc_vision.segmentation.network.field_maps import plan_field
from msc_vision.segmentation.network.inputs import network_inputs
from msc_vision.segmentation.network.maps import MAPS
from msc_vision.segmentation.network.model import GRID, STRIDE, CultureNetwork, NetworkShape, know
from msc_vision.segmentation.network.predict import (
    MARGIN_PX,
    predict_window,
    resampled,
    resampling,
    source_region,
    windows,
)
from msc_vision.segmentation.network.weights import ModelConfig, ModelSettings, save_model
from msc_vision.synth.field import render_field
from msc_vision.synth.settings import FieldSettings

WHOLE = Tiling()


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(4)
    shape = NetworkShape(widths=(8, 12, 16), n_deep=2)
    net = CultureNetwork(shape)
    with torch.no_grad():
        net.answer.weight.mul_(6)  # answers spread over the whole range, not all near one half
    return net.eval()


@pytest.fixture(scope="module")
def model_folder(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    config = ModelConfig(
        id="tiny",
        network=NetworkShape(widths=(8, 12, 16), n_deep=2),
        canonical_pixel_size_um=0.8,
        settings=ModelSettings(cells=CellSettings(smooth_um=1.0, join_from=0.95, splinter_um2=20.0, smallest_um2=20.0)),
    )
    save_model(folder, config, network, recipe="name: tiny\n", card="# tiny\n")
    return folder


@pytest.fixture(scope="module")
def pipeline(model_folder, tmp_path_factory):
    return load_pipeline(written(tmp_path_factory.mktemp("recipes"), model=str(model_folder)))


def written(folder, **network):
    path = folder / "net.yaml"
    path.write_text(
        yaml.safe_dump(
            {"extends": "contrast", "name": "net", "version": "1", "description": "test", "network": network}
        )
    )
    return path


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A field of 1,500 x 1,300 pixels of 0.65 µm, on disk."""
    import tifffile

    settings_ = FieldSettings(height_px=1500, width_px=1300, pixel_size_um=0.65, confluency_percent=40)
    path = tmp_path_factory.mktemp("images") / "field.tif"
    tifffile.imwrite(path, render_field(settings_, 5).image)
    return path


def scored(image, pipeline, out, tiling=WHOLE, tile_map=map, pixel_size_um=0.65):
    row = ManifestRow(path=str(image), vessel_id="v", vessel_type="t-75", layer=1, pixel_size_um=pixel_size_um)
    task = FieldTask("f", image, row, pipeline, out / "f.ome.zarr", out / "f.npy", tiling=tiling)
    return score_field(task, tile_map=tile_map)


def backwards(function, *lists):
    """Work on tiles in reverse order, as threads might."""
    results = [function(*args) for args in reversed(list(zip(*lists, strict=True)))]
    return iter(results[::-1])


# --- windows and scales ----------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 9000), width=st.integers(1, 9000))
def test_windows_cover_a_field_once_with_all_that_the_network_sees(height, width):
    rows = sorted({(w.core.y0, w.core.y1) for w in windows((height, width))})
    assert rows[0][0] == 0
    assert rows[-1][1] == height
    assert all(a[1] == b[0] for a, b in pairwise(rows))
    for window in windows((height, width)):
        assert window.around.y0 % GRID == window.around.x0 % GRID == 0
        assert window.around.y0 in (0, window.core.y0 - MARGIN_PX)
        assert window.around.x1 in (width, window.core.x1 + MARGIN_PX)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(64, 7000),
    width=st.integers(64, 7000),
    pixel_um=st.floats(0.2, 3.0),
    factor=st.integers(1, 4),
)
def test_windows_share_out_the_working_pixels(height, width, pixel_um, factor):
    shape = -(-height // factor), -(-width // factor)
    plan = plan_field((height, width), shape, factor, pixel_um, 0.8, 0.1)
    area = 0
    for window in plan.windows:
        region = plan.working(window)
        assert 0 <= region.y0 <= region.y1 <= shape[0]
        area += (region.y1 - region.y0) * (region.x1 - region.x0)
    assert area == shape[0] * shape[1]


def with_past(network):
    """Return a copy whose normalisations have seen something, as those of a trained network have."""
    trained = CultureNetwork(NetworkShape(widths=(8, 12, 16), n_deep=2))
    trained.load_state_dict(network.state_dict())
    random = torch.Generator().manual_seed(1)
    for module in trained.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.running_mean, module.running_var, module.weight.data, module.bias.data):
                tensor.copy_(torch.rand(tensor.shape, generator=random) + 0.5)
    return trained.eval()


def test_maps_are_the_rounded_probabilities_of_the_network(network):
    """Blocks are a way to be quick: the slow way is the network as it was trained, picture in and maps out."""
    trained = with_past(network)
    picture = np.random.default_rng(2).uniform(0.5, 1.5, (5 * GRID, 7 * GRID)).astype(np.float32)
    with torch.inference_mode():
        logits = trained(torch.from_numpy(network_inputs(picture))[None])[0][0].numpy()
    expected = 255 / (1 + np.exp(-logits / np.array([1.5, 1, 1, 1, 1, 1])[:, None, None]))
    maps, *_ = predict_window(trained, picture, 1.5, bf16=False)
    assert expected.std() > 20
    assert np.abs(maps - expected).max() <= 0.51


def test_nothing_beyond_the_margin_reaches_an_answer(network):
    rng = np.random.default_rng(0)
    picture = rng.uniform(0.5, 1.5, (64, 4 * MARGIN_PX)).astype(np.float32)
    other = picture.copy()
    other[:, MARGIN_PX + GRID :] = rng.uniform(0.5, 1.5, (64, 3 * MARGIN_PX - GRID))
    before, *_ = predict_window(network, picture, 1.0, bf16=False)
    after, *_ = predict_window(network, other, 1.0, bf16=False)
    assert np.array_equal(before[:, :, :GRID], after[:, :, :GRID])
    assert not np.array_equal(before, after)


def test_a_field_in_windows_reads_as_it_does_whole(network, monkeypatch):
    rng = np.random.default_rng(1)
    picture = rng.uniform(0.5, 1.5, (200, 1500)).astype(np.float32)
    whole, *_ = predict_window(network, picture, 1.0, bf16=False)
    monkeypatch.setattr(predict, "WINDOW_PX", 500)
    monkeypatch.setattr(predict, "CORE_PX", 400)
    for window in windows(picture.shape):
        a, c = window.around, window.core
        maps, *_ = predict_window(network, picture[a.y0 : a.y1, a.x0 : a.x1], 1.0, bf16=False)
        inner = maps[:, c.y0 - a.y0 : c.y1 - a.y0, c.x0 - a.x0 : c.x1 - a.x0]
        difference = inner.astype(int) - whole[:, c.y0 : c.y1, c.x0 : c.x1]
        assert np.abs(difference).max() <= 1  # sums in another order may round to the next of 256 steps


@pytest.mark.parametrize("pixel_um", [0.5, 0.65, 1.24, 1.5])
def test_resampling_keeps_the_place_of_things(pixel_um):
    y, x = np.mgrid[:300, :320] + 0.5
    picture = np.rint(65535 * np.exp(-((y - 120) ** 2 + (x - 200) ** 2) / (2 * (15 / pixel_um) ** 2))).astype(np.uint16)
    steps = resampling(picture.shape, pixel_um, 0.8, tolerance=0.05)
    around = Region(0, steps.shape[0], 0, steps.shape[1])
    source = source_region(around, steps, picture.shape)
    canonical = resampled(picture[source.y0 : source.y1, source.x0 : source.x1], source, around, steps)
    assert canonical.shape == steps.shape
    v, u = np.unravel_index(np.argmax(canonical), canonical.shape)
    assert (v + 0.5) * 0.8 == pytest.approx(120 * pixel_um, abs=0.9)
    assert (u + 0.5) * 0.8 == pytest.approx(200 * pixel_um, abs=0.9)


def test_a_pixel_size_near_the_canonical_one_is_left_as_it_is():
    assert resampling((100, 100), 0.867, 0.8, tolerance=0.1).ratio == 1.0
    assert resampling((100, 100), 0.65, 0.8, tolerance=0.1).ratio != 1.0


def test_inputs_do_not_depend_on_exposure():
    rng = np.random.default_rng(2)
    picture = rng.uniform(0.5, 1.5, (120, 130)).astype(np.float32)
    np.testing.assert_allclose(network_inputs(picture * 700), network_inputs(picture), atol=2e-3)


# --- fields ----------------------------------------------------------------------------------------------------------


def test_tiles_and_their_order_change_nothing(image, tmp_path):
    pipeline = load_pipeline("default")  # a network that sees cells, so that many lie across seams
    outs = [tmp_path / name for name in ("whole", "tiled", "backwards")]
    for out in outs:
        out.mkdir()
    tiles = Tiling(whole_px=1, tile_px=1024)  # of a working pixel of 1 µm the field has 1,500 x 1,300: four tiles
    whole = scored(image, pipeline, outs[0], pixel_size_um=1.0)
    tiled = scored(image, pipeline, outs[1], tiles, pixel_size_um=1.0)
    turned = scored(image, pipeline, outs[2], tiles, backwards, pixel_size_um=1.0)
    assert whole.status == "scored", whole.reason
    assert whole.n_objects > 50
    assert tiled == whole
    assert turned == whole
    assert content_sha256(outs[1] / "f.npy") == content_sha256(outs[0] / "f.npy")
    assert not list(outs[1].glob(".maps-*"))


def test_tiles_change_nothing_where_only_a_part_is_judged(image, tmp_path):
    import tifffile

    framed = np.pad(tifffile.imread(image), ((90, 60), (70, 40)))
    tifffile.imwrite(tmp_path / "framed.tif", framed)
    pipeline, tiles = load_pipeline("default"), Tiling(whole_px=1, tile_px=1024)
    whole = scored(tmp_path / "framed.tif", pipeline, tmp_path, pixel_size_um=1.0)
    judgeable = read_judgeable(tmp_path / "f.ome.zarr")
    assert whole.status == "scored", whole.reason
    assert 50 < whole.judgeable_percent < 95
    assert whole.judgeable_percent == pytest.approx(100 * judgeable.mean())
    assert is_within_judgeable(tmp_path / "f.ome.zarr")
    assert scored(tmp_path / "framed.tif", pipeline, tmp_path, tiles, pixel_size_um=1.0) == whole
    np.testing.assert_array_equal(read_judgeable(tmp_path / "f.ome.zarr"), judgeable)


def test_labels_and_foreground_agree_with_the_score(image, pipeline, tmp_path):
    score = scored(image, pipeline, tmp_path)
    foreground, labels, _ = read_labels(tmp_path / "f.ome.zarr")
    assert np.array_equal(foreground, labels > 0)
    objects = np.load(tmp_path / "f.npy")
    assert labels.max() == (objects["kind"] == "cell").sum()
    assert len(objects) == score.n_objects
    judged = score.judgeable_percent / 100 * foreground.size
    assert score.confluency_percent == pytest.approx(100 * foreground.sum() / judged)


def test_float32_and_bfloat16_read_nearly_the_same(image, model_folder, tmp_path):
    readings = [
        scored(image, load_pipeline(written(tmp_path, model=str(model_folder), precision=p)), tmp_path)
        for p in ("float32", "bfloat16")
    ]
    assert readings[0].confluency_percent == pytest.approx(readings[1].confluency_percent, abs=0.5)


def test_a_field_without_pixel_size_is_scored_and_says_so(image, pipeline, tmp_path):
    score = scored(image, pipeline, tmp_path, pixel_size_um=None)
    assert score.status == "scored"
    assert any("No pixel size is known" in note for note in score.notes)
    assert any("The network took a pixel for" in note for note in score.notes)
    assert score.pixel_size_um is None


def test_the_recipe_names_its_network_by_hash(pipeline, model_folder, tmp_path):
    assert len(pipeline.network.model_sha256) == 64
    with pytest.raises(InvalidArgumentError, match=r"it wants model .*tiny with sha256 0000"):
        load_pipeline(written(tmp_path, model=str(model_folder), model_sha256="0" * 64))


def test_local_contrast_alone_loads_no_torch():
    import subprocess
    import sys

    code = "import sys, msc_vision.batch.field, msc_vision.batch.run; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


# --- doubts ----------------------------------------------------------------------------------------------------------


def sure(expected, n_unsure, strangeness=1.0):
    return Opinion(Probabilities(round(255 * expected), n_unsure), strangeness, strange_from=2.0)


def test_a_picture_unlike_the_training_is_flagged():
    found = doubt(5000, Areas(10000, 0, 5000), sure(5000.0, 0, strangeness=2.5), DoubtSettings())
    assert found.flags == ("strange",)
    assert found.figures["strangeness"] == 2.5


def test_a_field_of_which_much_is_hidden_is_flagged_and_the_rest_is_counted():
    found = doubt(3000, Areas(6000, 4000, 3000), sure(3000.0, 0), DoubtSettings(obscured_percent=30))
    assert found.flags == ("obscured",)
    assert found.figures["obscured_percent"] == 40
    assert found.figures["confluency_contrast_percent"] == 50
    assert any("Something hides 40 % of the surface" in note for note in found.notes)


def test_a_pixel_size_guessed_far_from_the_usual_one_is_flagged():
    far, near = (
        Opinion(Probabilities(), 1.0, 2.0, guessed_pixel_size_um=2.6, guessed_ratio=ratio) for ratio in (2.5, 1.9)
    )
    assert doubt(0, Areas(100), far, DoubtSettings()).flags == ("pixel-size-doubtful",)
    assert doubt(0, Areas(100), near, DoubtSettings()).flags == ()


def model_that_sees(folder, network, obscured_logit):
    """Save a network to whose answer for hidden surface a number is added."""
    biased = CultureNetwork(NetworkShape(widths=(8, 12, 16), n_deep=2))
    biased.load_state_dict(network.state_dict())
    first = MAPS.index("obscured") * STRIDE * STRIDE
    with torch.no_grad():
        biased.answer.bias[first : first + STRIDE * STRIDE] += obscured_logit
    config = ModelConfig(id="biased", network=NetworkShape(widths=(8, 12, 16), n_deep=2), canonical_pixel_size_um=0.8)
    save_model(folder, config, biased, recipe="name: biased\n", card="# biased\n")
    return load_pipeline(written(folder.parent, model=str(folder)))


def test_where_something_hides_the_surface_nothing_is_judged(image, network, tmp_path):
    clear = scored(image, model_that_sees(tmp_path / "clear", network, -50.0), tmp_path)
    partly = scored(image, model_that_sees(tmp_path / "partly", network, 0.0), tmp_path)
    assert clear.quality["obscured_percent"] == 0
    assert 0 < partly.quality["obscured_percent"] < 100
    assert partly.judgeable_percent < clear.judgeable_percent


@pytest.mark.parametrize("tiling", [WHOLE, Tiling(whole_px=1, tile_px=1024)], ids=["whole", "tiled"])
def test_a_field_that_is_hidden_all_over_is_rejected_and_leaves_no_labels(image, network, tmp_path, tiling):
    out = tmp_path / "hidden"
    out.mkdir()
    blind = scored(image, model_that_sees(tmp_path / "blind", network, 50.0), out, tiling)
    assert (blind.status, blind.confluency_percent) == ("rejected", None)
    assert blind.reason == "something hides all of the surface (obscured 100 %)"
    assert not list(out.iterdir())


def test_strangeness_is_distance_in_spreads_of_the_training():
    network = CultureNetwork(NetworkShape(widths=(8, 12, 16)))
    rng = np.random.default_rng(0)
    known = torch.from_numpy(rng.normal(3.0, 0.5, (4000, 16)).astype(np.float32))
    know(network, known)
    assert float(network.strangeness(known).square().mean()) == pytest.approx(1.0, abs=0.02)
    assert float(network.strangeness(known.mean(0) + 2.0)) == pytest.approx(4.0, rel=0.1)


def test_methods_that_disagree_flag_the_field():
    found = doubt(8000, Areas(10000, 0, 3000), sure(7900.0, 400), DoubtSettings(disagreement_points=20))
    assert found.flags == ("methods-disagree",)
    assert found.notes == ("The network reads 80 %, local contrast 30 %: look at it.",)
    assert found.figures["confluency_expected_percent"] == 79.0


def test_an_unsure_network_flags_the_field():
    found = doubt(5000, Areas(10000, 0, 5000), sure(5000.0, 3000), DoubtSettings(unsure_percent=15))
    assert found.flags == ("unsure",)


def test_probabilities_count_judgeable_pixels_only():
    maps = np.array([[0, 255, 128, 128]], np.uint8)
    found = probabilities(maps, np.array([[1, 1, 1, 0]], np.uint8))
    assert found.expected == pytest.approx(1 + 128 / 255)
    assert found.n_unsure == 1


def test_the_network_stays_small():
    assert sum(p.numel() for p in CultureNetwork(NetworkShape()).parameters()) <= 1_000_000
    assert len(MAPS) == 6
