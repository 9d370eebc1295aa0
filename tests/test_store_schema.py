"""The tables that the migrations make are those of the code, and a database of another version is refused."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text

from msc_vision.errors import InvalidArgumentError
from msc_vision.service.store import Store, StoreUnavailableError, StoreVersionError, create_store, upgrade_store
from msc_vision.service.store import tables as t
from msc_vision.service.store.database import parse_url
from msc_vision.service.store.schema import current_revision
from store_cases import add_decision


@pytest.fixture(params=["sqlite", "postgresql"])
def bare_url(request, tmp_path):
    """Name a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'bare.db'}"
    return request.getfixturevalue("postgresql").new_database()


def test_migrations_make_the_tables_of_the_code(database_url):
    engine = create_engine(parse_url(database_url))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, t.metadata) == []
    engine.dispose()


def test_checks_of_the_code_are_in_the_database(database_url):
    engine = create_engine(parse_url(database_url))
    for table in t.metadata.sorted_tables:
        expected = {str(c.name) for c in table.constraints if type(c).__name__ == "CheckConstraint"}
        assert {c["name"] for c in inspect(engine).get_check_constraints(table.name)} == expected
    engine.dispose()


def test_a_store_is_made_once(bare_url):
    create_store(bare_url)
    with pytest.raises(InvalidArgumentError, match="has tables already"):
        create_store(bare_url)
    with Store.open(bare_url) as store:
        add_decision(store, "d1")


def test_a_database_without_tables_is_refused(bare_url):
    with pytest.raises(StoreVersionError, match="msc-vision store init"):
        Store.open(bare_url)


def test_an_older_database_is_refused_until_it_is_upgraded(bare_url):
    create_store(bare_url, "0001")
    with pytest.raises(StoreVersionError, match=r"older version \(0001.*msc-vision store upgrade"):
        Store.open(bare_url)
    assert upgrade_store(bare_url) == ("0001", current_revision())
    with Store.open(bare_url) as store:
        add_decision(store, "d1")
    assert upgrade_store(bare_url) == (current_revision(), current_revision()), "nothing left to do"


def test_a_newer_database_is_refused(database_url):
    engine = create_engine(parse_url(database_url))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0999'"))
    engine.dispose()
    for attempt in (Store.open, upgrade_store):
        with pytest.raises(StoreVersionError, match=r"newer version \(0999.*Update the software"):
            attempt(database_url)


def test_a_missing_file_is_not_made_by_opening_it(tmp_path):
    with pytest.raises(StoreVersionError, match="does not exist"):
        Store.open(f"sqlite:///{tmp_path / 'none.db'}")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "notes.db").write_text("Passage 3 looks good. " * 100)
    with pytest.raises(StoreUnavailableError, match="no database"):
        Store.open(f"sqlite:///{tmp_path / 'notes.db'}")


def test_a_server_that_is_not_there_is_told_without_the_password(tmp_path):
    with pytest.raises(StoreUnavailableError, match="unavailable") as caught:
        Store.open(f"postgresql://ada:secret@/x?host={tmp_path}")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "No database URL"),
        ("/data/store.db", "No database URL"),
        ("mysql://x/y", "SQLite and PostgreSQL; got mysql"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
    ],
)
def test_other_urls_are_refused(url, message):
    with pytest.raises(InvalidArgumentError, match=message):
        parse_url(url)


def test_the_password_of_a_url_is_not_shown(postgresql, postgresql_template):
    url = postgresql.new_database(postgresql_template).replace("postgres@", "postgres:secret@")
    with Store.open(url) as store:
        assert "secret" not in store.name
