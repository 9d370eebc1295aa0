"""One altered value, byte, row or entry anywhere: found and named."""

import random
import shutil
import sqlite3

import pytest
from sqlalchemy import create_engine, select, text, update

from msc_vision.errors import InvalidArgumentError, MscVisionError
from msc_vision.service.store import Head, Store, verify_store
from msc_vision.service.store import tables as t
from msc_vision.service.store.content import FIRST_SHA256, row_id, row_sha256
from msc_vision.service.store.database import parse_url
from msc_vision.service.store.transaction import entry_sha256
from store_cases import add_decision, all_rows, fill_every_table

PLACES = [(table.name, column.name) for table in (*t.PROTECTED, t.audit) for column in table.columns]


def tamper(url, *statements):
    """Do what somebody with the database's own tools can do: triggers and constraints off, any statement."""
    engine = create_engine(parse_url(url))
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            triggers = connection.execute(text("SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger'")).all()
            for name, _ in triggers:
                connection.execute(text(f"DROP TRIGGER {name}"))
        else:
            connection.execute(text("SET session_replication_role = replica"))  # no triggers, no foreign keys
        for statement in statements:
            connection.execute(statement if not isinstance(statement, str) else text(statement))
    engine.dispose()


def complaints_after(url, *statements, expected_head=None):
    """Return what verify says after tampering, without what it says of triggers that are gone."""
    tamper(url, *statements)
    with Store.open(url) as store:
        return [
            complaint
            for complaint in verify_store(store, expected_head=expected_head)
            if "It may be changed: the trigger" not in complaint.message
        ]


@pytest.fixture
def filled_url(database_url):
    with Store.open(database_url) as store:
        fill_every_table(store)
        assert verify_store(store) == ()
    return database_url


@pytest.fixture(scope="module")
def filled_file(sqlite_template, tmp_path_factory):
    path = tmp_path_factory.mktemp("filled") / "store.db"
    shutil.copyfile(sqlite_template, path)
    with Store.open(f"sqlite:///{path}") as store:
        fill_every_table(store)
    return path


@pytest.fixture
def filled_sqlite_url(filled_file, tmp_path):
    path = tmp_path / "store.db"
    shutil.copyfile(filled_file, path)
    return f"sqlite:///{path}"


def altered(table, column):
    """Return another value of the column's type."""
    if column.type.python_type is str:
        return {"state": "failed", "verdict": "NO_GO"}.get(column.name, column + "x")
    return column + 1000


@pytest.mark.parametrize(("table", "column"), PLACES, ids=lambda name: name)
def test_an_altered_value_is_found_and_named(filled_sqlite_url, table, column):
    place = t.metadata.tables[table].c[column]
    row = t.metadata.tables[table].select()
    with Store.open(filled_sqlite_url) as store:
        first = dict(store.read(lambda connection: connection.execute(row).first())._mapping)
        name = row_id(t.metadata.tables[table], first)
        log = store.read(lambda connection: connection.execute(t.audit.select()).all())
    is_about = (
        (lambda e: e.seq == first["seq"]) if table == "audit" else (lambda e: (e.target, e.target_id) == (table, name))
    )
    at = max(entry.seq for entry in log if is_about(entry))
    here = [key == first[key.name] for key in t.metadata.tables[table].primary_key]
    new = "x" if first[column] is None and place.type.python_type is str else altered(table, place)
    found = complaints_after(filled_sqlite_url, update(t.metadata.tables[table]).where(*here).values({column: new}))
    assert found, "not found"
    if table == "audit":
        assert {complaint.table for complaint in found} >= {"audit"}
        assert any(complaint.seq in {at, at + 1} for complaint in found if complaint.table == "audit")
    else:
        named = [complaint for complaint in found if complaint.table == table]
        assert any(complaint.row_id == name and complaint.seq == at for complaint in named), found
        assert f"{table} {name}" in str(named[-1])


@pytest.mark.parametrize("table", t.PROTECTED, ids=lambda table: table.name)
def test_a_removed_row_is_found_and_named(filled_sqlite_url, table):
    found = complaints_after(filled_sqlite_url, table.delete())
    assert [(each.table, "gone" in each.message) for each in found] == [(table.name, True)]


@pytest.mark.parametrize("table", t.PROTECTED, ids=lambda table: table.name)
def test_a_row_that_was_slipped_in_is_found_and_named(filled_sqlite_url, table):
    key = table.primary_key.columns.values()[-1].name
    unique = {"seq": 999, "username": "mallory", "supersedes": None, "position": 2, "person_id": "p2"}
    columns = [column.name for column in table.columns]
    values = {name: unique[name] for name in columns if name in unique and name != key} | {key: "forged"}
    chosen = [f":{name} AS {name}" if name in values else name for name in columns]
    statement = text(
        f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT {', '.join(chosen)} FROM {table.name} LIMIT 1"
    ).bindparams(**values)
    (complaint,) = complaints_after(filled_sqlite_url, "PRAGMA foreign_keys = OFF", statement)
    assert complaint.table == table.name
    assert "forged" in complaint.row_id
    assert "slipped in" in complaint.message


@pytest.mark.parametrize("seq", [1, 5, 12])
def test_a_removed_entry_is_found_and_named(filled_url, seq):
    found = complaints_after(filled_url, t.audit.delete().where(t.audit.c.seq == seq))
    assert any(each.table == "audit" and each.seq == seq and "missing" in each.message for each in found)


def test_entries_that_changed_places_are_found(filled_url):
    found = complaints_after(
        filled_url,
        "UPDATE audit SET seq = 1000 WHERE seq = 4",
        "UPDATE audit SET seq = 4 WHERE seq = 5",
        "UPDATE audit SET seq = 5 WHERE seq = 1000",
    )
    assert {each.seq for each in found if each.table == "audit"} >= {4, 5, 6}


def test_both_databases_name_an_altered_row(filled_url):
    found = complaints_after(filled_url, "UPDATE decisions SET verdict = 'NO_GO'")
    assert [str(each) for each in found] == [
        "decisions d1 (audit entry 8): The row was altered: it is not what was logged."
    ]


def test_a_decision_written_anew_with_a_fitting_entry_breaks_the_chain(filled_url):
    """Somebody alters a row and its entry so that they fit: the next entry still names the old one."""
    with Store.open(filled_url) as store:
        row = all_rows(store, [t.decisions])["decisions"][0] | {"verdict": "NO_GO"}
        entry = next(e for e in all_rows(store, [t.audit])["audit"] if e["target"] == "decisions")
    entry["row_sha256"] = row_sha256(row)
    entry["sha256"] = entry_sha256(entry)
    found = complaints_after(
        filled_url,
        t.decisions.update().values(verdict="NO_GO"),
        t.audit.update().where(t.audit.c.seq == entry["seq"]).values(entry),
    )
    assert [(each.table, each.seq) for each in found] == [("audit", entry["seq"] + 1)]
    assert "does not follow entry 8" in found[0].message


def test_a_tail_that_was_cut_off_shows_against_a_head_kept_elsewhere(filled_url):
    with Store.open(filled_url) as store:
        add_decision(store, "d2")
        head = store.head()
        add_decision(store, "d3")
        assert verify_store(store, expected_head=head) == ()
    cut = ["DELETE FROM decisions WHERE decision_id IN ('d2', 'd3')", f"DELETE FROM audit WHERE seq >= {head.seq}"]
    assert complaints_after(filled_url, *cut) == [], "a whole, shorter log tells nothing by itself"
    (complaint,) = complaints_after(filled_url, expected_head=head)
    assert complaint.seq == head.seq
    assert "the log ends before it" in complaint.message


def test_another_log_of_the_same_length_is_not_the_one_whose_head_was_kept(filled_url):
    with Store.open(filled_url) as store:
        other = Head(store.head().seq, "f" * 64)
        (complaint,) = verify_store(store, expected_head=other)
    assert "another one there" in complaint.message


def test_an_emptied_store_shows_against_its_head(database_url):
    with Store.open(database_url) as store:
        assert verify_store(store, expected_head=Head(0, FIRST_SHA256)) == ()
        assert len(verify_store(store, expected_head=Head(3, "f" * 64))) == 1


def test_missing_triggers_are_named(filled_url):
    on_postgresql = [f"ALTER TABLE {table.name} DISABLE TRIGGER USER" for table in t.APPEND_ONLY]
    tamper(filled_url, *(on_postgresql if filled_url.startswith("postgresql") else []))
    with Store.open(filled_url) as store:
        assert {each.table for each in verify_store(store)} == {table.name for table in t.APPEND_ONLY}


def test_text_that_is_no_longer_text_is_named(filled_sqlite_url):
    one_byte_more = "CAST(CAST(printed_name AS BLOB) || x'ff' AS TEXT)"
    found = complaints_after(filled_sqlite_url, f"UPDATE people SET printed_name = {one_byte_more}")
    assert [(each.table, each.row_id) for each in found] == [("people", "p1")]


def protected_content(path):
    """Return all protected rows as SQLite's own driver reads them; the error's text if it cannot."""
    connection = sqlite3.connect(path)
    connection.text_factory = bytes
    try:
        return [connection.execute(f"SELECT * FROM {table.name}").fetchall() for table in (*t.PROTECTED, t.audit)]
    except (sqlite3.Error, UnicodeDecodeError) as err:
        return str(err)
    finally:
        connection.close()


@pytest.mark.parametrize("seed", range(4))
def test_any_altered_byte_of_the_file_is_found_or_changes_nothing(filled_file, tmp_path, seed):
    """Alter single bytes anywhere in the file. Either verify complains, or every protected row reads as before.

    A byte of free space or of an unprotected table may change; a decision, a signature or an entry may not.
    """
    path = tmp_path / "store.db"
    original = filled_file.read_bytes()
    expected = protected_content(filled_file)
    used = [place for place, byte in enumerate(original) if byte and place >= 100]  # most of a small file is empty
    generator = random.Random(seed)
    n_changed = 0
    for _ in range(30):
        altered_bytes = bytearray(original)
        altered_bytes[generator.choice(used)] ^= 1 << generator.randrange(8)
        path.write_bytes(altered_bytes)
        is_changed = protected_content(path) != expected
        n_changed += is_changed
        assert bool(verify_file(path)) or not is_changed
        for ending in ("-wal", "-shm"):
            path.with_name(f"store.db{ending}").unlink(missing_ok=True)
    assert n_changed > 0, "the alterations hit nothing that matters"


def verify_file(path):
    """Return the complaints about a file; a file that is no store any more is one."""
    try:
        with Store.open(f"sqlite:///{path}") as store:
            return verify_store(store)
    except MscVisionError as err:
        return (err,)


@pytest.mark.parametrize("seq", [1, 2])
def test_the_chain_covers_every_word_of_an_entry(sqlite_url, seq):
    """Slow and obvious: the sha256 of an entry is that of its fields as sorted JSON."""
    import hashlib
    import json

    with Store.open(sqlite_url) as store:
        add_decision(store, "d1")
        add_decision(store, "d2")
        rows = store.read(lambda connection: connection.execute(select(t.audit)).mappings().all())
    entry = dict(next(row for row in rows if row["seq"] == seq))
    said = {name: value for name, value in entry.items() if name != "sha256" and value is not None}
    line = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(line.encode()).hexdigest() == entry["sha256"]


def test_a_head_is_kept_as_one_word():
    head = Head(12, "ab" * 32)
    assert Head.parse(f" {head}\n") == head
    for wrong in ("", "12", "x:" + "a" * 64, "12:abc"):
        with pytest.raises(InvalidArgumentError, match="no head of an audit log"):
            Head.parse(wrong)
