"""Threads, processes and remote workers give the same outcomes, and none of them dies of one bad field."""

import shutil
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from distributed import LocalCluster

from batch_cases import plain_score, plan_of, write_images
from msc_vision.batch.execute import DaskExecutor, ThreadExecutor, attempt, executor_for
from msc_vision.batch.plan import RunSettings
from msc_vision.batch.run import run_folder
from msc_vision.errors import InvalidArgumentError, OutputError
from msc_vision.records import FieldScore


@pytest.fixture
def folder(tmp_path):
    """Four images of 128 x 128 on two layers."""
    write_images(tmp_path / "images", 4, side=128)
    return tmp_path / "images"


@pytest.fixture
def plan(folder, tmp_path):
    """Plan a run of the four images, with its folders made."""
    plan = plan_of(folder, tmp_path / "RUN")
    make_folders(plan)
    return plan


def make_folders(plan):
    plan.labels_folder.mkdir(parents=True)
    (plan.work_folder / "objects").mkdir(parents=True)


def instant_score(task, *, tile_map=map):
    return FieldScore(key=task.key, path=task.row.path, status="rejected", reason="not looked at")


def tiled_score(task, *, tile_map=map):
    total = sum(tile_map(lambda y, x: y * x, range(50), range(50)))
    return FieldScore(key=task.key, path=task.row.path, status="rejected", reason=str(total))


def full_score(task, *, tile_map=map):
    raise OSError(28, "No space left on device", str(task.labels_path))


# --- threads ---------------------------------------------------------------------------------------------------------


def test_every_task_comes_back_once(plan):
    keys = [outcome.score.key for outcome in ThreadExecutor(3).outcomes(plan.tasks, instant_score)]
    assert sorted(keys) == sorted(task.key for task in plan.tasks)


def test_tasks_are_drawn_as_they_are_needed(plan):
    drawn = []

    def tasks():
        for i in range(100):
            drawn.append(i)
            yield replace(plan.tasks[0], key=f"k{i}")

    outcomes = ThreadExecutor(2).outcomes(tasks(), instant_score)
    next(outcomes)
    assert len(drawn) <= 8
    outcomes.close()


def test_tiles_are_spread_and_come_in_order(plan):
    names = set()

    def score(task, *, tile_map=map):
        def tile(i):
            names.add(threading.current_thread().name)
            time.sleep(0.002)
            return i

        assert list(tile_map(tile, range(20))) == list(range(20))
        return instant_score(task)

    list(ThreadExecutor(2).outcomes(plan.tasks, score))
    assert {name.split("_")[0] for name in names} == {"tile"}
    assert len(names) == 2


def test_no_more_computes_at_a_time_than_there_are_workers(plan):
    at_work, most = 0, 0
    lock = threading.Lock()

    def busy(_):
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.005)
        with lock:
            at_work -= 1

    def score(task, *, tile_map=map):
        busy(0)
        if task.key.endswith("0"):
            list(tile_map(busy, range(10)))
        return instant_score(task)

    tasks = [replace(plan.tasks[0], key=f"k{i}") for i in range(40)]
    list(ThreadExecutor(3).outcomes(tasks, score))
    assert most == 3


def test_a_tile_that_breaks_breaks_its_field_only(plan):
    def score(task, *, tile_map=map):
        if task is plan.tasks[1]:
            list(tile_map(lambda i: 1 / (i - 7), range(20)))
        return instant_score(task)

    outcomes = {o.score.key: o.score for o in ThreadExecutor(2).outcomes(plan.tasks, score)}
    assert outcomes[plan.tasks[1].key].status == "failed"
    assert "ZeroDivisionError" in outcomes[plan.tasks[1].key].reason
    assert sum(score.status == "rejected" for score in outcomes.values()) == 3


def test_out_of_memory_is_a_failed_field_that_may_be_tried_again(plan):
    def score(task, *, tile_map=map):
        return np.empty((10**9, 10**9))

    outcome = attempt(score, plan.tasks[0], map)
    assert outcome.is_passing
    assert outcome.score.status == "failed"
    assert outcome.score.reason.startswith("Out of memory while scoring")


def test_a_full_disk_stops_everything(plan):
    with pytest.raises(OutputError, match=r"cannot be written \(No space left on device\)"):
        list(ThreadExecutor(2).outcomes(plan.tasks, full_score))


def test_a_field_that_is_not_scored_leaves_no_output(plan):
    def score(task, *, tile_map=map):
        plain_score(task)
        raise ValueError("after the labels were written")

    assert attempt(score, plan.tasks[0], map).score.status == "failed"
    assert not plan.tasks[0].labels_path.exists()
    assert not plan.tasks[0].objects_path.exists()


# --- processes -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("mishap", ["killed", "exits"])
def test_a_worker_that_dies_is_a_failed_field_and_the_others_go_on(folder, tmp_path, mishap):
    shutil.copy(folder / "L01" / "field_00.tif", folder / "L01" / f"{mishap}.tif")
    summary = run_folder(plan_of(folder, tmp_path / "RUN", scheduler="processes"), scorer=plain_score)
    assert (summary.n_scored, summary.n_failed) == (4, 1)
    (score,) = summary.troubled
    assert score.path == f"L01/{mishap}.tif"
    assert "The worker process died 3 times while this field was scored" in score.reason


@pytest.mark.slow
def test_a_worker_over_its_memory_is_a_failed_field(folder, tmp_path):
    (folder / "L01" / "field_00.tif").rename(folder / "L01" / "greedy.tif")
    plan = plan_of(folder, tmp_path / "RUN", scheduler="processes", workers=1, retries=0)
    tight = replace(plan, settings=replace(plan.settings, memory_limit_bytes=2**30))
    summary = run_folder(tight, scorer=greedy_score)
    assert (summary.n_scored, summary.n_failed) == (3, 1)
    assert "The worker process died once" in summary.troubled[0].reason


def greedy_score(task, *, tile_map=map):
    if task.source.stem == "greedy":
        held = []
        for _ in range(200):
            held.append(np.ones(2**22))  # 32 MiB
            time.sleep(0.02)
    return plain_score(task)


@pytest.mark.slow
def test_processes_stop_for_a_full_disk_and_map_tiles(plan):
    executor = executor_for(RunSettings(workers=1, scheduler="processes"), plan.out)
    assert {o.score.reason for o in executor.outcomes(plan.tasks[:2], tiled_score)} == {"40425"}
    with pytest.raises(OutputError, match="No space left on device"):
        list(executor.outcomes(plan.tasks, full_score))


@pytest.mark.slow
def test_workers_of_a_scheduler_elsewhere_score_too(folder, tmp_path):
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, host="127.0.0.1") as cluster:
        plan = plan_of(folder, tmp_path / "RUN", scheduler=cluster.scheduler_address)
        assert run_folder(plan, scorer=plain_score).n_scored == 4


def test_an_address_where_nothing_answers_is_one_clear_line(plan, monkeypatch):
    monkeypatch.setattr("msc_vision.batch.execute.CONNECT_TIMEOUT_S", 0.5)
    executor = executor_for(RunSettings(scheduler="tcp://127.0.0.1:9"), plan.out)
    assert isinstance(executor, DaskExecutor)
    with pytest.raises(InvalidArgumentError, match=r"No Dask scheduler answers at tcp://127.0.0.1:9"):
        list(executor.outcomes(plan.tasks, plain_score))
