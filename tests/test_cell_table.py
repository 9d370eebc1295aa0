"""The cells of a field as a table, and how one figure of them is spread."""

import csv
import io
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msc_vision.batch.review_overlay import objects_bytes
from msc_vision.batch.store import objects_part
from msc_vision.errors import InvalidDataError
from msc_vision.morphology.baseline import Origin, ProfiledField, Source, make_baseline
from msc_vision.morphology.profile import CELL_TRAITS, PROFILE_TRAITS, cell_profile
from msc_vision.morphology.reference import DriftSettings
from msc_vision.morphology.shape_features import SHAPE_FEATURES
from msc_vision.records import ManifestRow
from msc_vision.report.cell_distribution import (
    N_BINS,
    axis_ticks,
    bin_edges,
    cell_distribution,
    expected_of_baseline,
    percentile_of,
    place_on_axis,
    selected_words,
)
from msc_vision.report.cell_table import (
    CELL_FIGURES,
    arrow_cells,
    cell_table,
    cells_csv,
    columns_for,
    joined_cells,
    no_cells,
    read_cell_table,
)

AREA = CELL_FIGURES[0]
BY_COLUMN = {one.column: one for one in CELL_FIGURES}
ROW = ManifestRow("a.tif", "V1", "t-75", 1)


def objects(areas, **flags):
    """Return objects as a run keeps them: whole cells of these areas, and one aggregate behind them."""
    names = [("kind", "<U9"), ("label", "<i4"), ("area_um2", "<f8"), ("border_weight", "<f8"), ("y0_px", "<i8")]
    table = np.zeros(len(areas) + 1, [*names, ("is_measured", "?"), ("touches_border", "?")])
    table["kind"], table["kind"][-1] = "cell", "aggregate"
    table["label"], table["border_weight"], table["is_measured"] = np.arange(1, len(areas) + 2), 1.0, True
    table["area_um2"][:-1] = areas
    for name, values in flags.items():
        table[name][:-1] = values
    return table


def write_part(run, key, found):
    path = run / objects_part(ROW)
    path.parent.mkdir(parents=True)
    table = pa.table({name: np.ascontiguousarray(found[name]) for name in found.dtype.names})
    pq.write_table(table.append_column("key", pa.array([key] * len(found))), path)
    return path


def test_every_figure_of_shape_is_a_column_with_its_meaning():
    assert {one.column for one in CELL_FIGURES} == {one.name for one in SHAPE_FEATURES}
    assert all(one.meaning for one in CELL_FIGURES)


def test_cells_of_a_run_are_those_of_the_fields_asked_for(tmp_path):
    write_part(tmp_path, "f1", objects([100.0, 200.0]))
    assert read_cell_table(tmp_path, [ROW], ["f1"]).labels.tolist() == [1, 2]
    assert len(read_cell_table(tmp_path, [ROW], ["f2"])) == 0


def test_a_damaged_table_is_one_sentence(tmp_path):
    write_part(tmp_path, "f1", objects([100.0])).write_bytes(b"no parquet")
    with pytest.raises(InvalidDataError, match="cannot be read as a table"):
        read_cell_table(tmp_path, [ROW], ["f1"])


def test_kept_objects_give_the_same_cells_as_measured_ones():
    found = objects([100.0, 200.0, 400.0])
    kept = arrow_cells(pq.read_table(pa.BufferReader(objects_bytes(found))), key="f1")
    measured = cell_table("f1", found)
    assert kept.keys.tolist() == measured.keys.tolist()
    assert all(np.array_equal(kept.columns[n], measured.columns[n], equal_nan=True) for n in measured.columns)


def test_what_an_older_run_did_not_measure_is_a_dash():
    table = cell_table("f1", objects([100.0]))
    assert BY_COLUMN["circularity"].told(float(table.values(BY_COLUMN["circularity"])[0])) == "–"


def test_a_cell_is_found_by_its_number_and_says_why_it_does_not_count():
    table = cell_table("f1", objects([100.0, 200.0], touches_border=[False, True], is_measured=[True, False]))
    assert (table.row_of(2), table.row_of(9)) == (1, None)
    assert table.note(1) == "cut by the edge"


def test_the_table_to_take_along_has_a_row_per_cell():
    rows = list(csv.DictReader(io.StringIO(cells_csv(cell_table("f1", objects([100.0, 200.5]))))))
    assert [(row["field"], row["label"], row["area_um2"]) for row in rows] == [
        ("f1", "1", "100.0"),
        ("f1", "2", "200.5"),
    ]
    assert rows[0]["solidity"] == ""


def test_some_columns_of_some_fields_joined_keep_who_is_of_which():
    full, light = cell_table("f1", objects([100.0, 200.0])), no_cells(columns_for(AREA))
    both = joined_cells([light, cell_table("f2", objects([300.0])), full])
    assert set(both.columns) == set(columns_for(AREA))
    assert both.keys.tolist() == ["f2", "f1", "f1"]
    assert both.values(AREA)[both.is_of(["f1"])].tolist() == [100.0, 200.0]
    assert both.of(both.is_of(["f2"])).keys.tolist() == ["f2"]


def test_tables_without_cells_join_to_one_without_cells():
    assert len(joined_cells([no_cells(), no_cells()])) == len(joined_cells([])) == 0


# --- distributions ---------------------------------------------------------------------------------------------------


def test_cells_that_do_not_count_are_left_out():
    table = cell_table("f1", objects([1000.0, 2000.0, 3000.0], is_measured=[True, True, False]))
    found = cell_distribution(AREA, table)
    assert found.n_cells == 2
    assert found.summary.startswith("2 cells: median 1,500 µm²")


@settings(max_examples=50)
@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=40), st.sampled_from(CELL_FIGURES))
def test_every_cell_stands_in_some_bar(values, figure):
    table = cell_table("f1", objects([1.0] * len(values)))
    table.columns[figure.column][:] = values
    assert cell_distribution(figure, table).shares.sum() == pytest.approx(100)


def test_the_mean_is_the_one_that_profiles_of_fields_hold():
    rng = np.random.default_rng(5)
    values = rng.lognormal(7.5, 0.6, 40)
    found = objects(values, border_weight=rng.uniform(1, 2, 40))
    wanted = {trait.name for trait in CELL_TRAITS} | {"is_measured", "border_weight"}
    full = np.zeros(40, [(name, "<f8") for name in sorted(wanted - {"is_measured"})] + [("is_measured", "?")])
    full["area_um2"], full["border_weight"], full["is_measured"] = values, found["border_weight"][:-1], True
    profile = cell_profile(full)
    mean = cell_distribution(AREA, cell_table("f1", found)).mean
    assert np.log(mean) == pytest.approx(profile["cells_area_um2_mean"])


def test_bars_agree_with_a_slow_count():
    rng = np.random.default_rng(3)
    values = rng.lognormal(7.5, 0.6, 300)
    table = cell_table("f1", objects(values))
    weights = rng.uniform(1, 3, 300)
    table.columns["border_weight"][:] = weights
    edges = bin_edges(AREA)
    slow = [
        sum(w for v, w in zip(values, weights, strict=True) if low <= v < high) / weights.sum() * 100
        for low, high in pairwise(edges)
    ]
    assert cell_distribution(AREA, table).shares == pytest.approx(slow)


@pytest.mark.parametrize("figure", CELL_FIGURES, ids=lambda one: one.column)
def test_axes_have_ticks_within_them(figure):
    ticks = axis_ticks(figure)
    assert 3 <= len(ticks) <= 12
    places = [place_on_axis(figure, tick) for tick in ticks]
    assert places == sorted(places)
    assert min(places) >= 0
    assert max(places) <= 1
    assert len(bin_edges(figure)) == N_BINS + 1


def test_a_selected_cell_is_told_beside_the_others():
    cells = cell_table("f1", objects([1000.0, 2000.0, 3000.0, 4000.0]))
    assert percentile_of(AREA, cells, 3000.0) == 50
    assert selected_words(AREA, cells, cells, 2) == "Cell 3: area 3,000 µm², larger than in 50 % of the cells shown."


def test_a_cell_at_the_edge_is_told_with_what_it_lacks():
    cells = cell_table("f1", objects([1000.0, 2000.0], touches_border=[False, True], is_measured=[True, False]))
    words = selected_words(AREA, cells, cells, 1)
    assert words.endswith("It does not count among them: cut by the edge.")
    assert "could not be measured" in selected_words(BY_COLUMN["halo"], cells, cells, 0)


def profiled(vessel, percent, rng):
    """A field of 2,000 µm² cells, smaller by 0.4 % with every point of confluency; half of the fields within 13 %."""
    context = {"bank": "MCB-7", "medium": "aMEM", "objective": "10x", "pipeline_sha256": "f" * 64}
    logarithm = np.log(2000.0) - 0.004 * percent + 0.2 * rng.standard_normal()
    profile = {"cells_area_um2_mean": logarithm, "cells_solidity_mean": 0.8 + 0.03 * rng.standard_normal()}
    return ProfiledField(f"{vessel}-{percent:.2f}.tif", vessel, 1, percent, 1.3, context, profile)


def test_what_a_baseline_expects_follows_the_confluency():
    rng = np.random.default_rng(1)
    fields = [profiled(f"B{v}", percent, rng) for v in range(4) for percent in np.linspace(30, 90, 20)]
    origin = Origin("mcb-7", "2026-11-22T00:00:00+00:00", "msc-vision 0", (Source("run-1", "0" * 64, 80),))
    traits = [one for one in PROFILE_TRAITS if one.name in fields[0].profile]
    baseline = make_baseline(origin, fields, traits, DriftSettings(n_refits=50, n_resamples=100))
    sparse, dense = (expected_of_baseline(AREA, [percent], baseline) for percent in (35.0, 85.0))
    assert sparse.middle == pytest.approx(2000 * np.exp(-0.004 * 35), rel=0.1)
    assert dense.middle < sparse.middle
    assert sparse.low == pytest.approx(sparse.middle * np.exp(-1.96 * 0.2), rel=0.15)
    outlines = expected_of_baseline(BY_COLUMN["solidity"], [60.0], baseline)
    assert (outlines.low, outlines.high) == pytest.approx((0.8 - 0.06, 0.8 + 0.06), abs=0.02)
    assert expected_of_baseline(BY_COLUMN["halo"], [40.0], baseline) is None
    assert expected_of_baseline(AREA, [], baseline) is None
