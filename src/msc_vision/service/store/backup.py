"""Back-ups in a form of our own, the same for both databases: a zip of JSON lines per table, with hashes.

A back-up is one state of the store. It restores into SQLite or PostgreSQL, whichever it came from, and only into an
empty database; nothing is said to be done before every row and the whole chain were checked again there. Keys and
sessions come back as they were: end those again that were ended since.
"""

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Connection, Table, column, insert, inspect, select, table
from sqlalchemy.exc import DBAPIError

from msc_vision import __version__
from msc_vision.errors import InvalidArgumentError, InvalidDataError, OutputError
from msc_vision.service.store.content import canonical_json, utc_text
from msc_vision.service.store.database import parse_url, shown, sqlite_path
from msc_vision.service.store.errors import translated
from msc_vision.service.store.schema import check_revision, current_revision, locked, make_file, migrate
from msc_vision.service.store.store import Store
from msc_vision.service.store.tables import metadata
from msc_vision.service.store.transaction import Head, read_head
from msc_vision.service.store.verify import verify_connection

FORMAT: Final = "msc-vision store"
_MANIFEST: Final = "manifest.json"
_ROWS_AT_ONCE: Final = 500
_FROZEN: Final = ConfigDict(frozen=True, extra="forbid")


class TableContent(BaseModel):
    """What a back-up holds of a table."""

    model_config = _FROZEN

    n_rows: int = Field(ge=0, description="Lines of the file.")
    sha256: str = Field(description="Of the file's bytes.")


class BackupManifest(BaseModel):
    """What a back-up holds."""

    model_config = _FROZEN

    format: Literal["msc-vision store"] = Field(description="What the archive is.")
    version: Literal[1] = Field(description="Version of this form.")
    revision: str = Field(description="Revision of the tables.")
    software: str = Field(description="Version that made it.")
    created_at: str = Field(description="When, in UTC.")
    head_seq: int = Field(ge=0, description="Number of the last audit entry.")
    head_sha256: str = Field(description="sha256 of the last audit entry.")
    tables: dict[str, TableContent] = Field(description="By name, in the order in which they are filled.")

    @property
    def head(self) -> Head:
        """The last audit entry."""
        return Head(self.head_seq, self.head_sha256)


def backup_store(store: Store, path: Path) -> BackupManifest:
    """Write one state of a store to a new file, readable by its owner only; the store goes on being used.

    Raises
    ------
    OutputError
        If the file exists or cannot be written.
    StoreUnavailableError
        If the database cannot be read just now.
    """
    if path.exists():
        raise OutputError(f"{path} exists; a back-up never replaces another file.")
    try:
        descriptor, partial = tempfile.mkstemp(".partial", f"{path.name}.", path.parent)  # its owner's only
        with _removed_after(Path(partial)):
            with os.fdopen(descriptor, "w+b") as file:
                manifest = store.read(lambda connection: _write_archive(connection, file))
                file.flush()
                os.fsync(file.fileno())
            Path(partial).replace(path)
    except OutputError:  # of the store; it says what is wrong
        raise
    except OSError as err:
        raise OutputError(f"{path} cannot be written ({err.strerror or err}).") from err
    return manifest


def restore_store(path: Path, url: str) -> BackupManifest:
    """Fill an empty database from a back-up, and check it there before it is kept.

    Raises
    ------
    InvalidDataError
        If the back-up is damaged, incomplete or was altered.
    InvalidArgumentError
        If the database is not empty.
    StoreVersionError
        If the back-up is of newer software.
    StoreUnavailableError
        If the database cannot be reached or written to.
    """
    parsed = parse_url(url)
    file = sqlite_path(parsed)
    is_new = file is not None and not file.exists()
    with _open_archive(path) as archive:
        manifest = _read_manifest(archive, path)
        check_revision(manifest.revision, str(path))
        if is_new and file is not None:
            make_file(file)
        try:
            with locked(parsed) as connection:
                _check_empty(connection, shown(parsed))
                _fill(connection, archive, manifest, path)
        except BaseException:
            if is_new and file is not None:
                _remove(file)
            raise
    return manifest


@contextmanager
def _removed_after(partial: Path) -> Iterator[None]:
    """Leave no half-written file; there is none to remove if all went well."""
    try:
        yield
    finally:
        partial.unlink(missing_ok=True)


def _write_archive(connection: Connection, file: Any) -> BackupManifest:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        contents = {each.name: _write_table(connection, each, archive) for each in metadata.sorted_tables}
        head = read_head(connection)
        manifest = BackupManifest(
            format=FORMAT,
            version=1,
            revision=current_revision(),
            software=__version__,
            created_at=utc_text(),
            head_seq=head.seq,
            head_sha256=head.sha256,
            tables=contents,
        )
        archive.writestr(_MANIFEST, manifest.model_dump_json(indent=2))
    return manifest


def _write_table(connection: Connection, each: Table, archive: zipfile.ZipFile) -> TableContent:
    order = each.c.seq if "seq" in each.columns else each.primary_key.columns.values()[0]
    digest, n_rows = hashlib.sha256(), 0
    rows = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(select(each).order_by(order)).mappings()
    with archive.open(_member(each.name), "w", force_zip64=True) as member:
        for row in rows:
            line = f"{canonical_json(dict(row))}\n".encode()
            digest.update(line)
            member.write(line)
            n_rows += 1
    return TableContent(n_rows=n_rows, sha256=digest.hexdigest())


def _open_archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except OSError as err:
        raise InvalidDataError(f"{path} cannot be read ({err.strerror or err}).") from err
    except zipfile.BadZipFile as err:
        raise InvalidDataError(f"{path} is no back-up, or was cut short ({err}).") from err


def _read_manifest(archive: zipfile.ZipFile, path: Path) -> BackupManifest:
    try:
        return BackupManifest.model_validate_json(archive.read(_MANIFEST))
    except (KeyError, ValidationError, zipfile.BadZipFile) as err:
        raise InvalidDataError(f"{path} is no back-up of a store: its {_MANIFEST} is missing or wrong.") from err


def _check_empty(connection: Connection, name: str) -> None:
    known = [each for each in metadata.sorted_tables if inspect(connection).has_table(each.name)]
    if any(connection.execute(select(each).limit(1)).first() is not None for each in known):
        raise InvalidArgumentError(f"{name} is not empty; restore into a new database.")


def _fill(connection: Connection, archive: zipfile.ZipFile, manifest: BackupManifest, path: Path) -> None:
    """Make the tables as they were, fill them, bring them up to date and check all."""
    migrate(connection, manifest.revision)
    for name, content in manifest.tables.items():
        lines = _read_lines(archive, name, content, path)
        while rows := [json.loads(line) for line in islice(lines, _ROWS_AT_ONCE)]:
            _insert(connection, name, rows, path)
    migrate(connection)
    complaints = verify_connection(connection, expected_head=manifest.head)
    if complaints:
        raise InvalidDataError(
            f"{path}: nothing was restored, the back-up was altered or was taken of an altered store: {complaints[0]}"
            + (f" … and {len(complaints) - 1} more." if len(complaints) > 1 else "")
        )


def _insert(connection: Connection, name: str, rows: list[Mapping[str, Any]], path: Path) -> None:
    target = table(name, *(column(each) for each in rows[0]))  # by the columns it had when it was written
    try:
        connection.execute(insert(target), rows)
    except DBAPIError as err:
        raise InvalidDataError(f"{path}: rows of {name} do not fit ({translated(err)})") from err


def _read_lines(archive: zipfile.ZipFile, name: str, content: TableContent, path: Path) -> Iterator[bytes]:
    digest, n_rows = hashlib.sha256(), 0
    try:
        with archive.open(_member(name)) as member:
            for line in member:
                digest.update(line)
                n_rows += 1
                yield line
    except (KeyError, zipfile.BadZipFile, EOFError) as err:
        raise InvalidDataError(f"{path}: {_member(name)} is missing or damaged; nothing was restored.") from err
    if (n_rows, digest.hexdigest()) != (content.n_rows, content.sha256):
        raise InvalidDataError(f"{path}: {_member(name)} does not fit its sha256; nothing was restored.")


def _member(name: str) -> str:
    return f"{name}.jsonl"


def _remove(file: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        file.with_name(f"{file.name}{ending}").unlink(missing_ok=True)
