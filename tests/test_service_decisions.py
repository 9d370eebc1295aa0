"""Asking for decisions, reviewing and signing them over HTTP, as a MES, a shift lead and a reviewer do."""

import json

import pytest

from msc_vision.decision import check_record, decision_record, record_text
from msc_vision.decision.judgement import Request
from service_cases import DRAFT, PASSWORD, RULES, a_service, write_run


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    with a_service(tmp_path_factory.mktemp("service")) as found:
        found.with_run("ready", "READY", 80.0)
        found.with_run("full", "FULL", 97.0)
        found.with_run("doubt", "STACK-doubt", 80.0)
        yield found


def ask(vessel_id, **more):
    return {"vessel_id": vessel_id, "rule_set": RULES, **more}


@pytest.mark.parametrize(
    ("vessel_id", "verdict", "action"),
    [("READY", "GO", "harvest"), ("FULL", "NO_GO", "hold and review"), ("STACK-doubt", "HOLD_REVIEW", None)],
    ids=["80 % is ready", "97 % is overgrown", "a suspect sign waits for a person"],
)
def test_a_service_asks_and_gets_a_whole_record(case, vessel_id, verdict, action):
    answer = case.post("/v1/decisions", "mes", ask(vessel_id))
    record = answer.json()
    assert (answer.status_code, record["verdict"]) == (201, verdict)
    assert action in (None, record["recommended_action"])
    assert check_record(record) == ()
    assert answer.headers["Location"] == f"/v1/decisions/{record['decision_id']}"


def test_the_answer_is_byte_for_byte_what_the_library_makes(case):
    answer = case.post("/v1/decisions", "mes", ask("READY", supervisory_job_id="J-1", passage=4))
    record = answer.json()
    rules = case.service.rules.find(RULES).rules
    from datetime import datetime

    from service_cases import described_evidence

    evidence = described_evidence(case.folder / "images" / "ready", "READY")
    made_at = datetime.fromisoformat(record["created_at"])
    request = Request(as_of=made_at, passage=4, supervisory_job_id="J-1")
    assert answer.text == record_text(decision_record(evidence, rules, request))
    assert case.get(f"/v1/decisions/{record['decision_id']}").text == answer.text


def test_another_vessel_type_than_expected_is_never_go(case):
    assert case.decide("READY", vessel_type="t-75")["verdict"] == "NO_GO"


def test_draft_rules_in_production_are_never_go(case):
    assert case.decide("READY", rule_set=DRAFT)["verdict"] == "CANNOT_ASSESS"


@pytest.mark.parametrize(
    "changes",
    [{"vessel_id": "NOBODY"}, {"rule_set": "no-such-rules"}, {"run_id": "run-elsewhere"}, {"rule_set": f"{RULES}@9"}],
    ids=["unknown vessel", "unknown rule set", "unknown run", "unknown version"],
)
def test_what_is_not_there_is_named(case, changes):
    answer = case.post("/v1/decisions", "mes", ask("READY") | changes)
    assert answer.status_code == 404
    assert next(iter(changes.values())) in answer.json()["detail"]


def test_the_latest_images_count(tmp_path):
    with a_service(tmp_path) as case:
        case.with_run("tuesday", "V", 97.0, at="2026-11-22T08:00:00+00:00")
        case.with_run("monday", "V", 80.0, at="2026-11-21T08:00:00+00:00")
        assert case.decide("V")["verdict"] == "NO_GO"
        assert case.decide("V", run_id="run-monday")["verdict"] == "GO"


# --- superseding -----------------------------------------------------------------------------------------------------


def test_a_superseded_decision_links_to_its_successor_and_can_be_superseded_once(case):
    first = case.decide("READY")
    second = case.decide("READY", supersedes=first["decision_id"])
    old = case.get(f"/v1/decisions/{first['decision_id']}")
    assert old.headers["Link"] == f'</v1/decisions/{second["decision_id"]}>; rel="successor-version"'
    assert "Link" not in case.get(f"/v1/decisions/{second['decision_id']}").headers
    again = case.post("/v1/decisions", "mes", ask("READY", supersedes=first["decision_id"]))
    assert again.status_code == 409
    assert second["decision_id"] in again.json()["detail"]


def test_a_decision_of_another_vessel_cannot_be_superseded(case):
    first = case.decide("FULL")
    answer = case.post("/v1/decisions", "mes", ask("READY", supersedes=first["decision_id"]))
    assert answer.status_code == 409


# --- lists -----------------------------------------------------------------------------------------------------------


def test_lists_are_filtered(case):
    made = case.decide("FULL")
    listed = case.get("/v1/decisions", params={"vessel_id": "FULL", "current": True}).json()["items"]
    assert [one["decision_id"] for one in listed] == [made["decision_id"]]
    verdicts = {one["verdict"] for one in case.get("/v1/decisions", params={"verdict": "GO"}).json()["items"]}
    assert verdicts == {"GO"}
    assert case.get("/v1/decisions", params={"since": "2030-01-01T00:00:00Z"}).json()["items"] == []
    everything = case.get("/v1/decisions", params={"until": "2030-01-01T00:00:00Z", "limit": 500}).json()["items"]
    assert len(everything) == len(case.get("/v1/decisions", params={"limit": 500}).json()["items"])


def test_an_explanation_says_why_and_what_would_change_it(case):
    made = case.decide("FULL")
    found = case.get(f"/v1/decisions/{made['decision_id']}/explanation").json()
    assert found["verdict"] == "NO_GO"
    assert "97" in found["reasons"][0]
    assert found["changes"]


# --- reviews ---------------------------------------------------------------------------------------------------------


def settle(criterion="contamination"):
    return {
        "action": "settle",
        "reason_code": "debris",
        "reason": "Debris, looked at again.",
        "settles": [{"criterion": criterion, "layer": None, "outcome": "met"}],
    }


def test_a_reviewer_settles_a_doubt_and_the_new_record_supersedes(case):
    held = case.decide("STACK-doubt")
    answer = case.post(f"/v1/decisions/{held['decision_id']}/reviews", "reviewer", settle())
    record = answer.json()
    assert (answer.status_code, record["verdict"], record["supersedes"]) == (201, "GO", held["decision_id"])
    assert record["review"]["reviewer"] == "reviewer"
    listed = case.get("/v1/reviews", params={"decision_id": held["decision_id"]}).json()["items"]
    assert [one["superseded_by"] for one in listed] == [record["decision_id"]]


def test_a_review_cannot_settle_what_does_not_wait_for_a_person(case):
    full = case.decide("FULL")
    answer = case.post(f"/v1/decisions/{full['decision_id']}/reviews", "reviewer", settle("confluency-window"))
    assert answer.status_code == 422
    assert "confluency-window" in answer.json()["detail"]


def test_a_review_keeps_what_the_caller_believed(case):
    wrong = case.decide("STACK-doubt", vessel_type="t-75")
    answer = case.post(f"/v1/decisions/{wrong['decision_id']}/reviews", "reviewer", settle())
    assert answer.json()["verdict"] == "NO_GO"


def test_a_rejection_stands_over_further_requests_until_a_person_lifts_it(tmp_path):
    with a_service(tmp_path) as case:
        case.with_run("A", "V-doubt", 80.0)
        first = case.decide("V-doubt")
        reject = {"action": "reject", "reason_code": "smell", "reason": "Turbid medium."}
        rejected = case.post(f"/v1/decisions/{first['decision_id']}/reviews", "reviewer", reject).json()
        assert rejected["verdict"] == "NO_GO"
        again = case.decide("V-doubt")
        assert again["verdict"] == "NO_GO"
        assert "Turbid medium." in json.dumps(again["criteria"])
        lifted = case.post(f"/v1/decisions/{again['decision_id']}/reviews", "approver", settle()).json()
        assert lifted["verdict"] == "GO"


def test_a_superseded_decision_is_not_reviewed(case):
    first = case.decide("STACK-doubt")
    path = f"/v1/decisions/{first['decision_id']}/reviews"
    assert case.post(path, "reviewer", settle()).status_code == 201
    assert case.post(path, "reviewer", settle()).status_code == 409


# --- signatures ------------------------------------------------------------------------------------------------------


def sign(record, password=PASSWORD, **changes):
    return {"password": password, "record_sha256": record["record_sha256"], "meaning": "approval"} | changes


def test_a_signature_names_who_when_and_why_and_shows_in_the_record(case):
    record = case.decide("READY")
    path = f"/v1/decisions/{record['decision_id']}"
    answer = case.post(f"{path}/signatures", "approver", sign(record))
    made = answer.json()
    assert (answer.status_code, made["printed_name"], made["meaning"]) == (201, "Approver Person", "approval")
    assert made["is_complete"]
    signed = case.get(path).json()
    assert signed["signature"] == {"name": "Approver Person", "time": made["signed_at"], "meaning": "approval"}
    assert check_record(signed) == ()
    assert case.get(f"{path}/signatures").json()["items"] == [made]


def test_two_signatures_are_of_two_people_and_the_record_shows_them_when_complete(tmp_path):
    with a_service(tmp_path, n_signatures=2) as case:
        case.with_run("A", "V", 80.0)
        record = case.decide("V")
        path = f"/v1/decisions/{record['decision_id']}"
        assert not case.post(f"{path}/signatures", "reviewer", sign(record)).json()["is_complete"]
        assert case.get(path).json()["signature"] is None
        assert case.post(f"{path}/signatures", "reviewer", sign(record)).status_code == 409
        assert case.post(f"{path}/signatures", "approver", sign(record)).json()["is_complete"]
        assert case.get(path).json()["signature"]["name"] == "Approver Person"


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"password": "not my password"}, 401), ({"record_sha256": "b" * 64}, 409), ({"meaning": "because"}, 409)],
    ids=["wrong password", "another record", "no known meaning"],
)
def test_a_signature_is_refused(case, changes, status):
    record = case.decide("READY")
    answer = case.post(f"/v1/decisions/{record['decision_id']}/signatures", "approver", sign(record) | changes)
    assert answer.status_code == status
    assert case.get(f"/v1/decisions/{record['decision_id']}").json()["signature"] is None


# --- idempotency -----------------------------------------------------------------------------------------------------


def test_a_repeated_request_gets_the_same_answer_and_is_done_once(case):
    body = ask("READY", supervisory_task_id="once")
    first = case.post("/v1/decisions", "mes", body, Idempotency_Key="k-1")
    second = case.post("/v1/decisions", "mes", body, Idempotency_Key="k-1")
    assert (second.status_code, second.text) == (first.status_code, first.text)
    assert second.headers["Location"] == first.headers["Location"]
    assert ("Idempotency-Replayed" in first.headers, second.headers["Idempotency-Replayed"]) == (False, "true")
    made = [one for one in case.audited(what="decide") if one["target_id"] == first.json()["decision_id"]]
    assert len(made) == 1


def test_a_key_with_another_request_is_refused(case):
    case.post("/v1/decisions", "mes", ask("READY"), Idempotency_Key="k-2")
    answer = case.post("/v1/decisions", "mes", ask("FULL"), Idempotency_Key="k-2")
    assert answer.status_code == 422
    assert answer.json()["type"].endswith("idempotency-key-reused")


def test_keys_of_two_callers_do_not_meet(case):
    first = case.post("/v1/decisions", "mes", ask("READY"), Idempotency_Key="k-3")
    other = case.post("/v1/decisions", "operator", ask("READY"), Idempotency_Key="k-3")
    assert other.status_code == 201
    assert other.json()["decision_id"] != first.json()["decision_id"]


def test_a_refused_request_may_be_repeated_with_the_same_key(case):
    path = write_run(case.folder / "images" / "later", "LATER", 80.0)
    body = ask("LATER")
    assert case.post("/v1/decisions", "mes", body, Idempotency_Key="k-4").status_code == 404
    case.post("/v1/runs", "robot", {"path": str(path)})
    assert case.post("/v1/decisions", "mes", body, Idempotency_Key="k-4").status_code == 201


def test_a_repeated_review_gets_its_answer_though_the_decision_is_superseded_by_then(case):
    held = case.decide("STACK-doubt")
    path = f"/v1/decisions/{held['decision_id']}/reviews"
    first = case.post(path, "reviewer", settle(), Idempotency_Key="k-6")
    second = case.post(path, "reviewer", settle(), Idempotency_Key="k-6")
    assert (first.status_code, second.status_code, second.text) == (201, 201, first.text)


def test_the_secret_of_a_key_is_not_given_twice(case):
    body = {"name": "LIMS", "scopes": ["read"]}
    first = case.post("/v1/keys", "admin", body, Idempotency_Key="k-5").json()
    second = case.post("/v1/keys", "admin", body, Idempotency_Key="k-5").json()
    assert first["token"].startswith("mv_")
    assert second == first | {"token": None}


def test_decisions_verify_in_the_store(case):
    case.decide("READY")
    found = case.post("/v1/audit/verify", "auditor").json()
    assert found["is_whole"], found["complaints"]
