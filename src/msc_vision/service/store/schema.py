"""Making, upgrading and checking the tables of a database, with Alembic's migrations that ship here."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import URL, Connection, inspect
from sqlalchemy.exc import DBAPIError

from msc_vision.errors import InvalidArgumentError
from msc_vision.service.store.database import create_file, parse_url, reading_engine, shown, sqlite_path, writing_engine
from msc_vision.service.store.errors import StoreUnavailableError, StoreVersionError, translated

MIGRATIONS: Final = Path(__file__).parent / "migrations"
LOCK_TIMEOUT_S: Final = 30.0  # a migration of another process may take a while


def create_store(url: str, revision: str = "head") -> None:
    """Make the tables in an empty database; an SQLite file is created, readable by its owner only.

    Raises
    ------
    InvalidArgumentError
        If the database has tables already.
    StoreUnavailableError
        If it cannot be reached or written to.
    """
    parsed = parse_url(url)
    path = sqlite_path(parsed)
    if path is not None:
        make_file(path)
    with locked(parsed) as connection:
        if inspect(connection).get_table_names():
            raise InvalidArgumentError(
                f"{shown(parsed)} has tables already; `msc-vision store upgrade` brings a store up to date."
            )
        migrate(connection, revision)


def upgrade_store(url: str, revision: str = "head") -> tuple[str | None, str]:
    """Bring a database up to date and return its revision before and after; back it up first.

    Raises
    ------
    StoreVersionError
        If it was made by newer software.
    StoreUnavailableError
        If it cannot be reached or written to.
    """
    parsed = parse_url(url)
    _check_file(parsed)
    with locked(parsed) as connection:
        before = _revision(connection)
        if before is not None:
            check_revision(before, shown(parsed))
        migrate(connection, revision)
        return before, str(_revision(connection))


def check_schema(url: URL, *, lock_timeout_s: float) -> None:
    """Check that a database was made by this version of the software.

    Raises
    ------
    StoreVersionError
        If it is empty, older or newer; the message says what to do.
    StoreUnavailableError
        If it cannot be reached.
    """
    _check_file(url)
    engine = reading_engine(url, n_connections=1, lock_timeout_s=lock_timeout_s)
    try:
        with engine.connect() as connection:
            found = _revision(connection)
    except (DBAPIError, UnicodeDecodeError) as err:
        raise translated(err) from err
    finally:
        engine.dispose()
    if found is None:
        raise StoreVersionError(f"{shown(url)} is empty; make its tables with `msc-vision store init`.")
    check_revision(found, shown(url))
    if found != current_revision():
        raise StoreVersionError(
            f"{shown(url)} is of an older version ({found}; this software needs {current_revision()}). Back it up, "
            "then run `msc-vision store upgrade`."
        )


def current_revision() -> str:
    """Return the revision of the tables that this software writes."""
    return str(_scripts().get_current_head())


def check_revision(revision: str, name: str) -> None:
    """Check that this software knows a revision of the tables.

    Raises
    ------
    StoreVersionError
        If newer software made it.
    """
    try:
        _scripts().get_revision(revision)
    except CommandError as err:
        raise StoreVersionError(
            f"{name} is of a newer version ({revision}; this software knows up to {current_revision()}). "
            "Update the software."
        ) from err


def _check_file(url: URL) -> None:
    path = sqlite_path(url)
    if path is not None and not path.is_file():
        raise StoreVersionError(f"{path} does not exist; make it with `msc-vision store init`.")


def make_file(path: Path) -> None:
    """Create the file of an SQLite database.

    Raises
    ------
    StoreUnavailableError
        If its folder cannot be written to.
    """
    try:
        create_file(path)
    except OSError as err:
        raise StoreUnavailableError(f"{path} cannot be created ({err.strerror or err}).") from err


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def migrate(connection: Connection, revision: str = "head") -> None:
    """Bring tables up to a revision, in the transaction of the connection."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


@contextmanager
def locked(url: URL) -> Iterator[Connection]:
    """Give a connection in a transaction that no other writer shares; what is done in it is done whole or not."""
    engine = writing_engine(url, lock_timeout_s=LOCK_TIMEOUT_S)
    try:
        with engine.begin() as connection:
            yield connection
    except DBAPIError as err:
        raise translated(err) from err
    finally:
        engine.dispose()
