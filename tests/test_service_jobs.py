"""Scoring jobs: each a process of its own, watched, cancelled, resumed after a crash, its run registered."""

import json
import sqlite3
import sys
import time

import psutil
import pytest

from batch_cases import VESSEL_TYPE, write_images
from msc_vision.service import jobs
from msc_vision.service.actions.scoring import registrar
from msc_vision.service.jobs import Job, JobRunner, command_line, read_progress
from msc_vision.service.store.tables import jobs as jobs_table
from service_cases import a_service, write_run

QUICK = {"workers": 1, "poll_s": 0.05, "grace_s": 5.0, "cores": 1}
SLEEPER = "import time, sys, pathlib; pathlib.Path(sys.argv[1]).mkdir(exist_ok=True); time.sleep(60)"


def wait_for(case, job_id, *states, seconds=60.0):
    """Return a job once it is in one of some states."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        job = case.get(f"/v1/jobs/{job_id}").json()
        if job["state"] in states:
            return job
        time.sleep(0.05)
    raise AssertionError(f"still {job}")


def wait_until(condition, seconds=20.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def submit(case, **body):
    answer = case.post("/v1/jobs", "robot", {"folder": "stack", **body})
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/v1/jobs/{answer.json()['job_id']}"
    return answer.json()["job_id"]


def scorer(script):
    """Return what makes the command of a job: a little program that gets the run folder as argument."""
    return lambda job, cores: [sys.executable, "-c", script, str(job.run_path)]


def with_runner(case, script):
    """Put a runner with another program into a service, as it would be after a restart, and start it."""
    settings = case.service.settings
    runner = JobRunner(
        case.service.store,
        settings.jobs.model_copy(update=QUICK),
        settings.runs_folder,
        registrar(case.service.evidence),
        command=scorer(script),
    )
    runner.start()
    return runner


@pytest.fixture
def case(tmp_path):
    with a_service(tmp_path) as found:
        write_images(tmp_path / "images" / "stack", n=2, side=128)
        yield found


def run_writer(folder):
    """Return a program that writes a finished run where it is told to."""
    template = write_run(folder / "template", "CS-9")
    return f"import shutil, sys; shutil.copytree({str(template)!r}, sys.argv[1], dirs_exist_ok=True)"


@pytest.mark.slow
def test_a_folder_is_scored_registered_and_decided_on(tmp_path):
    """The whole way with the real program and the real evidence: images in, a decision out."""
    from msc_vision.batch.evidence import read_evidence

    with a_service(tmp_path, read_evidence=read_evidence, jobs=QUICK) as case:
        write_images(tmp_path / "images" / "stack", n=4, side=256)
        job_id = submit(case, pipeline="contrast", vessel_type=VESSEL_TYPE)
        job = wait_for(case, job_id, "done", "failed", seconds=120)
        assert (job["state"], job["fields_total"], job["fields_done"]) == ("done", 4, 4), job
        run = case.get(f"/v1/runs/{job['run_id']}").json()
        assert run["registered_by"] == f"job:{job_id}"
        vessel_id = run["vessels"][0]["vessel_id"]
        record = case.decide(vessel_id)
        assert record["verdict"] != "GO"
        assert case.get(f"/v1/decisions/{record['decision_id']}/replay").json() == {
            "decision_id": record["decision_id"],
            "holds": True,
            "differences": [],
        }


def test_the_run_of_a_finished_job_is_registered(case):
    runner = with_runner(case, run_writer(case.folder))
    job = wait_for(case, submit(case), "done", "failed")
    runner.close()
    assert (job["state"], job["run_id"]) == ("done", "run-template")
    assert case.get("/v1/vessels/CS-9").json()["run_id"] == "run-template"


def test_the_last_words_of_a_failed_job_are_kept(case):
    runner = with_runner(case, "import sys; sys.exit('error: no image in this folder')")
    job = wait_for(case, submit(case), "done", "failed")
    runner.close()
    assert (job["state"], job["message"]) == ("failed", "error: no image in this folder")


def test_a_job_whose_program_leaves_no_run_has_failed(case):
    runner = with_runner(case, "pass")
    job = wait_for(case, submit(case), "done", "failed")
    runner.close()
    assert job["state"] == "failed"
    assert "no run folder" in job["message"]


def pid_of(case, job_id):
    path = case.service.settings.runs_folder / ".jobs" / f"{job_id}.pid"
    return int(path.read_text()) if path.is_file() and path.read_text() else None


def test_a_cancelled_job_stops_its_process(case):
    runner = with_runner(case, SLEEPER)
    job_id = submit(case)
    wait_until(lambda: pid_of(case, job_id))
    pid = pid_of(case, job_id)
    assert psutil.Process(pid).nice() == 19
    job = case.post(f"/v1/jobs/{job_id}/cancel", "robot", {"why": "wrong folder"}).json()
    assert (job["state"], job["message"]) == ("cancelled", "Cancelled: wrong folder")
    wait_until(lambda: not psutil.pid_exists(pid))
    runner.close()
    assert case.get(f"/v1/jobs/{job_id}").json()["state"] == "cancelled"
    assert case.post(f"/v1/jobs/{job_id}/cancel", "robot", {"why": "again"}).status_code == 409


def test_a_service_that_stops_sets_its_jobs_back_and_the_next_goes_on(case):
    first = with_runner(case, SLEEPER)
    job_id = submit(case)
    wait_until(lambda: pid_of(case, job_id))
    pid = pid_of(case, job_id)
    first.close()
    assert not psutil.pid_exists(pid)
    assert case.get(f"/v1/jobs/{job_id}").json()["state"] == "queued"
    second = with_runner(case, run_writer(case.folder))
    assert wait_for(case, job_id, "done", "failed")["state"] == "done"
    second.close()


def test_the_process_of_a_killed_service_is_ended_and_its_job_begun_again(case):
    """As after kill -9: the store says running, the process is still there, nobody watches it."""
    job_id = submit(case)
    run = case.service.settings.runs_folder / job_id
    left = psutil.Popen([sys.executable, "-c", SLEEPER, str(run)], start_new_session=True)
    wait_until(run.is_dir)
    run.rmdir()
    folder = case.service.settings.runs_folder / ".jobs"
    folder.mkdir(exist_ok=True)
    (folder / f"{job_id}.pid").write_text(str(left.pid))
    case.service.store.write(
        lambda tx: tx.update(jobs_table, job_id, {"state": "running"}, who="service", what="job begun")
    ).result()
    runner = with_runner(case, run_writer(case.folder))
    assert wait_for(case, job_id, "done", "failed")["state"] == "done"
    runner.close()
    assert left.wait(10) != 0


def test_a_process_that_only_has_the_same_number_is_left_alone(case):
    job_id = submit(case)
    other = psutil.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    folder = case.service.settings.runs_folder / ".jobs"
    folder.mkdir(exist_ok=True)
    (folder / f"{job_id}.pid").write_text(str(other.pid))
    runner = with_runner(case, run_writer(case.folder))
    wait_for(case, job_id, "done", "failed")
    runner.close()
    assert other.poll() is None
    other.kill()
    other.wait()


def test_a_job_that_is_begun_in_vain_again_and_again_fails(case):
    job_id = submit(case)

    def as_if_begun(tx):
        arguments = json.dumps({"pipeline": "default", "attempt": 3})
        tx.update(jobs_table, job_id, {"state": "running", "arguments": arguments}, who="service", what="job begun")

    case.service.store.write(as_if_begun).result()
    runner = with_runner(case, SLEEPER)
    job = wait_for(case, job_id, "failed")
    runner.close()
    assert job["message"] == "Begun 3 times in vain."


def test_an_answer_does_not_wait_for_a_job(case):
    """A job that takes all the CPU of its process delays nobody by more than the machine itself does."""
    case.with_run("A", "READY", 80.0)
    case.decide("READY")
    runner = with_runner(case, "while True: pass")
    job_id = submit(case)
    wait_until(lambda: pid_of(case, job_id))
    longest = 0.0
    for _ in range(20):
        begun = time.perf_counter()
        case.decide("READY")
        longest = max(longest, time.perf_counter() - begun)
    case.post(f"/v1/jobs/{job_id}/cancel", "robot", {"why": "test"})
    runner.close()
    assert longest < 2.0


def test_progress_is_read_from_the_journal(tmp_path):
    assert read_progress(tmp_path) is None
    with sqlite3.connect(tmp_path / "journal.sqlite") as journal:
        journal.execute("CREATE TABLE fields (state TEXT)")
        journal.executemany("INSERT INTO fields VALUES (?)", [(one,) for one in ["scored"] * 3 + ["failed", "pending"]])
    progress = read_progress(tmp_path)
    assert (progress.n_total, progress.n_done, progress.n_failed) == (5, 4, 1)
    (tmp_path / "journal.sqlite").write_bytes(b"no journal")
    assert read_progress(tmp_path) is None


def test_a_job_that_was_begun_goes_on(tmp_path):
    job = Job("j1", tmp_path / "images", tmp_path / "run", {"vessel_type": "t-75", "pipeline": "default"})
    command = command_line(job, cores=3)
    assert command[1:5] == ["-m", "msc_vision.cli", "run", str(tmp_path / "images")]
    assert command[command.index("--vessel") + 1] == "t-75"
    assert command[command.index("--workers") + 1] == "3"
    assert "--resume" not in command
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "journal.sqlite").touch()
    assert command_line(job, cores=3)[-1] == "--resume"


def test_a_password_in_the_databases_url_is_not_handed_to_jobs(case, monkeypatch):
    monkeypatch.setenv("MSC_VISION_DATABASE", "postgresql://msc:secret@db/msc")
    script = "import os, sys; sys.exit(f'error: {os.environ.get(\"MSC_VISION_DATABASE\")}')"
    runner = with_runner(case, script)
    assert wait_for(case, submit(case), "failed")["message"] == "error: None"
    runner.close()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"pipeline": "no-such-recipe"}, "No recipe is called"),
        ({"vessel_type": "no-such-vessel"}, "no-such-vessel"),
        ({"folder": "nowhere"}, "is no folder inside"),
        ({"manifest": "nowhere.csv"}, "is no manifest inside"),
    ],
)
def test_a_job_that_cannot_be_is_refused_at_once(case, body, said):
    answer = case.post("/v1/jobs", "robot", {"folder": "stack", **body})
    assert answer.status_code in (403, 422)
    assert said in answer.json()["detail"]


def test_words_of_a_log_are_cut_and_plain(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"first\n" * 3000 + "\x1b[31merror: µm\x1b[0m\n".encode())
    words = jobs._tail(log)
    assert words.endswith("error: µm[0m")
    assert "\x1b" not in words
    assert len(words) <= jobs.MAX_MESSAGE
