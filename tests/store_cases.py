"""Stores for tests: an SQLite file and a database on a PostgreSQL server that the tests start, both with tables.

PostgreSQL is Debian's package; where it is not installed these tests are skipped, except in CI, where they fail.
"""

import json
import os
import shutil

import pytest
from benchmarks.postgresql import NOT_DURABLE, postgresql_server

APPROVED = {
    "rule_set_id": "msc-test",
    "rule_set_version": "1",
    "rule_set_sha256": "a" * 64,
    "rule_set_status": "approved",
}


@pytest.fixture(scope="session")
def postgresql():
    """Start a PostgreSQL server for this process's tests."""
    with postgresql_server(NOT_DURABLE) as server:
        if server is None:
            if os.environ.get("CI"):
                pytest.fail("PostgreSQL is not installed; CI needs Debian's package postgresql.")
            pytest.skip("PostgreSQL is not installed")
        yield server


@pytest.fixture(scope="session")
def postgresql_template(postgresql):
    """Name a database with the tables of a store, to copy from."""
    from msc_vision.service.store import create_store

    url = postgresql.new_database()
    create_store(url)
    return url.split("/")[3].split("?")[0]


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory):
    """Make an SQLite file with the tables of a store, to copy from."""
    from msc_vision.service.store import create_store

    path = tmp_path_factory.mktemp("template") / "store.db"
    create_store(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template, tmp_path):
    """Make an empty store in an SQLite file."""
    path = tmp_path / "store.db"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgresql_url(postgresql, postgresql_template):
    """Make an empty store on the PostgreSQL server."""
    return postgresql.new_database(postgresql_template)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request):
    """Make an empty store, once in each kind of database."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def store(database_url):
    """Open an empty store, once in each kind of database."""
    from msc_vision.service.store import Store

    with Store.open(database_url) as opened:
        yield opened


def decision_row(name, **changes):
    """Return the row of a small decision with a document that fits it."""
    from msc_vision.service.store import canonical_json, text_sha256

    verdict = changes.get("verdict", "GO")
    document = {"decision_id": name, "record_sha256": text_sha256(name), "verdict": verdict, "signature": None}
    record = changes.pop("record", canonical_json(document))
    return {
        **APPROVED,
        "decision_id": name,
        "vessel_id": "STACK-7",
        "verdict": verdict,
        "recommended_action": "harvest",
        "created_at": "2026-01-02T03:04:05.678+00:00",
        "created_by": "key:mes",
        "record_sha256": json.loads(record)["record_sha256"],
        "document_sha256": text_sha256(record),
        "record": record,
        **changes,
    }


def add_decision(store, name, **changes):
    """Write a small decision and return its row."""
    from msc_vision.service.store.tables import decisions

    row = decision_row(name, **changes)
    return store.write(lambda tx: tx.insert(decisions, row, who="key:mes", what="decide")).result(10)


def fill_every_table(store):
    """Write a row into every table, protected or not, as the service would; return the ids by table."""
    from sqlalchemy import insert

    from msc_vision.service.store import tables as t

    now, later = "2026-01-02T03:04:05.678+00:00", "2030-01-01T00:00:00.000+00:00"
    hash_ = "b" * 64
    rows = {
        t.people: {"person_id": "p1", "username": "ada", "printed_name": "Ada Ångström", "roles": '["approver"]',
                   "password_hash": "$argon2id$x", "password_changed_at": now, "created_at": now,
                   "deactivated_at": None},
        t.api_keys: {"key_id": "k1", "name": "MES", "secret_sha256": hash_, "scopes": '["read"]', "created_at": now,
                     "created_by": "person:ada", "expires_at": later, "revoked_at": None, "rotated_from": None},
        t.sessions: {"token_sha256": hash_, "person_id": "p1", "created_at": now, "expires_at": later,
                     "ended_at": None},
        t.runs: {"run_id": "r1", "path": "/data/r1", "record_sha256": hash_, "hashes_sha256": hash_,
                 "registered_at": now, "registered_by": "key:k1", "finished_at": now, "state": "done",
                 "software": "0.1", "model_id": "m", "model_sha256": hash_, "settings_sha256": hash_, "detail": "{}"},
        t.run_vessels: {"run_id": "r1", "vessel_id": "STACK-7", "vessel_type": "hyperstack-12", "batch": "LOT-1",
                        "passage": 3, "pdl": 9.5, "acquired_from": now, "acquired_to": now,
                        "confluency_percent": 81.25, "confluency_low_percent": 77.0, "confluency_high_percent": 85.0,
                        "layers_total": 12, "layers_measured": 8, "detail": "{}"},
        t.jobs: {"job_id": "j1", "folder": "/data/in", "arguments": "{}", "state": "queued", "fields_total": 10,
                 "fields_done": 0, "fields_failed": 0, "message": "waits", "run_path": "/data/r1", "run_id": "r1",
                 "requested_by": "key:k1", "created_at": now, "started_at": now, "finished_at": now},
        t.rule_sets: {"sha256": hash_, "rule_set_id": "msc", "version": "1", "status": "approved", "content": "{}",
                      "added_at": now, "added_by": "person:ada"},
        t.decisions: decision_row("d1", vessel_type="t-75", batch="LOT-1", passage=3, run_id="r1", supersedes=None),
        t.reviews: {"event_id": "e1", "decision_id": "d1", "vessel_id": "STACK-7", "run_id": "r1", "who": "person:ada",
                    "at": now, "action": "settle", "reason_code": "looked", "reason": "debris", "content": "{}"},
        t.signatures: {"signature_id": "s1", "decision_id": "d1", "record_sha256": hash_, "document_sha256": hash_,
                       "person_id": "p1", "username": "ada", "printed_name": "Ada Ångström", "signed_at": now,
                       "meaning": "approval", "position": 1},
        t.webhooks: {"webhook_id": "w1", "url": "https://mes.example", "events": "[]", "secret": "s",
                     "created_at": now, "created_by": "person:ada", "deactivated_at": None},
    }  # fmt: skip
    passing = {
        t.session_uses: {"token_sha256": hash_, "last_seen_at": now},
        t.key_uses: {"key_id": "k1", "last_used_at": now},
        t.login_failures: {"username": "eve", "n_failures": 3, "last_failed_at": now, "locked_until": now},
        t.webhook_deliveries: {"delivery_id": "x1", "webhook_id": "w1", "event": "decision", "payload": "{}",
                               "state": "due", "attempts": 0, "created_at": now},
        t.idempotency: {"principal": "key:k1", "key": "1", "request_sha256": hash_, "status_code": 201,
                        "response": "{}", "created_at": now, "expires_at": later},
    }  # fmt: skip

    def write(tx):
        for table, row in rows.items():
            tx.insert(table, row, who="person:ada", what=f"add to {table.name}", why="for the test", detail={"n": 1})
        tx.update(t.jobs, "j1", {"state": "running"}, who="system", what="start job")
        tx.note(who="key:k1", what="refused: read", why="no scope")
        for table, row in passing.items():
            tx.execute(insert(table).values(**row))

    store.write(write).result(10)
    return rows


def all_rows(store, tables):
    """Return every row of tables, to compare two stores."""
    from sqlalchemy import select

    def query(connection):
        found = {}
        for table in tables:
            key = [column.name for column in table.primary_key]
            rows = [dict(row._mapping) for row in connection.execute(select(table))]
            found[table.name] = sorted(rows, key=lambda row, key=key: [row[name] for name in key])
        return found

    return store.read(query)
