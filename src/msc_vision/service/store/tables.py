"""The tables of the store: what is kept, which rows are protected, and which may only be added to.

Every value is text, an integer or a double, so that a row has one canonical content in SQLite and in PostgreSQL and
in a back-up. Times are ISO 8601 text in UTC with milliseconds; they sort as they read. JSON is text.

Three kinds of tables:

- append-only (`APPEND_ONLY`): triggers in the database refuse a change or a removal;
- protected (`PROTECTED`, which includes the former): each row's sha256 is in the audit log whenever it changes;
- the rest hold what passes: who was seen when, how often a password was wrong, what was answered to an idempotency
  key, which delivery is due. They change with every request and prove nothing, so a log entry for each would bury the
  entries that matter. What they lead to (a log-in, a refusal, a decision) is logged by itself.

``seq`` in a table is the number of the audit entry that recorded the row: it orders rows and serves as a cursor.
"""

from typing import Final

from sqlalchemy import BigInteger, CheckConstraint, Column, Double, ForeignKey, Index, MetaData, Table, Text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _text(name: str, *more: ForeignKey, key: bool = False, unique: bool = False) -> Column[str]:
    return Column(name, Text, *more, primary_key=key, nullable=False, unique=unique or None)


def _text_or_none(name: str, *more: ForeignKey, unique: bool = False) -> Column[str]:
    return Column(name, Text, *more, nullable=True, unique=unique or None)


def _integer(name: str, *, key: bool = False, unique: bool = False) -> Column[int]:
    return Column(name, BigInteger, primary_key=key, nullable=False, autoincrement=False, unique=unique or None)


def _number_or_none(name: str) -> Column[float]:
    return Column(name, Double, nullable=True)


audit = Table(
    "audit",
    metadata,
    _integer("seq", key=True),
    _text("at"),
    _text("who"),
    _text("what"),
    _text_or_none("target"),  # table of the row, or what a note is about
    _text_or_none("target_id"),
    _text_or_none("why"),
    _text_or_none("detail"),  # JSON
    _text_or_none("row_sha256"),  # of the row after this entry; none for a note
    _text("previous_sha256"),
    _text("sha256", unique=True),
    Index(None, "target", "target_id", "seq"),
    Index(None, "who", "seq"),
)

runs = Table(
    "runs",
    metadata,
    _text("run_id", key=True),
    _integer("seq", unique=True),
    _text("path"),
    _text("record_sha256"),
    _text_or_none("hashes_sha256"),
    _text("registered_at"),
    _text("registered_by"),
    _text_or_none("finished_at"),
    _text_or_none("state"),
    _text_or_none("software"),
    _text_or_none("model_id"),
    _text_or_none("model_sha256"),
    _text_or_none("settings_sha256"),
    _text_or_none("detail"),  # JSON
)

run_vessels = Table(
    "run_vessels",
    metadata,
    _text("run_id", ForeignKey("runs.run_id"), key=True),
    _text("vessel_id", key=True),
    _integer("seq", unique=True),
    _text_or_none("vessel_type"),
    _text_or_none("batch"),
    Column("passage", BigInteger, nullable=True),
    _number_or_none("pdl"),
    _text_or_none("acquired_from"),
    _text_or_none("acquired_to"),
    _number_or_none("confluency_percent"),
    _number_or_none("confluency_low_percent"),
    _number_or_none("confluency_high_percent"),
    Column("layers_total", BigInteger, nullable=True),
    Column("layers_measured", BigInteger, nullable=True),
    _text_or_none("detail"),  # JSON
    Index(None, "vessel_id", "acquired_to"),
    Index(None, "batch"),
)

jobs = Table(
    "jobs",
    metadata,
    _text("job_id", key=True),
    _integer("seq", unique=True),
    _text("folder"),
    _text("arguments"),  # JSON
    _text("state"),
    _integer("fields_total"),
    _integer("fields_done"),
    _integer("fields_failed"),
    _text_or_none("message"),
    _text_or_none("run_path"),
    _text_or_none("run_id"),
    _text("requested_by"),
    _text("created_at"),
    _text_or_none("started_at"),
    _text_or_none("finished_at"),
    CheckConstraint("state IN ('queued', 'running', 'done', 'failed', 'cancelled')", name="state"),
    Index(None, "state", "seq"),
)

decisions = Table(
    "decisions",
    metadata,
    _text("decision_id", key=True),
    _integer("seq", unique=True),
    _text("vessel_id"),
    _text_or_none("vessel_type"),
    _text_or_none("batch"),
    Column("passage", BigInteger, nullable=True),
    _text_or_none("run_id"),
    _text("rule_set_id"),
    _text("rule_set_version"),
    _text("rule_set_sha256"),
    _text("rule_set_status"),  # draft ones cannot be signed
    _text("verdict"),
    _text("recommended_action"),
    _text("created_at"),
    _text("created_by"),
    _text_or_none("supersedes", ForeignKey("decisions.decision_id"), unique=True),
    _text("record_sha256"),  # of what was judged, as the record says
    _text("document_sha256"),  # of ``record``, byte for byte
    _text("record"),  # the canonical JSON document
    CheckConstraint("verdict IN ('GO', 'NO_GO', 'HOLD_REVIEW', 'CANNOT_ASSESS')", name="verdict"),
    Index(None, "vessel_id", "seq"),
    Index(None, "batch", "seq"),
    Index(None, "run_id"),
    Index(None, "verdict", "seq"),
)

reviews = Table(
    "reviews",
    metadata,
    _text("event_id", key=True),
    _integer("seq", unique=True),
    _text_or_none("decision_id", ForeignKey("decisions.decision_id")),
    _text("vessel_id"),
    _text_or_none("run_id"),
    _text("who"),
    _text("at"),
    _text("action"),
    _text_or_none("reason_code"),
    _text_or_none("reason"),
    _text("content"),  # JSON
    Index(None, "decision_id", "seq"),
    Index(None, "vessel_id", "seq"),
)

signatures = Table(
    "signatures",
    metadata,
    _text("signature_id", key=True),
    _integer("seq", unique=True),
    _text("decision_id", ForeignKey("decisions.decision_id")),
    _text("record_sha256"),
    _text("document_sha256"),
    _text("person_id", ForeignKey("people.person_id")),
    _text("username"),
    _text("printed_name"),
    _text("signed_at"),
    _text("meaning"),
    _integer("position"),  # 1 is the first signature, 2 the second person's
    Index(None, "decision_id", "position", unique=True),
    Index(None, "decision_id", "person_id", unique=True),
)

rule_sets = Table(
    "rule_sets",
    metadata,
    _text("sha256", key=True),
    _integer("seq", unique=True),
    _text("rule_set_id"),
    _text("version"),
    _text("status"),
    _text("content"),
    _text("added_at"),
    _text("added_by"),
    Index(None, "rule_set_id", "seq"),
)

webhooks = Table(
    "webhooks",
    metadata,
    _text("webhook_id", key=True),
    _integer("seq", unique=True),
    _text("url"),
    _text("events"),  # JSON list
    _text("secret"),  # signs deliveries, so it is needed as it is; never shown again
    _text("created_at"),
    _text("created_by"),
    _text_or_none("deactivated_at"),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    _text("delivery_id", key=True),
    _text("webhook_id", ForeignKey("webhooks.webhook_id")),
    _text("event"),
    _text("payload"),
    _text("state"),
    _integer("attempts"),
    _text("created_at"),
    _text_or_none("next_attempt_at"),
    _text_or_none("finished_at"),
    _text_or_none("message"),
    CheckConstraint("state IN ('due', 'delivered', 'given up')", name="state"),
    Index(None, "state", "next_attempt_at"),
    Index(None, "webhook_id", "created_at"),
)

people = Table(
    "people",
    metadata,
    _text("person_id", key=True),
    _integer("seq", unique=True),
    _text("username", unique=True),
    _text("printed_name"),
    _text("roles"),  # JSON list
    _text("password_hash"),
    _text("password_changed_at"),
    _text("created_at"),
    _text_or_none("deactivated_at"),
)

api_keys = Table(
    "api_keys",
    metadata,
    _text("key_id", key=True),
    _integer("seq", unique=True),
    _text("name"),
    _text("secret_sha256"),
    _text("scopes"),  # JSON list
    _text("created_at"),
    _text("created_by"),
    _text_or_none("expires_at"),
    _text_or_none("revoked_at"),
    _text_or_none("rotated_from"),
)

sessions = Table(
    "sessions",
    metadata,
    _text("token_sha256", key=True),
    _integer("seq", unique=True),
    _text("person_id", ForeignKey("people.person_id")),
    _text("created_at"),
    _text("expires_at"),
    _text_or_none("ended_at"),
    Index(None, "person_id"),
)

session_uses = Table(
    "session_uses",
    metadata,
    _text("token_sha256", ForeignKey("sessions.token_sha256"), key=True),
    _text("last_seen_at"),
)

key_uses = Table(
    "key_uses",
    metadata,
    _text("key_id", ForeignKey("api_keys.key_id"), key=True),
    _text("last_used_at"),
)

login_failures = Table(
    "login_failures",
    metadata,
    _text("username", key=True),  # known or not: a lock-out must not tell which names exist
    _integer("n_failures"),
    _text("last_failed_at"),
    _text("locked_until"),
)

idempotency = Table(
    "idempotency",
    metadata,
    _text("principal", key=True),
    _text("key", key=True),
    _text("request_sha256"),
    _integer("status_code"),
    _text("response"),
    _text("created_at"),
    _text("expires_at"),
    Index(None, "expires_at"),
)

APPEND_ONLY: Final = (audit, decisions, reviews, signatures, rule_sets)
PROTECTED: Final = (
    *(runs, run_vessels, jobs, decisions, reviews, signatures, rule_sets),
    *(webhooks, people, api_keys, sessions),
)
