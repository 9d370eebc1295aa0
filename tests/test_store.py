"""The store: what is acknowledged is there, what is refused leaves no trace but its note, and trouble is told."""

import asyncio
import os
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, insert, select, update

from msc_vision.errors import InvalidArgumentError, MscVisionError
from msc_vision.service.store import (
    Head,
    NotFoundError,
    RefusedError,
    Store,
    StoreConflictError,
    StoreSettings,
    StoreUnavailableError,
    row_sha256,
    verify_store,
)
from msc_vision.service.store import tables as t
from msc_vision.service.store.content import stored_row
from store_cases import add_decision, all_rows, decision_row, fill_every_table

BATCH = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


def count(store, table):
    return store.read(lambda connection: connection.scalar(select(func.count()).select_from(table)))


def entries(store):
    return store.read(lambda connection: connection.execute(select(t.audit).order_by(t.audit.c.seq)).all())


def test_a_row_and_its_entry_are_written_together(store):
    row = add_decision(store, "d1")
    (entry,) = entries(store)
    assert (entry.seq, entry.who, entry.what, entry.target, entry.target_id) == (
        1,
        "key:mes",
        "decide",
        "decisions",
        "d1",
    )
    assert row["seq"] == 1
    assert entry.row_sha256 == row_sha256(row)
    assert entry.previous_sha256 == "0" * 64
    assert store.head() == Head(1, entry.sha256)


def test_commands_of_many_threads_make_one_chain(store):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: add_decision(store, f"d{n}"), range(60)))
    assert [entry.seq for entry in entries(store)] == list(range(1, 61))
    assert verify_store(store) == ()


def test_two_processes_worth_of_writers_share_one_chain(database_url):
    with Store.open(database_url) as one, Store.open(database_url) as two, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: add_decision((one, two)[n % 2], f"d{n}"), range(40)))
        assert verify_store(one) == ()
        assert one.head().seq == 40


def test_a_refused_command_is_undone_and_the_others_of_its_commit_are_not(store):
    gate = threading.Event()
    first = store.write(lambda tx: gate.wait(10))  # holds the writer, so that the next ones share a commit

    def write_then_fail(tx):
        tx.insert(t.decisions, decision_row("bad"), who="key:mes", what="decide")
        raise InvalidArgumentError("No.")

    futures = [
        store.write(lambda tx: tx.insert(t.decisions, decision_row("a"), who="key:mes", what="decide")),
        store.write(write_then_fail),
        store.write(lambda tx: tx.insert(t.decisions, decision_row("a"), who="key:mes", what="decide")),
        store.write(lambda tx: tx.insert(t.decisions, decision_row("b"), who="key:mes", what="decide")),
    ]
    gate.set()
    first.result(10)
    assert futures[0].result(10)["seq"] == 1
    with pytest.raises(InvalidArgumentError, match=r"No\."):
        futures[1].result(10)
    with pytest.raises(StoreConflictError, match="contradicts what is stored"):
        futures[2].result(10)
    assert futures[3].result(10)["seq"] == 2
    assert verify_store(store) == ()


def test_a_command_that_read_the_log_and_failed_undoes_only_itself(store):
    """Entries of the commands before it were sent when it read, inside its savepoint; undoing it must not lose them."""
    gate, running = threading.Event(), threading.Event()
    store.write(lambda tx: (running.set(), gate.wait(10)))
    running.wait(10)

    def read_then_fail(tx):
        assert [row.target_id for row in tx.rows(select(t.audit.c.target_id).order_by(t.audit.c.seq))] == ["a"]
        tx.note(who="x", what="undone")
        raise InvalidArgumentError("No.")

    futures = [
        store.write(lambda tx: tx.insert(t.decisions, decision_row("a"), who="key:mes", what="decide")),
        store.write(read_then_fail),
        store.write(lambda tx: tx.insert(t.decisions, decision_row("b"), who="key:mes", what="decide")),
    ]
    gate.set()
    assert isinstance(futures[1].exception(10), InvalidArgumentError)
    assert futures[2].result(10)["seq"] == 2
    assert [entry.target_id for entry in entries(store)] == ["a", "b"]
    assert verify_store(store) == ()


def test_a_refusal_leaves_its_note_and_nothing_else(store):
    def refuse(tx):
        tx.insert(t.decisions, decision_row("d1"), who="key:mes", what="decide")
        raise RefusedError("Only approvers.", who="key:mes", what="sign", target="decisions", target_id="d1")

    with pytest.raises(RefusedError, match="Only approvers"):
        store.write(refuse).result(10)
    (entry,) = entries(store)
    assert (entry.what, entry.why, entry.row_sha256) == ("refused: sign", "Only approvers.", None)
    assert count(store, t.decisions) == 0


@pytest.mark.parametrize("table", t.APPEND_ONLY, ids=lambda table: table.name)
@pytest.mark.parametrize("statement", [update, delete], ids=["change", "removal"])
def test_the_database_refuses_to_change_what_is_append_only(store, table, statement):
    fill_every_table(store)
    column = table.columns.values()[-1]
    change = update(table).values({column: column}) if statement is update else delete(table)
    with pytest.raises(StoreConflictError, match=f"{table.name} is append-only"):
        store.write(lambda tx: tx.connection.execute(change)).result(10)
    assert verify_store(store) == ()


def test_the_store_refuses_to_update_a_decision(store):
    add_decision(store, "d1")
    with pytest.raises(InvalidArgumentError, match="never changed; add one that supersedes"):
        store.write(lambda tx: tx.update(t.decisions, "d1", {"verdict": "GO"}, who="x", what="y")).result(10)


def test_a_decision_is_superseded_once(store):
    add_decision(store, "d1")
    add_decision(store, "d2", supersedes="d1")
    with pytest.raises(StoreConflictError):
        add_decision(store, "d3", supersedes="d1")
    with pytest.raises(StoreConflictError):
        add_decision(store, "d4", supersedes="never made")


def test_protected_rows_are_not_written_unlogged(store):
    fill_every_table(store)
    for statement in (insert(t.people), update(t.jobs), delete(t.sessions), insert(t.audit)):
        with pytest.raises(InvalidArgumentError, match="Only unprotected tables"):
            store.write(lambda tx, statement=statement: tx.execute(statement)).result(10)
    with pytest.raises(InvalidArgumentError, match="idempotency is not logged"):
        store.write(lambda tx: tx.insert(t.idempotency, {}, who="x", what="y")).result(10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, "decisions has no column colour"),
        ({"verdict": None}, r"decisions\.verdict needs a value"),
        ({"verdict": "MAYBE"}, "contradicts what is stored"),
        ({"vessel_id": 7}, r"decisions\.vessel_id is text; got int"),
        ({"vessel_id": "a\x00b"}, "zero character"),
        ({"vessel_id": "\ud800"}, "half a character"),
        ({"passage": 2**63}, "whole number of 64 bits"),
        ({"passage": 1.5}, "whole number of 64 bits"),
        ({"passage": True}, "is a number; got bool"),
        ({"passage": "3"}, "is a number; got str"),
    ],
)
def test_a_row_that_no_database_keeps_unchanged_is_refused(store, changes, message):
    with pytest.raises(InvalidArgumentError, match=message):
        add_decision(store, "d1", **changes)
    assert entries(store) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 10**400])
def test_a_number_that_is_none_is_refused(value):
    with pytest.raises(InvalidArgumentError, match=r"run_vessels\.pdl"):
        stored_row(t.run_vessels, {"run_id": "r", "vessel_id": "v", "seq": 1, "pdl": value})


TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=30)
NUMBER = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**60), 2**60) | st.none()


@BATCH
@example(path="", detail="", pdl=-0.0, passage=None)  # SQLite keeps 0.0 of it
@given(path=TEXT, detail=TEXT, pdl=NUMBER, passage=st.integers(-(2**63), 2**63 - 1) | st.none())
def test_what_is_read_back_has_the_hash_of_what_was_written(store, path, detail, pdl, passage):
    """Both databases give back each text and number unchanged: else `verify` would complain of honest rows."""
    run_id = f"r{store.head().seq}"
    run = {
        "run_id": run_id,
        "path": path,
        "record_sha256": "",
        "registered_at": "",
        "registered_by": "",
        "detail": detail,
    }

    def write(tx):
        tx.insert(t.runs, run, who=path, what=detail, why=path, detail=[detail])
        tx.insert(
            t.run_vessels, {"run_id": run_id, "vessel_id": path, "pdl": pdl, "passage": passage}, who="x", what="y"
        )

    store.write(write).result(10)
    assert verify_store(store) == ()


def test_only_known_rows_are_updated(store):
    with pytest.raises(NotFoundError, match="jobs has no row 'j9'"):
        store.write(lambda tx: tx.update(t.jobs, "j9", {"state": "done"}, who="x", what="y")).result(10)
    fill_every_table(store)
    with pytest.raises(InvalidArgumentError, match=r"jobs\.job_id names the row"):
        store.write(lambda tx: tx.update(t.jobs, "j1", {"job_id": "j2"}, who="x", what="y")).result(10)


def test_a_coroutine_awaits_writes_and_reads(store):
    async def work():
        await store.write_async(lambda tx: tx.insert(t.decisions, decision_row("d1"), who="key:mes", what="decide"))
        return await store.read_async(lambda connection: connection.scalar(select(t.decisions.c.decision_id)))

    assert asyncio.run(work()) == "d1"


def test_a_full_queue_refuses_at_once(database_url):
    gate = threading.Event()
    with Store.open(database_url, StoreSettings(queue_limit=3)) as store:
        running = threading.Event()
        store.write(lambda tx: (running.set(), gate.wait(10)))
        running.wait(10)
        waiting = [store.write(lambda tx: 1) for _ in range(3)]
        with pytest.raises(StoreUnavailableError, match="3 writes are waiting") as caught:
            store.write(lambda tx: 1)
        assert caught.value.retry_after_s > 0
        gate.set()
        assert [future.result(10) for future in waiting] == [1, 1, 1]


def test_a_command_that_was_given_up_while_it_waited_is_not_run(store):
    gate, running = threading.Event(), threading.Event()
    store.write(lambda tx: (running.set(), gate.wait(10)))
    running.wait(10)
    given_up = store.write(lambda tx: tx.insert(t.decisions, decision_row("d1"), who="x", what="y"))
    assert given_up.cancel()
    gate.set()
    store.write(lambda tx: None).result(10)
    assert count(store, t.decisions) == 0


def test_a_database_that_does_not_answer_is_told_in_time(database_url):
    """The first command hangs in the database; neither its caller nor the next one waits for ever."""
    gate, running = threading.Event(), threading.Event()
    with Store.open(database_url, StoreSettings(answer_timeout_s=0.2)) as store:

        def hang(tx):
            running.set()
            gate.wait(10)
            tx.insert(t.decisions, decision_row("slow"), who="x", what="y")

        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(store.write_and_wait, hang)
            running.wait(10)
            with pytest.raises(StoreUnavailableError, match=r"did not answer in 0\.2 s; nothing was written"):
                asyncio.run(store.write_async(lambda tx: tx.note(who="x", what="never")))
            with pytest.raises(StoreUnavailableError, match="may yet succeed: repeat it with the same key"):
                slow.result(10)
        gate.set()
        store.write(lambda tx: None).result(10)
        assert [entry.target_id for entry in entries(store)] == ["slow"]


def test_closing_finishes_what_is_queued(database_url):
    store = Store.open(database_url)
    row = [decision_row(f"d{n}") for n in range(50)]
    futures = [
        store.write(lambda tx, n=n: tx.insert(t.decisions, row[n], who="key:mes", what="decide")) for n in range(50)
    ]
    store.close()
    assert all(future.done() and future.exception() is None for future in futures)
    with pytest.raises(StoreUnavailableError, match="closing"):
        store.write(lambda tx: 1)


def test_a_query_sees_one_state_while_writes_go_on(store):
    add_decision(store, "d1")

    def count_twice(connection):
        query = select(func.count()).select_from(t.decisions)
        before = connection.scalar(query)
        add_decision(store, "d2")
        return before, connection.scalar(query)

    assert store.read(count_twice) == (1, 1)
    assert count(store, t.decisions) == 2


def test_a_query_cannot_write(store):
    with pytest.raises(Exception, match=r"read-only|may not be written"):
        store.read(lambda connection: connection.execute(insert(t.login_failures).values(
            username="x", n_failures=1, last_failed_at="", locked_until="")))  # fmt: skip


def test_a_locked_database_is_told_and_recovered_from(sqlite_url):
    path = sqlite_url.removeprefix("sqlite:///")
    with Store.open(sqlite_url, StoreSettings(lock_timeout_s=0.2)) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match="locked by another process"):
            add_decision(store, "d1")
        assert count(store, t.decisions) == 0, "reading goes on"
        other.execute("ROLLBACK")
        other.close()
        add_decision(store, "d1")
        assert verify_store(store) == ()


def test_a_full_disk_is_told_and_recovered_from(sqlite_url):
    """SQLite itself says SQLITE_FULL when a file may not grow beyond a number of pages."""
    with Store.open(sqlite_url) as store:
        add_decision(store, "d1")

        with store._writer._engine.connect() as connection:  # the writer's only one, given back afterwards
            n_pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {n_pages}")
        large = decision_row("d")["record"][:-1] + ', "more": "' + "x" * 200_000 + '"}'
        with pytest.raises(StoreUnavailableError, match="the disk is full"):
            add_decision(store, "d2", record=large)
        assert [row["decision_id"] for row in all_rows(store, [t.decisions])["decisions"]] == ["d1"]
        add_decision(
            store, "d3", record=large
        )  # over a new connection, whose limit is not set: the disk has room again
        assert verify_store(store) == ()


def test_a_database_that_goes_and_comes_back_loses_nothing(postgresql, postgresql_url):
    with Store.open(postgresql_url, StoreSettings(lock_timeout_s=2)) as store:
        add_decision(store, "d1")
        postgresql.stop()
        try:
            for _ in range(2):
                with pytest.raises(StoreUnavailableError, match="unavailable") as caught:
                    add_decision(store, "lost")
                assert caught.value.retry_after_s > 0
            with pytest.raises(StoreUnavailableError):
                count(store, t.decisions)
        finally:
            postgresql.start()
        add_decision(store, "d2")
        assert count(store, t.decisions) == 2
        assert verify_store(store) == ()


def test_connections_that_died_in_between_are_replaced_unnoticed(postgresql, postgresql_url):
    with Store.open(postgresql_url) as store:
        add_decision(store, "d1")
        assert count(store, t.decisions) == 1
        postgresql.stop()
        postgresql.start()
        assert count(store, t.decisions) == 1
        add_decision(store, "d2")


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps rights in another way")
def test_only_the_owner_may_read_the_file(sqlite_template):
    assert sqlite_template.stat().st_mode & 0o777 == 0o600


def test_errors_of_the_store_are_of_the_family():
    assert issubclass(StoreUnavailableError, MscVisionError)
    assert issubclass(RefusedError, MscVisionError)
