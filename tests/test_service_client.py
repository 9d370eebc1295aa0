"""The client: what a MES writes, what happens when the service is busy, gone or refuses."""

import subprocess
import sys

import httpx
import pytest

from msc_vision.decision import check_record
from msc_vision.errors import InvalidDataError, OutputError
from msc_vision.service.client import Client, ServiceError
from msc_vision.service.webhook_signature import check_signature, signature_header
from service_cases import PASSWORD, RULES, a_service, write_run


class ToApplication(httpx.BaseTransport):
    """Lets a client talk to the application of a case; may lose answers or be busy before that."""

    def __init__(self, case, before=()):
        self.case, self.before, self.keys = case, list(before), []

    def handle_request(self, request):
        self.keys.append(request.headers.get("Idempotency-Key"))
        trouble = self.before.pop(0) if self.before else None
        if trouble == "refused":
            raise httpx.ConnectError("refused")
        if isinstance(trouble, httpx.Response):
            return trouble
        headers = {name: value for name, value in request.headers.items() if name not in ("host", "content-length")}
        answer = self.case.client.request(request.method, str(request.url), headers=headers, content=request.read())
        if trouble == "lost":
            raise httpx.ReadError("lost")
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    with a_service(tmp_path_factory.mktemp("service")) as found:
        found.with_run("ready", "READY", 80.0)
        found.with_run("doubt", "STACK-doubt", 80.0)
        yield found


def client_of(case, who="mes", before=(), **options):
    transport = ToApplication(case, before)
    waits = []
    clock = [0.0]

    def sleep(seconds):
        waits.append(seconds)
        clock[0] += seconds

    url = "http://testserver"
    made = Client(url, case.tokens[who], transport=transport, sleep=sleep, clock=lambda: clock[0], **options)
    made.transport, made.waits = transport, waits
    return made


BUSY = httpx.Response(503, headers={"Retry-After": "7"}, json={})


def test_a_decision_is_one_line(case):
    with client_of(case) as service:
        record = service.decide("READY", RULES, supervisory_job_id="MES-1")
        assert (record["verdict"], check_record(record)) == ("GO", ())
        assert service.decision(record["decision_id"]) == record
        assert service.explanation(record["decision_id"])["action"] == "harvest"


def test_a_busy_service_is_asked_again_when_it_said(case):
    service = client_of(case, before=[BUSY, BUSY])
    assert service.decide("READY", RULES)["verdict"] == "GO"
    assert service.waits == [7.0, 14.0]
    assert len(set(service.transport.keys)) == 1


def test_a_lost_answer_is_asked_for_again_and_the_decision_is_made_once(case):
    before = len(case.get("/v1/decisions", params={"limit": 500}).json()["items"])
    service = client_of(case, before=["lost", "refused"])
    record = service.decide("READY", RULES)
    after = case.get("/v1/decisions", params={"limit": 500}).json()["items"]
    assert len(after) == before + 1
    assert after[0]["decision_id"] == record["decision_id"]


def test_patience_has_an_end(case):
    service = client_of(case, before=["refused"] * 50, patience_s=10.0)
    with pytest.raises(OutputError, match="cannot be reached"):
        service.decide("READY", RULES)
    assert sum(service.waits) <= 10


def test_a_refusal_says_what_the_service_said(case):
    with pytest.raises(ServiceError, match="NOBODY") as caught:
        client_of(case).decide("NOBODY", RULES)
    assert (caught.value.status, caught.value.kind) == (404, "not-found")
    assert client_of(case).waits == []


def test_something_else_that_answers_is_noticed(case):
    page = httpx.Response(404, text="<h1>nginx</h1>", request=httpx.Request("GET", "http://testserver"))
    with pytest.raises(InvalidDataError, match="is it this service"):
        client_of(case, before=[page]).decision("0" * 32)


def test_lists_go_over_all_pages(case):
    service = client_of(case)
    for _ in range(7):
        service.decide("READY", RULES)
    found = [one["decision_id"] for one in service.decisions(limit=3, vessel_id="READY")]
    everything = case.get("/v1/decisions", params={"limit": 500, "vessel_id": "READY"}).json()["items"]
    assert found == [one["decision_id"] for one in everything]
    assert [one["vessel_id"] for one in service.vessels()] == ["READY", "STACK-doubt"]
    assert len(list(service.runs())) == 2


def test_a_reviewer_settles_and_an_approver_signs(case):
    held = client_of(case).decide("STACK-doubt", RULES)
    settles = [{"criterion": "contamination", "layer": None, "outcome": "met"}]
    record = client_of(case, "reviewer").review(
        held["decision_id"], "settle", "debris", "Looked again.", settles=settles
    )
    made = client_of(case, "approver").sign(record, PASSWORD, "approval")
    assert made["record_sha256"] == record["record_sha256"]


def test_a_person_logs_in_works_and_logs_out(case):
    service, who = Client.log_in("http://testserver", "reviewer", PASSWORD, transport=ToApplication(case))
    assert (who["username"], who["printed_name"], who["roles"]) == ("reviewer", "Reviewer Person", ["reviewer"])
    assert "token" not in who
    run_id = next(service.runs())["run_id"]
    assert service.run(run_id)["run_id"] == run_id
    assert RULES in {one["id"] for one in service.rule_sets()}
    record = service.decide("READY", RULES)
    assert service.signatures(record["decision_id"]) == []
    used = service._http.headers["Authorization"]
    service.log_out()
    with pytest.raises(ServiceError, match="401"):
        Client("http://testserver", used.removeprefix("Bearer "), transport=ToApplication(case)).rule_sets()


def test_a_wrong_password_is_refused_and_not_tried_again(case):
    transport = ToApplication(case)
    with pytest.raises(ServiceError) as caught:
        Client.log_in("http://testserver", "operator", "not the pass phrase", transport=transport)
    assert (caught.value.kind, len(transport.keys)) == ("not-authenticated", 1)


def test_a_run_is_uploaded_from_disk(case, tmp_path):
    import shutil

    write_run(tmp_path / "up" / "run", "UPLOADED")
    archive = shutil.make_archive(str(tmp_path / "run"), "zip", tmp_path / "up")
    from pathlib import Path

    with client_of(case, "robot") as service:
        run = service.upload(Path(archive))
        assert [one["vessel_id"] for one in run["vessels"]] == ["UPLOADED"]
        assert service.upload(Path(archive))["run_id"] == run["run_id"]
    folders = list((case.folder / "runs" / "uploads").iterdir())
    assert len(folders) == 1


def test_a_job_is_waited_for(case):
    def job(state):
        return httpx.Response(200, json={"job_id": "j1", "state": state})

    service = client_of(case, before=[job("queued"), job("running"), job("done")])
    assert service.wait("j1")["state"] == "done"
    assert service.waits == [2.0, 2.0]
    with pytest.raises(OutputError, match="it goes on"):
        client_of(case, before=[job("running")] * 9).wait("j1", timeout_s=5)


def test_the_client_needs_no_web_framework_and_no_database():
    code = (
        "import sys, msc_vision.service.client\n"
        "assert {'fastapi', 'starlette', 'sqlalchemy', 'uvicorn'}.isdisjoint(sys.modules), 'too much'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# --- what a receiver of webhooks checks ------------------------------------------------------------------------------


def test_a_signature_is_checked_over_time_and_body():
    header = signature_header("secret", b"body", 1000)
    check_signature("secret", header, b"body", now_s=1100)


@pytest.mark.parametrize(
    ("secret", "header", "body", "now_s", "said"),
    [
        ("other", None, b"body", 1000, "does not fit"),
        ("secret", None, b"Body", 1000, "does not fit"),
        ("secret", None, b"body", 1301, "five minutes"),
        ("secret", None, b"body", 699, "five minutes"),
        ("secret", "t=999,v1=", b"body", 1000, "not t="),
        ("secret", "v1=abc", b"body", 1000, "not t="),
        ("secret", "", b"body", 1000, "not t="),
        ("secret", "t=1000,v1=ä", b"body", 1000, "does not fit"),
    ],
)
def test_a_delivery_that_is_not_ours_is_named(secret, header, body, now_s, said):
    header = signature_header("secret", b"body", 1000) if header is None else header
    with pytest.raises(InvalidDataError, match=said):
        check_signature(secret, header, body, now_s=now_s)
