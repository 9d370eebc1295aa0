"""``msc-vision access``: the people and the API keys of the service."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from msc_vision.cli.database import Database, by_command_line, open_store, print_columns
from msc_vision.cli.talk import say
from msc_vision.errors import InvalidArgumentError

if TYPE_CHECKING:
    from msc_vision.service.access import Access, NewKey

access = typer.Typer(name="access", no_args_is_help=True, rich_markup_mode="markdown")

Username = Annotated[str, typer.Argument(metavar="USERNAME", help="Such as ada.l; small letters.", show_default=False)]
Roles = Annotated[
    list[str],
    typer.Option("--role", help="viewer, operator, reviewer, approver or admin; may be given more than once."),
]
Why = Annotated[str, typer.Option("--why", help="The reason, for the audit log.")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from stdin (one line) instead of asking for it.")
]
KeyId = Annotated[str, typer.Argument(metavar="KEY", help="Id of the key, as `list-keys` shows it.")]
ExpiresIn = Annotated[
    float | None,
    typer.Option("--expires-in-days", min=0.001, help="Days until the key ends; default: the age that settings allow."),
]


@access.callback()
def about() -> None:
    """Keep people, their roles and passwords, and the API keys of other services; the audit log has every change.

    **Examples**

        msc-vision access add-person ada --name "Ada Lovelace" --role admin
        msc-vision access add-key "MES production" --scope read --scope decide
        msc-vision access list
    """


@access.command()
def add_person(
    username: Username,
    name: Annotated[str, typer.Option("--name", help="The name that signatures print, such as 'Ada Lovelace'.")],
    role: Roles,
    password_stdin: PasswordStdin = False,
    database: Database = None,
) -> None:
    """Add a person; the first admin is made this way too, nobody is there by default.

    viewer reads; operator also scores and asks for decisions; reviewer also reviews and signs; approver also gives
    the last signature and adds rule sets; admin keeps people and keys and reads the audit log, but does not sign.

    **Example**

        msc-vision access add-person ada --name "Ada Lovelace" --role approver
    """
    with _opened(database) as opened:
        password = _read_password(username, is_piped=password_stdin)
        person = opened.add_person(username, name, role, password, by=by_command_line())
    say(f"{person.username} ({person.printed_name}) may log in as {', '.join(person.roles)}.")


@access.command()
def set_password(username: Username, password_stdin: PasswordStdin = False, database: Database = None) -> None:
    """Give a person a new password; ends their sessions and lifts a lock-out."""
    with _opened(database) as opened:
        password = _read_password(username, is_piped=password_stdin)
        person = opened.set_password(username, password, by=by_command_line())
    say(f"{person.username} has a new password.")


@access.command()
def roles(username: Username, role: Roles, why: Why, database: Database = None) -> None:
    """Give a person other roles; those not named are taken."""
    with _opened(database) as opened:
        person = opened.set_roles(username, role, by=by_command_line(), why=why)
    say(f"{person.username} is {', '.join(person.roles)}.")


@access.command()
def deactivate(username: Username, why: Why, database: Database = None) -> None:
    """Shut a person out; what they did and signed stays, and their name is never given again."""
    with _opened(database) as opened:
        person = opened.deactivate(username, by=by_command_line(), why=why)
    say(f"{person.username} is shut out.")


@access.command("list")
def list_people(database: Database = None) -> None:
    """List people."""
    with _opened(database) as opened:
        people = opened.list_people()
    rows = [("username", "name", "roles", "password of", "state")]
    for person in people:
        state = "active" if person.is_active else f"out since {str(person.deactivated_at)[:10]}"
        rows.append(
            (person.username, person.printed_name, ",".join(person.roles), person.password_changed_at[:10], state)
        )
    print_columns(rows)


@access.command()
def add_key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is, such as 'MES production'.")],
    scope: Annotated[
        list[str], typer.Option("--scope", help="read, score, decide, rules or audit; may be given more than once.")
    ],
    expires_in_days: ExpiresIn = None,
    database: Database = None,
) -> None:
    """Make an API key for a service. It goes to stdout, this once: only its hash is kept.

    **Example**

        msc-vision access add-key "MES production" --scope read --scope decide
    """
    with _opened(database) as opened:
        new = opened.add_key(name, scope, by=by_command_line(), expires_at=_days_from_now(expires_in_days))
    _show_once(new)


@access.command()
def rotate_key(
    key: KeyId,
    overlap_hours: Annotated[float, typer.Option("--overlap-hours", min=0, help="How long the old key works on.")] = 24,
    expires_in_days: ExpiresIn = None,
    database: Database = None,
) -> None:
    """Make a key that replaces another, of the same name and scopes. It goes to stdout, this once."""
    with _opened(database) as opened:
        expires_at = _days_from_now(expires_in_days)
        new = opened.rotate_key(key, by=by_command_line(), overlap_h=overlap_hours, expires_at=expires_at)
    _show_once(new)


@access.command()
def revoke_key(key: KeyId, why: Why, database: Database = None) -> None:
    """End a key; a service that runs follows within two seconds."""
    with _opened(database) as opened:
        revoked = opened.revoke_key(key, by=by_command_line(), why=why)
    say(f"Key {revoked.key_id} ({revoked.name}) has ended.")


@access.command()
def list_keys(database: Database = None) -> None:
    """List keys, without their secrets."""
    with _opened(database) as opened:
        keys = opened.list_keys()
        max_age_days = opened.settings.key_max_age_days
    rows = [("key", "name", "scopes", "made", "last used", "ends")]
    for key in keys:
        end = f"revoked {key.revoked_at[:10]}" if key.revoked_at else (key.end(max_age_days) or "never")[:16]
        last = (key.last_used_at or "never")[:16]
        rows.append((key.key_id, key.name, ",".join(key.scopes), key.created_at[:10], last, end))
    print_columns(rows)


@contextmanager
def _opened(database: str | None) -> "Iterator[Access]":
    with open_store(database) as store:
        from msc_vision.service.access import Access

        yield Access(store)


def _read_password(username: str, *, is_piped: bool) -> str:
    """Return a password from stdin or, asked twice, from the keyboard; never from the command line."""
    if not is_piped:
        return str(typer.prompt(f"Password for {username}", hide_input=True, confirmation_prompt=True, err=True))
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise InvalidArgumentError("No password came through stdin.")
    return password


def _days_from_now(days: float | None) -> datetime | None:
    return None if days is None else datetime.now(UTC) + timedelta(days=days)


def _show_once(new: "NewKey") -> None:
    typer.echo(new.token)
    say(f"Key {new.key.key_id} for {new.key.name}: {', '.join(new.key.scopes)}. Keep it now; it is not shown again.")
