"""Whatever is written, refused or changed in whatever order: the log numbers it without gaps, and all verifies."""

import shutil

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from msc_vision.errors import InvalidArgumentError, MscVisionError
from msc_vision.service.store import RefusedError, Store, StoreSettings, verify_store
from msc_vision.service.store import tables as t
from store_cases import decision_row

JOB = {"folder": "/in", "arguments": "{}", "state": "queued", "fields_total": 0, "fields_done": 0, "fields_failed": 0,
       "requested_by": "x", "created_at": ""}  # fmt: skip


def decide(name, supersedes):
    row = decision_row(name, supersedes=supersedes)
    return lambda tx: tx.insert(t.decisions, row, who="x", what="decide")


def submit(name):
    return lambda tx: tx.insert(t.jobs, {**JOB, "job_id": name}, who="x", what="submit")


def advance(name, state):
    return lambda tx: tx.update(t.jobs, name, {"state": state}, who="x", what="advance")


def fail_after(command, kind):
    def run(tx):
        command(tx)
        tx.connection.scalar(select(func.count()).select_from(t.audit))  # what was written is sent, then undone
        raise RefusedError("No.", who="x", what="fail") if kind == "refused" else InvalidArgumentError("No.")

    return run


NAMES = st.sampled_from("abc")
COMMANDS = st.one_of(
    st.builds(decide, NAMES, st.none() | NAMES),
    st.builds(submit, NAMES),
    st.builds(advance, NAMES, st.sampled_from(["running", "done", "nonsense"])),
)
ANY = COMMANDS | st.builds(fail_after, COMMANDS, st.sampled_from(["refused", "wrong"]))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(commands=st.lists(ANY, max_size=20), commit_limit=st.integers(1, 8))
def test_the_log_has_every_write_once(sqlite_template, tmp_path_factory, commands, commit_limit):
    path = tmp_path_factory.mktemp("model") / "store.db"
    shutil.copyfile(sqlite_template, path)
    with Store.open(f"sqlite:///{path}", StoreSettings(commit_limit=commit_limit, n_readers=1)) as store:
        errors = [future.exception(10) for future in [store.write(command) for command in commands]]
        assert all(error is None or isinstance(error, MscVisionError) for error in errors)
        n_logged = sum(error is None or isinstance(error, RefusedError) for error in errors)
        assert store.head().seq == n_logged
        assert verify_store(store) == ()
