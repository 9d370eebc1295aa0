"""The service on both databases: the same answers from decision to signature, and a store that is whole after it."""

import json

import pytest

from service_cases import PASSWORD, a_service
from store_cases import database_url, postgresql, postgresql_template, postgresql_url, sqlite_template, sqlite_url

__all__ = ["database_url", "postgresql", "postgresql_template", "postgresql_url", "sqlite_template", "sqlite_url"]


@pytest.fixture
def case(database_url, tmp_path):
    with a_service(tmp_path, url=database_url) as found:
        found.with_run("monday", "V-doubt", 75.0, at="2026-11-21T08:00:00+00:00")
        found.with_run("tuesday", "V-doubt", 80.0, at="2026-11-22T08:00:00+00:00")
        yield found


def test_from_decision_to_signature(case):
    hook = {"url": "https://mes.example/hooks", "events": ["decision.created", "decision.signed"]}
    webhook = case.post("/v1/webhooks", "admin", hook).json()
    first = case.decide("V-doubt", supervisory_job_id="MES-1")
    assert (first["verdict"], first["context"]["run_id"]) == ("HOLD_REVIEW", "run-tuesday")
    settle = {
        "action": "settle",
        "reason_code": "debris",
        "reason": "Debris — looked at again.",
        "settles": [{"criterion": "contamination", "layer": None, "outcome": "met"}],
    }
    path = f"/v1/decisions/{first['decision_id']}"
    answers = [case.post(f"{path}/reviews", "reviewer", settle, Idempotency_Key="r-1") for _ in range(2)]
    assert answers[0].text == answers[1].text
    second = answers[0].json()
    body = {"password": PASSWORD, "record_sha256": second["record_sha256"], "meaning": "approval"}
    assert case.post(f"/v1/decisions/{second['decision_id']}/signatures", "approver", body).status_code == 201
    current = case.get("/v1/decisions", params={"current": True, "vessel_id": "V-doubt"}).json()["items"]
    assert [(one["decision_id"], one["n_signatures"]) for one in current] == [(second["decision_id"], 1)]
    kinds = [one["kind"] for one in case.get("/v1/vessels/V-doubt/timeline").json()["items"]]
    assert kinds == ["signature", "decision", "review", "decision", "run", "run"]
    vessel = case.get("/v1/vessels", params={"limit": 1}).json()["items"][0]
    assert (vessel["run_id"], vessel["decision"]["verdict"]) == ("run-tuesday", "GO")
    sent = case.get(f"/v1/webhooks/{webhook['webhook_id']}/deliveries", "admin").json()["items"]
    assert sorted(one["event"] for one in sent) == ["decision.created", "decision.created", "decision.signed"]
    assert case.post("/v1/jobs", "robot", {"folder": "monday"}).status_code == 202
    assert case.get("/metrics").status_code == 200
    found = case.post("/v1/audit/verify", "auditor").json()
    assert found["is_whole"], json.dumps(found["complaints"])
