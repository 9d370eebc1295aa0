"""``msc-vision store``: make, upgrade, check, back up and restore the store of decisions."""

from pathlib import Path
from typing import Annotated

import typer

from msc_vision.cli.database import Database, open_store, url_of
from msc_vision.cli.talk import USER_ERROR, say

store = typer.Typer(name="store", no_args_is_help=True, rich_markup_mode="markdown")


@store.callback()
def about() -> None:
    """Make, upgrade, check, back up and restore the store: decisions, signatures, audit log, people and keys.

    **Examples**

        msc-vision store init
        msc-vision store verify
        msc-vision store backup store-2026-01-31.zip
    """


@store.command()
def init(database: Database = None) -> None:
    """Make the tables in an empty database; an SQLite file is created, readable by you only.

    **Examples**

        msc-vision store init
        msc-vision store init --database postgresql://msc@db.site/msc
    """
    url = url_of(database)
    from msc_vision.service.store import create_store
    from msc_vision.service.store.database import parse_url, shown

    create_store(url)
    say(f"{shown(parse_url(url))} is ready. Make the first admin: `msc-vision access add-person NAME --role admin …`.")


@store.command()
def upgrade(database: Database = None) -> None:
    """Bring the tables up to date with this software. Stop the service and back up first."""
    url = url_of(database)
    from msc_vision.service.store import upgrade_store

    before, after = upgrade_store(url)
    say(f"Upgraded from {before or 'nothing'} to {after}." if before != after else f"Up to date ({after}).")


@store.command()
def verify(
    database: Database = None,
    expect_head: Annotated[
        str | None,
        typer.Option(
            "--expect-head",
            metavar="NUMBER:SHA256",
            help="A head that an earlier verify or backup printed: shows whether the log's end was cut off since.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Check that nothing was altered: the chain of the audit log, and every row against it.

    Prints the head of the log, NUMBER:SHA256; keep it somewhere else, for --expect-head. Complaints go to stdout, one
    a line, each naming table, row and audit entry; then the exit code is 2. The service may go on working meanwhile.

    **Examples**

        msc-vision store verify >> /mnt/elsewhere/heads.txt
        msc-vision store verify --expect-head "$(tail -1 /mnt/elsewhere/heads.txt)"
    """
    with open_store(database) as opened:
        from msc_vision.service.store import Head, verify_store

        expected = Head.parse(expect_head) if expect_head is not None else None
        head = opened.head()
        complaints = verify_store(opened, expected_head=expected)
        name = opened.name
    for complaint in complaints:
        typer.echo(str(complaint))
    if complaints:
        say(f"{name}: {len(complaints)} {'complaint' if len(complaints) == 1 else 'complaints'}; do not rely on it.")
        raise typer.Exit(USER_ERROR)
    typer.echo(str(head))
    say(f"{name}: all is as it was written, {head.seq} audit entries.")


@store.command()
def backup(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="New file, such as store-2026-01-31.zip.")],
    database: Database = None,
) -> None:
    """Write one state of the store to a file, which restores into SQLite and PostgreSQL alike.

    The service may go on working. The file holds password hashes: it is readable by you only. Prints the head of the
    audit log. An existing file is never replaced.

    **Example**

        msc-vision store backup store-2026-01-31.zip
    """
    with open_store(database) as opened:
        from msc_vision.service.store import backup_store

        manifest = backup_store(opened, path)
    typer.echo(str(manifest.head))
    n_rows = sum(content.n_rows for content in manifest.tables.values())
    say(f"{path}: {n_rows} rows of {len(manifest.tables)} tables.")


@store.command()
def restore(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="What `msc-vision store backup` wrote.")],
    database: Database = None,
) -> None:
    """Fill an empty database from a back-up; every row and the audit log are checked before it is kept.

    Keys and sessions are as they were then: revoke again what was revoked since.

    **Example**

        msc-vision store restore store-2026-01-31.zip --database sqlite:///restored.db
    """
    url = url_of(database)
    from msc_vision.service.store import restore_store
    from msc_vision.service.store.database import parse_url, shown

    manifest = restore_store(path, url)
    typer.echo(str(manifest.head))
    say(f"{shown(parse_url(url))}: restored and checked, as of {manifest.created_at}.")
