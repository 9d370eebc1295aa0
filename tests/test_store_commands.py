"""``msc-vision store`` and ``msc-vision access`` as an administrator types them."""

import os
import re
import sqlite3
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from msc_vision.cli import app
from msc_vision.service.access import Access
from msc_vision.service.store import Head, Store
from store_cases import add_decision, fill_every_table

PASSWORD = "plastic adherent cells"


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
def call(url):
    """Call a command on this test's database."""

    def run(*arguments, typed=None, database=url):
        environment = {"MSC_VISION_DATABASE": database} if database else {}
        return CliRunner().invoke(app, [str(each) for each in arguments], input=typed, env=environment)

    return run


def done(result):
    assert result.exit_code == 0, result.output
    return result.stdout


def error_of(result):
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line


def add_person(call, name, role, password=PASSWORD):
    return call(
        "access", "add-person", name, "--name", f"Dr {name}", "--role", role, "--password-stdin", typed=f"{password}\n"
    )


def test_from_nothing_to_a_signing_person_and_a_key(call, url):
    done(call("store", "init"))
    done(add_person(call, "ada", "admin"))
    done(add_person(call, "ann", "approver"))
    token = done(call("access", "add-key", "MES", "--scope", "read", "--scope", "decide")).strip()
    with Store.open(url) as store:
        access = Access(store)
        assert access.authenticate_key(token).scopes == {"read", "decide"}
        assert access.log_in("ann", PASSWORD).person.printed_name == "Dr ann"
    head = done(call("store", "verify")).strip()
    assert Head.parse(head).seq == 4, "two people, a key, a log-in"


def test_nobody_is_there_by_default(call):
    done(call("store", "init"))
    assert done(call("access", "list")).splitlines() == ["username  name  roles  password of  state"]


def test_a_password_is_asked_for_twice_and_not_shown(call, url):
    done(call("store", "init"))
    command = ("access", "add-person", "ada", "--name", "Ada", "--role", "admin")
    result = call(*command, typed=f"{PASSWORD}\n{PASSWORD}\n")
    assert PASSWORD not in done(result) + result.stderr
    with Store.open(url) as store:
        Access(store).log_in("ada", PASSWORD)


def test_a_password_is_never_an_argument(call):
    done(call("store", "init"))
    result = call("access", "add-person", "ada", "--name", "Ada", "--role", "admin", "--password", PASSWORD)
    assert "No such option" in error_of(result)


ADA = ("add-person", "ada", "--name", "A", "--password-stdin")


@pytest.mark.parametrize(
    ("arguments", "typed", "message"),
    [
        ((*ADA, "--role", "admin"), "short\n", "12 to 256 characters"),
        ((*ADA, "--role", "admin"), "", "No password came through stdin"),
        (("add-person", "a b", "--name", "A", "--role", "admin", "--password-stdin"), PASSWORD, "is no username"),
        ((*ADA, "--role", "chief"), PASSWORD, "No such role: chief"),
        (("set-password", "eve", "--password-stdin"), PASSWORD, "Nobody is called eve"),
        (("roles", "eve", "--role", "viewer", "--why", "test"), None, "Nobody is called eve"),
        (("deactivate", "eve", "--why", "test"), None, "Nobody is called eve"),
        (("deactivate", "eve"), None, "--why"),
        (("add-key", "MES", "--scope", "sign"), None, "Only people may sign"),
        (("rotate-key", "k9"), None, "no row 'k9'"),
        (("revoke-key", "k9", "--why", "test"), None, "no row 'k9'"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line(call, arguments, typed, message):
    done(call("store", "init"))
    assert message in error_of(call("access", *arguments, typed=typed))


def test_people_change(call, url):
    done(call("store", "init"))
    for name, role in [("ada", "admin"), ("ann", "operator")]:
        done(add_person(call, name, role))
    done(call("access", "roles", "ann", "--role", "reviewer", "--role", "operator", "--why", "trained"))
    done(call("access", "set-password", "ann", "--password-stdin", typed="another long password\n"))
    with Store.open(url) as store:
        assert Access(store).log_in("ann", "another long password").person.roles == ("operator", "reviewer")
    done(call("access", "deactivate", "ann", "--why", "left"))
    listed = done(call("access", "list"))
    assert re.search(r"ann +Dr ann +operator,reviewer .* out since 20", listed)
    assert "only active admin" in error_of(call("access", "deactivate", "ada", "--why", "left"))


def test_keys_rotate_and_end(call, url):
    done(call("store", "init"))
    old = done(call("access", "add-key", "MES", "--scope", "read", "--expires-in-days", "30")).strip()
    key_id = old.split("_")[1]
    new = done(call("access", "rotate-key", key_id, "--overlap-hours", "1")).strip()
    done(call("access", "revoke-key", new.split("_")[1], "--why", "leaked"))
    listed = done(call("access", "list-keys"))
    assert "revoked" in listed
    assert old.split("_", 2)[2] not in listed
    with Store.open(url) as store:
        assert Access(store).authenticate_key(old).name == "MES"


def test_an_altered_store_is_told_line_by_line(call, url, tmp_path):
    done(call("store", "init"))
    with Store.open(url) as store:
        add_decision(store, "d1")
        head = str(store.head())
    assert done(call("store", "verify", "--expect-head", head)).strip() == head
    with sqlite3.connect(tmp_path / "store.db") as connection:
        connection.execute("DROP TRIGGER decisions_no_update")
        connection.execute("UPDATE decisions SET verdict = 'NO_GO'")
    result = call("store", "verify")
    assert result.exit_code == 2
    assert "decisions d1 (audit entry 1): The row was altered" in result.stdout
    assert "2 complaints; do not rely on it" in result.stderr


def test_a_head_of_another_log_is_told(call):
    done(call("store", "init"))
    result = call("store", "verify", "--expect-head", "7:" + "a" * 64)
    assert result.exit_code == 2
    assert "the log ends before it" in result.stdout
    assert "no head of an audit log" in error_of(call("store", "verify", "--expect-head", "7"))


def test_back_up_and_restore(call, url, tmp_path):
    done(call("store", "init"))
    with Store.open(url) as store:
        fill_every_table(store)
    head = done(call("store", "backup", tmp_path / "b.zip"))
    assert "never replaces" in error_of(call("store", "backup", tmp_path / "b.zip"))
    other = f"sqlite:///{tmp_path / 'other.db'}"
    assert done(call("store", "restore", tmp_path / "b.zip", "--database", other)) == head
    assert done(call("store", "verify", database=other)) == head
    assert "is not empty" in error_of(call("store", "restore", tmp_path / "b.zip"))


def test_a_store_is_made_and_upgraded_once(call):
    assert "msc-vision store init" in error_of(call("store", "verify"))
    done(call("store", "init"))
    assert "has tables already" in error_of(call("store", "init"))
    assert "Up to date" in call("store", "upgrade").stderr


def test_the_default_store_lies_in_the_data_folder(tmp_path):
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path), "HOME": str(tmp_path)}
    environment.pop("MSC_VISION_DATABASE", None)
    command = [sys.executable, "-c", "from msc_vision.cli import main; main()", "store", "init"]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
    assert list(tmp_path.rglob("msc-vision/store.db"))
