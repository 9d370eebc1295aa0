"""Webhooks: what is told, to whom, signed, tried again, given up, and never to where it must not go."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import httpx
import pytest

from msc_vision.errors import InvalidArgumentError
from msc_vision.service.addresses import check_url, target_of
from msc_vision.service.settings import Webhooks
from msc_vision.service.webhook_signature import check_signature
from msc_vision.service.webhooks import Deliverer
from service_cases import PASSWORD, a_service

ALL = ["decision.created", "decision.signed", "review.created", "job.finished"]
URL = "https://mes.example/hooks?line=2"


class Receiver(httpx.BaseTransport):
    """Another system: keeps what it gets and answers as told."""

    def __init__(self):
        self.got, self.status, self.error = [], 200, None

    def handle_request(self, request):
        if self.error is not None:
            raise self.error
        self.got.append(request)
        return httpx.Response(self.status, headers={"Location": "https://evil.example/"})

    @property
    def bodies(self):
        return [json.loads(request.content) for request in self.got]


@pytest.fixture
def case(tmp_path):
    with a_service(tmp_path) as found:
        found.with_run("ready", "READY", 80.0)
        found.receiver, found.now = Receiver(), [datetime.now(UTC) + timedelta(minutes=2)]
        found.deliverer = Deliverer(
            found.service.store,
            Webhooks(),
            transport=found.receiver,
            resolved=lambda host, port: ["93.184.216.34"],
            clock=lambda: found.now[0],
        )
        found.service.webhooks._is_stopping.set()  # only the deliverer with the made-up clock works here
        found.service.webhooks.wake()
        yield found


def add(case, events=tuple(ALL), url=URL):
    answer = case.post("/v1/webhooks", "admin", {"url": url, "events": list(events)})
    assert answer.status_code == 201, answer.text
    return answer.json()


def deliveries(case, hook):
    return case.get(f"/v1/webhooks/{hook['webhook_id']}/deliveries", "admin").json()["items"]


def test_a_decision_is_told_signed_and_once(case):
    hook = add(case)
    record = case.decide("READY")
    case.deliverer.deliver_due()
    case.deliverer.deliver_due()
    (request,) = case.receiver.got
    header = request.headers["Msc-Vision-Signature"]
    check_signature(hook["secret"], header, request.content, now_s=case.now[0].timestamp())
    body = json.loads(request.content)
    assert (body["event"], body["data"]["decision_id"]) == ("decision.created", record["decision_id"])
    assert request.headers["Msc-Vision-Delivery"] == body["id"]
    assert deliveries(case, hook)[0]["state"] == "delivered"


def test_the_connection_is_made_to_the_address_that_was_checked(case):
    add(case)
    case.decide("READY")
    case.deliverer.deliver_due()
    (request,) = case.receiver.got
    assert str(request.url) == "https://93.184.216.34/hooks?line=2"
    assert request.headers["Host"] == "mes.example"
    assert request.extensions["sni_hostname"] == "mes.example"


def test_only_events_that_were_asked_for_are_told(case):
    add(case, ["decision.signed"])
    record = case.decide("READY")
    body = {"password": PASSWORD, "record_sha256": record["record_sha256"], "meaning": "approval"}
    case.post(f"/v1/decisions/{record['decision_id']}/signatures", "approver", body)
    case.deliverer.deliver_due()
    assert [(one["event"], one["data"]["printed_name"]) for one in case.receiver.bodies] == [
        ("decision.signed", "Approver Person")
    ]


def test_a_review_tells_of_itself_and_of_its_decision(case):
    add(case)
    record = case.decide("READY")
    hold = {"action": "hold", "reason_code": "late", "reason": "Shift change."}
    case.post(f"/v1/decisions/{record['decision_id']}/reviews", "reviewer", hold)
    case.deliverer.deliver_due()
    events = sorted(one["event"] for one in case.receiver.bodies)
    assert events == ["decision.created", "decision.created", "review.created"]


@pytest.mark.parametrize("trouble", ["500", "302", "gone"])
def test_a_delivery_that_fails_is_tried_again_with_growing_delay_for_a_day(case, trouble):
    """A redirection is no success: it is not followed, as it could lead anywhere."""
    hook = add(case)
    case.decide("READY")
    if trouble == "gone":
        case.receiver.error = httpx.ConnectError("gone")
    else:
        case.receiver.status = int(trouble)
    begun, tries = case.now[0], []
    while deliveries(case, hook)[0]["state"] == "due":
        if case.deliverer.deliver_due():
            tries.append(case.now[0])
        case.now[0] += timedelta(seconds=5 if len(tries) < 3 else 1800)
    delays = [(b - a).total_seconds() for a, b in pairwise(tries)]
    assert delays[0] < delays[1] < delays[2]
    assert max(delays) <= 4 * 3600 + 1800
    assert timedelta(hours=18) < tries[-1] - begun <= timedelta(hours=24.5)
    last = deliveries(case, hook)[0]
    assert (last["state"], last["attempts"]) == ("given up", len(tries))
    assert {"gone": "gone", "500": "answered 500", "302": "answered 302"}[trouble] in last["message"]


def test_a_delivery_that_fails_first_arrives_later_with_the_same_id(case):
    hook = add(case)
    case.decide("READY")
    case.receiver.status = 503
    case.deliverer.deliver_due()
    case.receiver.status = 204
    case.now[0] += timedelta(minutes=1)
    case.deliverer.deliver_due()
    assert len({one["id"] for one in case.receiver.bodies}) == 1
    assert [one["state"] for one in deliveries(case, hook)] == ["delivered"]


def test_a_deactivated_webhook_is_told_nothing_more(case):
    hook = add(case)
    case.decide("READY")
    answer = case.client.delete(f"/v1/webhooks/{hook['webhook_id']}", headers=case.headers("admin"))
    assert answer.json()["deactivated_at"]
    case.decide("READY")
    case.deliverer.deliver_due()
    assert case.receiver.got == []
    assert [one["state"] for one in deliveries(case, hook)] == ["given up"]
    change = case.client.patch(
        f"/v1/webhooks/{hook['webhook_id']}", json={"events": ALL}, headers=case.headers("admin")
    )
    assert change.status_code == 409


def test_a_webhook_is_changed_listed_and_pinged_and_keeps_its_secret_to_itself(case):
    hook = add(case, ["job.finished"])
    path = f"/v1/webhooks/{hook['webhook_id']}"
    changed = case.client.patch(path, json={"events": ["decision.created"]}, headers=case.headers("admin")).json()
    assert changed["events"] == ["decision.created"]
    listed = case.get("/v1/webhooks", "admin").json()["items"]
    assert listed == [changed]
    assert hook["secret"] not in json.dumps([listed, case.get(path, "admin").json(), case.audited()])
    assert case.post(f"{path}/ping", "admin").status_code == 202
    case.deliverer.deliver_due()
    assert [one["event"] for one in case.receiver.bodies] == ["ping"]


def test_a_name_that_leads_into_the_own_network_later_is_not_followed(case):
    hook = add(case)
    case.decide("READY")
    case.deliverer._resolved = lambda host, port: ["93.184.216.34", "169.254.169.254"]
    case.deliverer.deliver_due()
    assert case.receiver.got == []
    assert "169.254.169.254" in deliveries(case, hook)[0]["message"]


def test_a_receiver_that_does_not_answer_holds_up_nobody_else(case):
    """Many deliveries to one that is down, one to another: the other gets its own at once."""
    broken = add(case, ["decision.created"], "https://down.example/x")
    for _ in range(15):
        case.decide("READY")
    works = add(case, ["decision.created"])
    case.decide("READY")

    def answer(request):
        if request.headers["Host"] == "down.example":
            raise httpx.ConnectTimeout("down")
        return httpx.Response(200)

    case.receiver.handle_request = answer
    case.deliverer._client = httpx.Client(transport=httpx.MockTransport(answer))
    case.deliverer.deliver_due()
    assert [one["state"] for one in deliveries(case, works)] == ["delivered"]
    assert sorted(one["attempts"] for one in deliveries(case, broken)) == [0] * 15 + [1]


def test_a_delivery_taken_by_another_process_is_left_to_it(case):
    hook = add(case)
    case.decide("READY")
    other = Deliverer(
        case.service.store, Webhooks(), transport=case.receiver, resolved=lambda *_: ["93.184.216.34"],
        clock=lambda: case.now[0],
    )  # fmt: skip
    claims = []
    real = case.deliverer._claim
    case.deliverer._claim = lambda one: claims.append(other.deliver_due()) or real(one)
    case.deliverer.deliver_due()
    assert len(case.receiver.got) == 1
    assert claims == [1]
    assert deliveries(case, hook)[0]["attempts"] == 1


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        (Webhooks(allow_http=True), "http://mes.example/x"),
        (Webhooks(allow_private=True), "https://10.0.0.5/x"),
        (Webhooks(allow_private=True, allow_http=True), "http://localhost:9000/x"),
    ],
)
def test_a_site_may_allow_more(settings, url):
    assert check_url(url, settings).geturl() == url
    with pytest.raises(InvalidArgumentError):
        check_url(url, Webhooks())


def test_the_address_of_cloud_credentials_is_never_allowed():
    with pytest.raises(InvalidArgumentError, match="no address that webhooks are ever sent to"):
        target_of("https://mes.example/", Webhooks(allow_private=True), lambda *_: ["169.254.169.254"])
