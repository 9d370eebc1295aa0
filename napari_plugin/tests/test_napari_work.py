"""Work beside the window: answers come on the main thread, in order, and nothing is lost at the end."""

import gc
import os
import sys
import threading
import time
import weakref

import pytest

pytest.importorskip("qtpy")
from napari_msc_vision.qt_work import NICENESS, QtWork
from napari_msc_vision.work import DirectWork, Latest


class Picture:
    """Something that is large."""


@pytest.fixture
def work(qapp):
    work = QtWork()
    yield work
    work.close()


def fail(err):
    raise err


def test_answers_come_on_the_main_thread_and_jobs_run_elsewhere(work, qtbot):
    threads = []
    work.submit(threading.get_ident, lambda where: threads.extend([where, threading.get_ident()]), fail)
    qtbot.waitUntil(lambda: len(threads) == 2)
    assert threads[0] != threading.get_ident() == threads[1]


def test_what_comes_after_a_while_comes_after_what_comes_next(work, qtbot):
    heard = []
    work.later(lambda: heard.append("after a while"), 50)
    work.later(lambda: heard.append("next"))
    qtbot.waitUntil(lambda: len(heard) == 2)
    assert heard == ["next", "after a while"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives each thread a niceness")
def test_threads_stand_back_for_the_window(work, qtbot):
    def niceness():
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    here, found = niceness(), []
    work.submit(niceness, found.append, fail)
    qtbot.waitUntil(lambda: bool(found))
    assert found == [NICENESS]
    assert niceness() == here < NICENESS


def test_jobs_of_one_lane_run_one_after_the_other_and_those_of_two_side_by_side(work, qtbot):
    begun, go, order = threading.Event(), threading.Event(), []
    work.submit(lambda: (begun.set(), go.wait(5)), lambda _: order.append("slow"), fail, lane="a")
    work.submit(lambda: None, lambda _: order.append("behind it"), fail, lane="a")
    work.submit(lambda: begun.wait(5), lambda _: order.append("other lane"), fail, lane="b")
    qtbot.waitUntil(lambda: order == ["other lane"])
    go.set()
    qtbot.waitUntil(lambda: len(order) == 3)
    assert order == ["other lane", "slow", "behind it"]


def test_what_a_job_raises_is_handed_over(work, qtbot):
    told = []
    work.submit(lambda: 1 / 0, fail, told.append)
    qtbot.waitUntil(lambda: bool(told))
    assert isinstance(told[0], ZeroDivisionError)


def test_a_cancelled_job_does_not_start_and_is_not_heard_of(work, qtbot):
    go, heard = threading.Event(), []
    work.submit(lambda: go.wait(5), lambda _: heard.append("first"), fail)
    task = work.submit(lambda: heard.append("ran"), lambda _: heard.append("answered"), fail)
    task.cancel()
    go.set()
    work.submit(lambda: None, lambda _: heard.append("last"), fail)
    qtbot.waitUntil(lambda: "last" in heard)
    assert heard == ["first", "last"]


def test_cancelling_what_runs_keeps_its_answer_back(work, qtbot):
    begun, go, heard = threading.Event(), threading.Event(), []
    task = work.submit(lambda: (begun.set(), go.wait(5)), lambda _: heard.append("answered"), fail)
    begun.wait(5)
    task.cancel()
    go.set()
    work.submit(lambda: None, lambda _: heard.append("last"), fail)
    qtbot.waitUntil(lambda: "last" in heard)
    assert heard == ["last"]


def test_closing_waits_for_what_was_handed_over_and_tells_its_answers(qapp):
    work, heard = QtWork(), []
    for i in range(3):
        work.submit(lambda: time.sleep(0.02), lambda _, i=i: heard.append(i), fail, lane="write")
    work.close()
    assert heard == [0, 1, 2]
    work.submit(lambda: heard.append("late"), heard.append, fail)  # an answer may still ask for more: it is let be
    assert heard == [0, 1, 2]


def test_the_window_answers_between_two_answers(work, qtbot):
    """Three answers that each take a moment are not handed over in one go."""
    from qtpy.QtCore import QTimer

    order = []
    for i in range(3):
        work.submit(lambda: None, lambda _, i=i: (time.sleep(0.02), order.append(i)), fail)
    time.sleep(0.05)  # all three are there when the first is handed over
    timer = QTimer()
    timer.timeout.connect(lambda: order.append("tick"))
    timer.start(1)
    qtbot.waitUntil(lambda: {0, 1, 2} <= set(order))
    timer.stop()
    assert "tick" in order[order.index(0) : order.index(2)]


def test_of_several_questions_the_last_one_is_answered_and_the_others_are_let_go(work, qtbot):
    begun, go, heard = threading.Event(), threading.Event(), []
    work.submit(lambda: (begun.set(), go.wait(5)), lambda _: None, fail)
    begun.wait(5)
    latest, seen = Latest(), []
    for i in range(4):
        picture = Picture()
        seen.append(weakref.ref(picture))
        latest.ask(work, lambda i=i, _picture=picture: i, heard.append, fail, lane="work")
    del picture
    assert [one() is None for one in seen] == [True, True, True, False]  # though the lane is still busy
    go.set()
    work.submit(lambda: "end", heard.append, fail)
    qtbot.waitUntil(lambda: "end" in heard)
    assert heard == [3, "end"]
    gc.collect()
    assert seen[3]() is None


def test_a_question_that_was_answered_may_be_cancelled(work, qtbot):
    latest, heard = Latest(), []
    latest.ask(work, lambda: 1, heard.append, fail, lane="work")
    qtbot.waitUntil(lambda: bool(heard))
    latest.cancel()
    latest.cancel()
    latest.ask(DirectWork(), lambda: 2, heard.append, fail, lane="work")
    assert heard == [1, 2]
