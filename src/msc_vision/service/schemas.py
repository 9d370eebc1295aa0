"""What requests and answers of the service look like."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Text = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
LongText = Annotated[
    str, StringConstraints(min_length=1, max_length=2000, pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]+$")
]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Path = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f\x7f]+$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
DecisionId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
RuleSetName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}(@[0-9A-Za-z][0-9A-Za-z.+-]{0,31})?$")]
Username = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00-\x20\x7f]+$")]
Password = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
Moment = Annotated[datetime, Field(description="ISO 8601 with zone")]
Verdict = Literal["GO", "NO_GO", "HOLD_REVIEW", "CANNOT_ASSESS"]
RoleName = Literal["viewer", "operator", "reviewer", "approver", "admin"]
KeyScope = Literal["read", "score", "decide", "rules", "audit"]
Event = Literal["decision.created", "decision.signed", "review.created", "job.finished"]


class Asked(BaseModel):
    """Body of a request: unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Answered(BaseModel):
    """Body of an answer."""

    model_config = ConfigDict(extra="forbid")


class Fault(Answered):
    """One place of the request that is wrong."""

    detail: str
    pointer: str = Field(description="JSON pointer into the body, or the parameter's place and name")


class Problem(Answered):
    """Problem details (RFC 9457)."""

    type: str = Field(examples=["urn:msc-vision:problem:not-valid"])
    title: str
    status: int
    detail: str = Field(description="what was seen and what to do")
    instance: str
    request_id: str
    errors: list[Fault] | None = Field(None, description="all that is wrong with the request")


# --- who asks --------------------------------------------------------------------------------------------------------


class Login(Asked):
    """Username and password."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"username": "m.rossi", "password": "…"}]})
    username: Username
    password: Password


class Session(Answered):
    """A session; the token goes into ``Authorization: Bearer``."""

    token: str
    expires_at: str
    username: str
    printed_name: str
    roles: list[str]


class Me(Answered):
    """Who the service takes the caller for."""

    kind: Literal["person", "key"]
    id: str
    name: str
    roles: list[str]
    scopes: list[str]


class NewPassword(Asked):
    """The caller's own password, old and new."""

    old_password: Password
    new_password: Password


class PersonAsk(Asked):
    """A new person."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"username": "m.rossi", "printed_name": "Maria Rossi", "roles": ["reviewer"], "password": "…"},
            ]
        }
    )
    username: Username
    printed_name: Text
    roles: list[RoleName] = Field(min_length=1, max_length=5)
    password: Password


class PersonChange(Asked):
    """Other roles, or a new password set by an admin."""

    roles: list[RoleName] | None = Field(None, min_length=1, max_length=5)
    password: Password | None = None
    why: Text


class Why(Asked):
    """The reason for a change."""

    why: Text


class Person(Answered):
    """A person, without the password."""

    person_id: str
    username: str
    printed_name: str
    roles: list[str]
    created_at: str
    password_changed_at: str
    deactivated_at: str | None


class KeyAsk(Asked):
    """A new key of a service."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "MES line 2", "scopes": ["read", "decide"], "expires_at": None}]}
    )
    name: Text
    scopes: list[KeyScope] = Field(min_length=1, max_length=5)
    expires_at: Moment | None = None


class KeyRotation(Asked):
    """A new secret for a key."""

    overlap_h: float = Field(24.0, ge=0, le=720, description="how long the old secret still works")
    expires_at: Moment | None = None


class Key(Answered):
    """A key, without its secret."""

    key_id: str
    name: str
    scopes: list[str]
    created_at: str
    created_by: str
    expires_at: str | None
    revoked_at: str | None
    rotated_from: str | None
    last_used_at: str | None


class NewKey(Key):
    """A key with its secret, which is shown this once."""

    token: str | None = Field(description="null where an earlier answer is repeated: the secret is not kept")


# --- runs and jobs ---------------------------------------------------------------------------------------------------


class RunAsk(Asked):
    """A finished run folder that this service can read."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"path": "2026-11/STACK-7.run"}]})
    path: Path = Field(description="absolute, or relative to a folder that the site opened")


class RunVessel(Answered):
    """A vessel of a run."""

    vessel_id: str
    vessel_type: str | None
    batch: str | None
    passage: int | None
    acquired_to: str | None
    confluency_percent: float | None
    confluency_low_percent: float | None
    confluency_high_percent: float | None
    layers_total: int | None
    layers_measured: int | None


class Run(Answered):
    """A registered run."""

    run_id: str
    path: str
    state: str | None
    record_sha256: str
    registered_at: str
    registered_by: str
    finished_at: str | None
    software: str | None
    model_id: str | None
    vessels: list[RunVessel]


class JobAsk(Asked):
    """A folder of images to be scored."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"folder": "2026-11/STACK-7", "vessel_type": "hyperstack-36"}]}
    )
    folder: Path = Field(description="absolute, or relative to a folder that the site opened")
    vessel_type: Slug | None = Field(None, description="where the folder has no manifest")
    pipeline: Slug = Field("default", description="name of a shipped recipe")
    manifest: Path | None = Field(None, description="a manifest file; default: manifest.csv of the folder, or drafted")


class Job(Answered):
    """A scoring job."""

    job_id: str
    folder: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    vessel_type: str | None
    pipeline: str
    fields_total: int
    fields_done: int
    fields_failed: int
    message: str | None
    run_id: str | None
    requested_by: str
    created_at: str
    started_at: str | None
    finished_at: str | None


# --- decisions -------------------------------------------------------------------------------------------------------


class DecisionAsk(Asked):
    """Asks whether a vessel may be harvested now."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "vessel_id": "STACK-7",
                    "rule_set": "msc-expansion-default",
                    "vessel_type": "hyperstack-36",
                    "passage": 3,
                    "supervisory_job_id": "MES-2026-118",
                }
            ]
        }
    )
    vessel_id: Text
    rule_set: RuleSetName = Field(description="id, or id@version; an id alone is the version added last")
    run_id: Text | None = Field(None, description="default: the run with the latest images of the vessel")
    vessel_type: Slug | None = Field(None, description="what the caller believes; a contradiction is never GO")
    batch: Text | None = Field(None, description="what the caller believes")
    passage: int | None = Field(None, ge=0, le=1000, description="what the caller believes")
    supervisory_job_id: Text | None = None
    supervisory_task_id: Text | None = None
    supersedes: DecisionId | None = Field(None, description="the decision of this vessel that this one replaces")


class DecisionSummary(Answered):
    """A decision in a list."""

    decision_id: str
    created_at: str
    vessel_id: str
    vessel_type: str | None
    batch: str | None
    passage: int | None
    run_id: str | None
    rule_set: str
    rule_set_status: str
    verdict: Verdict
    recommended_action: str
    created_by: str
    supersedes: str | None
    superseded_by: str | None
    n_signatures: int


class Explanation(Answered):
    """Why a verdict is as it is, and what would change it."""

    decision_id: str
    verdict: Verdict
    recommended_action: str
    action: str
    until: str | None
    n_fields: int | None
    layers: list[int]
    summary: str
    reasons: list[str]
    changes: list[str]


class Replayed(Answered):
    """Whether a record still follows from its inputs."""

    decision_id: str
    holds: bool
    differences: list[str]


class SettlementAsk(Asked):
    """A person's answer to a criterion that asked for one."""

    criterion: Slug
    layer: int | None = Field(None, ge=1, le=1000)
    outcome: Literal["met", "not met"]


class ReviewAsk(Asked):
    """What a person says of a decision."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "action": "settle",
                    "reason_code": "debris",
                    "reason": "The dots on layer 3 are debris; looked at again at 10x.",
                    "settles": [{"criterion": "contamination-signs", "layer": 3, "outcome": "met"}],
                }
            ]
        }
    )
    action: Literal["settle", "hold", "reject"]
    reason_code: Slug
    reason: LongText
    settles: list[SettlementAsk] = Field([], max_length=500)


class Review(Answered):
    """A review and the decision that came of it."""

    event_id: str
    decision_id: str | None = Field(description="the decision that was reviewed")
    superseded_by: str | None = Field(description="the decision that came of it")
    vessel_id: str
    who: str
    at: str
    action: str
    reason_code: str | None
    reason: str | None
    settles: list[SettlementAsk]


class SignAsk(Asked):
    """A signature: the password once more, the sha256 of the record that was read, and what the signature means."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"password": "…", "record_sha256": "0" * 64, "meaning": "approval"}]}
    )
    password: Password
    record_sha256: Sha256 = Field(description="of the record as it was shown to the person")
    meaning: Text


class Signature(Answered):
    """A signature, bound to the record's hash."""

    signature_id: str
    decision_id: str
    record_sha256: str
    username: str
    printed_name: str
    signed_at: str
    meaning: str
    position: int
    is_complete: bool = Field(description="true: no further signature is needed")


# --- rule sets -------------------------------------------------------------------------------------------------------


class RuleSetSummary(Answered):
    """A rule set in a list."""

    id: str
    version: str
    status: Literal["draft", "approved"]
    title: str
    sha256: str
    origin: Literal["shipped", "folder", "store"]
    n_criteria: int


class RuleSetDocument(Answered):
    """A rule set, complete."""

    sha256: str
    content: dict[str, Any]


class RuleSetText(Asked):
    """A rule set as YAML; ``Content-Type: application/yaml`` takes it as it is."""

    yaml: str = Field(min_length=1, max_length=500_000)


class RuleCheck(Answered):
    """What is wrong with a rule set."""

    is_valid: bool
    sha256: str | None
    complaints: list[str]


class RuleDifference(Answered):
    """What differs between two rule sets."""

    path: str
    old: Any = None
    new: Any = None


class RuleDiff(Answered):
    """All differences between two rule sets."""

    old: str
    new: str
    differences: list[RuleDifference]


# --- vessels ---------------------------------------------------------------------------------------------------------


class Vessel(Answered):
    """A vessel with its latest run and its current decision."""

    vessel_id: str
    vessel_type: str | None
    batch: str | None
    passage: int | None
    run_id: str
    acquired_to: str | None
    confluency_percent: float | None
    confluency_low_percent: float | None
    confluency_high_percent: float | None
    layers_total: int | None
    layers_measured: int | None
    decision: DecisionSummary | None


class TimelineEntry(Answered):
    """Something that happened to a vessel."""

    at: str
    kind: Literal["run", "decision", "review", "signature"]
    id: str
    who: str
    summary: str


class Forecast(Answered):
    """When a vessel will be inside its window, or why that is not known."""

    vessel_id: str
    reason: str | None
    starts_at: str | None
    last_scan_at: str | None
    low_percent: float | None
    high_percent: float | None
    enters_at: str | None
    leaves_at: str | None
    n_time_points: int
    sentences: list[str]


# --- audit and webhooks ----------------------------------------------------------------------------------------------


class AuditEntry(Answered):
    """An entry of the audit log."""

    seq: int
    at: str
    who: str
    what: str
    target: str | None
    target_id: str | None
    why: str | None
    row_sha256: str | None
    previous_sha256: str
    sha256: str


class AuditCheck(Answered):
    """Whether log and rows are as they were written."""

    is_whole: bool
    head: str = Field(description="number and sha256 of the last entry; keep it elsewhere")
    complaints: list[str]


class WebhookAsk(Asked):
    """Where events are sent to."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"url": "https://mes.example/hooks", "events": ["decision.created"]}]}
    )
    url: Annotated[str, StringConstraints(min_length=8, max_length=2000, pattern=r"^https?://[\x21-\x7e]+$")]
    events: list[Event] = Field(min_length=1, max_length=4)


class WebhookChange(Asked):
    """Other events, or another address."""

    url: Annotated[str, StringConstraints(min_length=8, max_length=2000, pattern=r"^https?://[\x21-\x7e]+$")] | None = (
        None
    )
    events: list[Event] | None = Field(None, min_length=1, max_length=4)


class Webhook(Answered):
    """A webhook, without its secret."""

    webhook_id: str
    url: str
    events: list[str]
    created_at: str
    created_by: str
    deactivated_at: str | None


class NewWebhook(Webhook):
    """A webhook with its secret, which is shown this once."""

    secret: str | None = Field(description="null where an earlier answer is repeated: the secret is not shown again")


class Delivery(Answered):
    """A delivery of an event."""

    delivery_id: str
    webhook_id: str
    event: str
    state: Literal["due", "delivered", "given up"]
    attempts: int
    created_at: str
    next_attempt_at: str | None
    finished_at: str | None
    message: str | None


class Pinged(Answered):
    """A test delivery that was queued."""

    delivery_id: str


# --- the service itself ----------------------------------------------------------------------------------------------


class Live(Answered):
    """The process answers."""

    status: Literal["live"]


class Ready(Answered):
    """The process can do its work."""

    status: Literal["ready"]
    database: str
    writes_waiting: int


def page_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema of a page of some answers."""
    return {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": {"$ref": f"#/components/schemas/{model.__name__}"}},
            "next": {"type": ["string", "null"], "description": "cursor of the next page; null: this was the last"},
        },
        "required": ["items", "next"],
        "additionalProperties": False,
    }
