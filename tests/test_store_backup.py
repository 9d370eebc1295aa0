"""A back-up restores into either database, whole or not at all."""

import json
import os
import shutil
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from msc_vision.errors import InvalidArgumentError, InvalidDataError, OutputError
from msc_vision.service.store import (
    Store,
    StoreUnavailableError,
    StoreVersionError,
    backup_store,
    canonical_json,
    restore_store,
    text_sha256,
    verify_store,
)
from msc_vision.service.store import tables as t
from store_cases import add_decision, all_rows, fill_every_table

TABLES = t.metadata.sorted_tables
WORDS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)


@pytest.fixture
def backup(store, tmp_path):
    """Back up a store with a row in every table."""
    fill_every_table(store)
    backup_store(store, tmp_path / "backup.zip")
    return tmp_path / "backup.zip"


def rewritten(path, change):
    """Write an archive anew with its members changed by a function of name and bytes; None leaves one out."""
    target = path.with_name("changed.zip")
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(target, "w") as out:
        for name in archive.namelist():
            content = change(name, archive.read(name))
            if content is not None:
                out.writestr(name, content)
    return target


def resealed(path, table, change):
    """Alter a table's lines and make the manifest fit them, as somebody who knows the form would."""
    with zipfile.ZipFile(path) as archive:
        lines = change(archive.read(f"{table}.jsonl").decode())

    def write(name, content):
        if name == f"{table}.jsonl":
            return lines.encode()
        if name == "manifest.json":
            manifest = json.loads(content)
            manifest["tables"][table] = {"n_rows": lines.count("\n"), "sha256": text_sha256(lines)}
            return json.dumps(manifest).encode()
        return content

    return rewritten(path, write)  # fmt: skip


def test_a_back_up_goes_from_sqlite_to_postgresql_and_back(sqlite_url, postgresql, tmp_path):
    there, back = postgresql.new_database(), f"sqlite:///{tmp_path / 'back.db'}"
    with Store.open(sqlite_url) as store:
        fill_every_table(store)
        add_decision(store, "d2", supersedes="d1")
        expected, head = all_rows(store, TABLES), store.head()
        backup_store(store, tmp_path / "1.zip")
    assert restore_store(tmp_path / "1.zip", there).head == head
    with Store.open(there) as store:
        assert all_rows(store, TABLES) == expected
        backup_store(store, tmp_path / "2.zip")
    restore_store(tmp_path / "2.zip", back)
    with Store.open(back) as store:
        assert all_rows(store, TABLES) == expected
        assert verify_store(store, expected_head=head) == ()
        assert add_decision(store, "d3")["seq"] == head.seq + 1, "the restored store goes on"


def test_both_databases_make_the_same_back_up(sqlite_url, postgresql, tmp_path):
    with Store.open(sqlite_url) as store:
        fill_every_table(store)
        first = backup_store(store, tmp_path / "1.zip")
    restore_store(tmp_path / "1.zip", there := postgresql.new_database())
    with Store.open(there) as store:
        assert backup_store(store, tmp_path / "2.zip").tables == first.tables


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(WORDS, min_size=1, max_size=4), pdl=st.floats(allow_nan=False, allow_infinity=False))
def test_every_text_and_number_comes_back(sqlite_template, tmp_path_factory, words, pdl):
    folder = tmp_path_factory.mktemp("words")
    shutil.copyfile(sqlite_template, folder / "a.db")
    with Store.open(f"sqlite:///{folder / 'a.db'}") as store:
        for n, word in enumerate(words):
            document = {"decision_id": f"d{n}", "record_sha256": "", "verdict": "GO", "word": word}
            add_decision(store, f"d{n}", vessel_id=word, record=canonical_json(document))
        run = {"run_id": "r", "path": "", "record_sha256": "", "registered_at": "", "registered_by": ""}
        store.write(lambda tx: tx.insert(t.runs, run, who="x", what="y")).result(10)
        vessel = {"run_id": "r", "vessel_id": words[0], "pdl": pdl}
        store.write(lambda tx: tx.insert(t.run_vessels, vessel, who="x", what="y")).result(10)
        expected = all_rows(store, TABLES)
        backup_store(store, folder / "a.zip")
    restore_store(folder / "a.zip", f"sqlite:///{folder / 'b.db'}")
    with Store.open(f"sqlite:///{folder / 'b.db'}") as store:
        assert all_rows(store, TABLES) == expected


def test_a_back_up_is_one_state_while_writing_goes_on(store, tmp_path, monkeypatch):
    """A decision that is made between two tables of the back-up is in none of them."""
    from msc_vision.service.store import backup as module

    add_decision(store, "d1")
    write_table = module._write_table

    def write_between(connection, table, archive):
        if table.name == "decisions":
            add_decision(store, "d2")
        return write_table(connection, table, archive)

    monkeypatch.setattr(module, "_write_table", write_between)
    manifest = backup_store(store, tmp_path / "b.zip")
    assert (manifest.tables["decisions"].n_rows, manifest.tables["audit"].n_rows, manifest.head_seq) == (1, 1, 1)
    restore_store(tmp_path / "b.zip", f"sqlite:///{tmp_path / 'new.db'}")


def test_a_back_up_never_replaces_a_file(store, tmp_path):
    (tmp_path / "b.zip").write_text("precious")
    with pytest.raises(OutputError, match="never replaces"):
        backup_store(store, tmp_path / "b.zip")
    assert (tmp_path / "b.zip").read_text() == "precious"


def test_a_back_up_that_fails_leaves_nothing(store, tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        backup_store(store, tmp_path / "no such folder" / "b.zip")
    assert not list(tmp_path.glob("*.partial"))


def test_a_database_that_fails_during_a_back_up_leaves_nothing(store, tmp_path, monkeypatch):
    from msc_vision.service.store import backup as module

    def fail(*given):
        raise StoreUnavailableError("The database is unavailable: the disk is full.")

    monkeypatch.setattr(module, "_write_table", fail)
    with pytest.raises(StoreUnavailableError, match="the disk is full"):
        backup_store(store, tmp_path / "b.zip")
    assert not list(tmp_path.glob("b.zip*"))


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps rights in another way")
def test_only_the_owner_may_read_a_back_up(backup):
    assert backup.stat().st_mode & 0o777 == 0o600


def test_a_back_up_restores_into_an_empty_database_only(backup, store, database_url):
    with pytest.raises(InvalidArgumentError, match="is not empty; restore into a new database"):
        restore_store(backup, database_url)
    assert verify_store(store) == ()


def test_a_back_up_restores_into_tables_that_are_empty(backup, sqlite_template, tmp_path):
    shutil.copyfile(sqlite_template, tmp_path / "made.db")
    restore_store(backup, f"sqlite:///{tmp_path / 'made.db'}")
    with Store.open(f"sqlite:///{tmp_path / 'made.db'}") as store:
        assert verify_store(store) == ()


def forged_person(line):
    return line.replace('"p1"', '"p2"').replace("ada", "eve").replace('"seq":1,', '"seq":9,')


ALTERATIONS = {
    "a word of a decision": lambda path: rewritten(
        path, lambda name, content: content.replace(b"harvest", b"discard") if "decisions" in name else content
    ),
    "a word of a decision, with a fitting manifest": lambda path: resealed(
        path, "decisions", lambda lines: lines.replace("harvest", "discard")
    ),
    "a decision is left out": lambda path: resealed(path, "signatures", lambda lines: ""),
    "a person is added": lambda path: resealed(path, "people", lambda text: text + forged_person(text)),
    "the log's tail is cut": lambda path: resealed(
        path, "audit", lambda lines: "".join(line + "\n" for line in lines.splitlines()[:-1])
    ),
    "a table is missing": lambda path: rewritten(
        path, lambda name, content: None if name == "reviews.jsonl" else content
    ),
    "there is no manifest": lambda path: rewritten(
        path, lambda name, content: None if name == "manifest.json" else content
    ),
    "a row does not fit": lambda path: resealed(
        path, "people", lambda lines: lines.replace('"username"', '"nickname"')
    ),
}  # fmt: skip


@pytest.mark.parametrize("alteration", ALTERATIONS.values(), ids=ALTERATIONS.keys())
def test_an_altered_back_up_restores_nothing(backup, tmp_path, alteration):
    with pytest.raises(InvalidDataError, match=r"nothing was restored|no back-up|do not fit"):
        restore_store(alteration(backup), f"sqlite:///{tmp_path / 'new.db'}")
    assert not list(tmp_path.glob("new.db*"))


def test_an_altered_back_up_leaves_a_database_on_a_server_empty(backup, postgresql, tmp_path):
    url = postgresql.new_database()
    with pytest.raises(InvalidDataError, match="decisions d1"):
        restore_store(ALTERATIONS["a word of a decision, with a fitting manifest"](backup), url)
    restore_store(backup, url)


@pytest.mark.parametrize("n_bytes", [0, 100, 1500])
def test_a_back_up_cut_short_is_refused(backup, tmp_path, n_bytes):
    (tmp_path / "short.zip").write_bytes(backup.read_bytes()[:n_bytes])
    with pytest.raises(InvalidDataError, match="cut short"):
        restore_store(tmp_path / "short.zip", f"sqlite:///{tmp_path / 'new.db'}")


def test_a_back_up_of_newer_software_is_refused(backup, tmp_path):
    newer = rewritten(backup, lambda name, content: content.replace(b'"0002"', b'"0999"'))
    with pytest.raises(StoreVersionError, match="of a newer version"):
        restore_store(newer, f"sqlite:///{tmp_path / 'new.db'}")


def test_a_back_up_that_is_missing_is_named(tmp_path):
    with pytest.raises(InvalidDataError, match=r"none\.zip cannot be read"):
        restore_store(tmp_path / "none.zip", f"sqlite:///{tmp_path / 'new.db'}")


def test_a_superseding_decision_comes_after_the_one_it_supersedes(store, tmp_path):
    """By name it would come first, and the reference to the other would be refused."""
    add_decision(store, "zebra")
    add_decision(store, "aardvark", supersedes="zebra")
    backup_store(store, tmp_path / "b.zip")
    restore_store(tmp_path / "b.zip", f"sqlite:///{tmp_path / 'new.db'}")
    with Store.open(f"sqlite:///{tmp_path / 'new.db'}") as restored:
        assert all_rows(restored, TABLES) == all_rows(store, TABLES)
