"""What an attacker tries: each is refused, gives nothing away, and stands in the audit log."""

import io
import json
import os
import random
import socket
import stat
import struct
import threading
import time
import zipfile

import pytest
import uvicorn

from msc_vision.service.app import create_app
from msc_vision.service.limits import Refusal, RefusalLog
from msc_vision.service.wire import bounded_http
from service_cases import DRAFT, PASSWORD, RULES, a_service, write_run


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    limits = {"body_bytes": 20_000, "upload_bytes": 300_000, "unpacked_bytes": 3_000_000, "unpacked_files": 50}
    more = {"anonymous_burst": 10_000, "request_burst": 100_000, "noted_refusals_per_min": 100_000}
    with a_service(folder, limits=limits | more) as found:
        write_run(folder / "elsewhere" / "secret", "SECRET")
        found.with_run("ready", "READY", 80.0)
        found.with_run("doubt", "STACK-doubt", 80.0)
        yield found


def refused(case, answer, status, kind):
    """Check an answer: a problem of some kind, with its request in the audit log, and nothing of the server in it."""
    assert answer.status_code == status, answer.text
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"urn:msc-vision:problem:{kind}"
    assert "Traceback" not in answer.text
    noted = [one for one in case.audited() if problem["request_id"] in (one["why"] or "")]
    assert noted or kind in OF_THE_STORE, "not in the audit log"
    return problem


OF_THE_STORE = {"not-authenticated", "not-allowed", "signature-refused", "too-many-requests"}
"""Store and access note these themselves, without the id of a request; `noted` looks for them."""


def noted(case, **wanted):
    """Return whether the audit log has a refusal of access."""
    return bool(case.audited(**wanted))


# --- paths -----------------------------------------------------------------------------------------------------------

OUTSIDE = [
    "../elsewhere/secret",
    "../../../../../../etc",
    "/etc",
    "ready/../../elsewhere/secret",
    "..%2felsewhere%2fsecret",
    "link",
    "ready\u0000/../..",
    "C:\\Windows",
    "\\\\host\\share",
    "~",
    "no such folder",
    ".",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_run_outside_the_roots_is_read(case, path):
    link = case.folder / "images" / "link"
    if not link.is_symlink():
        link.symlink_to(case.folder / "elsewhere" / "secret", target_is_directory=True)
    answer = case.post("/v1/runs", "robot", {"path": path})
    if path == ".":  # inside, but no run: said without its path on disk
        assert answer.status_code == 422
        return
    kind = "not-valid" if "\u0000" in path else "outside-roots"
    problem = refused(case, answer, 422 if kind == "not-valid" else 403, kind)
    assert str(case.folder) not in problem["detail"]


@pytest.mark.parametrize("name", ["folder", "manifest"])
def test_no_job_reads_outside_the_roots(case, name):
    body = {"folder": "ready"} | {name: "../elsewhere/secret/run.json" if name == "manifest" else "../elsewhere"}
    refused(case, case.post("/v1/jobs", "robot", body), 403, "outside-roots")


def test_what_exists_outside_is_not_told_from_what_does_not(case):
    there = case.post("/v1/runs", "robot", {"path": "../elsewhere/secret"}).json()["detail"]
    not_there = case.post("/v1/runs", "robot", {"path": "../elsewhere/nothing"}).json()["detail"]
    assert there.replace("secret", "") == not_there.replace("nothing", "")


def test_a_result_that_is_a_link_is_not_followed(case):
    run = write_run(case.folder / "images" / "linked", "LINKED")
    (run / "vessels.json").unlink()
    (run / "vessels.json").symlink_to("/etc/passwd")
    answer = case.post("/v1/runs", "robot", {"path": "linked"})
    assert answer.status_code == 422
    assert "is a link" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["runs/..%2f..%2fetc%2fpasswd", "%2e%2e/etc/passwd", "runs/a%5cb", "a%00b"])
def test_no_path_of_the_address_leads_elsewhere(case, path):
    refused(case, case.get(f"/v1/{path}"), 400, "malformed")


# --- bodies ----------------------------------------------------------------------------------------------------------


def test_a_large_body_is_refused_before_it_is_read(case):
    answer = case.post("/v1/decisions", "mes", {"vessel_id": "x" * 30_000, "rule_set": RULES})
    refused(case, answer, 413, "too-large")


def test_a_large_body_without_a_length_is_refused_while_it_is_read(case):
    parts = (b'{"vessel_id": "' + b"x" * 5000 for _ in range(10))
    headers = case.headers("mes", **{"Content-Type": "application/json"})
    refused(case, case.client.post("/v1/decisions", content=parts, headers=headers), 413, "too-large")


def test_a_compressed_body_is_refused(case):
    headers = case.headers("mes", **{"Content-Type": "application/json", "Content-Encoding": "gzip"})
    answer = case.client.post("/v1/decisions", content=b"\x1f\x8b\x08", headers=headers)
    refused(case, answer, 415, "unsupported-media-type")


def test_deep_and_broken_json_is_no_error_of_the_program(case):
    headers = case.headers("mes", **{"Content-Type": "application/json"})
    half_a_character = b'{"vessel_id": "\\ud800", "rule_set": "a"}'
    for content in (b"[" * 9000, b'{"a":' * 3000, b"\xff\xfe", half_a_character, b"1" * 6000):
        answer = case.client.post("/v1/decisions", content=content, headers=headers)
        assert answer.status_code in (400, 422), (content[:20], answer.text)


def test_a_form_is_no_json(case):
    headers = case.headers("mes", **{"Content-Type": "application/x-www-form-urlencoded"})
    answer = case.client.post("/v1/decisions", content=b"vessel_id=READY&rule_set=site-a", headers=headers)
    refused(case, answer, 415, "unsupported-media-type")


def test_aliases_of_yaml_do_not_unfold(case):
    lines = ["a0: &a0 [x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 12)]
    headers = case.headers("approver", **{"Content-Type": "application/yaml"})
    answer = case.client.post("/v1/rule-sets", content="\n".join(lines), headers=headers)
    assert "Aliases" in refused(case, answer, 422, "not-valid")["detail"]


def test_a_rule_set_extends_no_file_of_the_server(case):
    text = "id: evil\nextends: /etc/passwd\nversion: '1'\nstatus: draft\ntitle: x\n"
    answer = case.post("/v1/rule-sets", "approver", {"yaml": text})
    assert answer.status_code == 422
    assert "root:" not in answer.text


# --- uploads ---------------------------------------------------------------------------------------------------------


def zip_of(entries):
    """Return a zip of names (or ZipInfo) and contents."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as pack:
        for name, content in entries:
            pack.writestr(name, content)
    return target.getvalue()


def link_to(place):
    entry = zipfile.ZipInfo("run.json")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return [(entry, place)]


def lying_about_size():
    """Return a zip whose directory says 1 byte where 200,000 unfold."""
    content = bytearray(zip_of([("run.json", b"0" * 200_000)]))
    place = content.rfind(b"PK\x01\x02")
    content[place + 24 : place + 28] = struct.pack("<I", 1)
    return bytes(content)


NOISE = random.Random(7).randbytes(20_000)
BAD_ZIPS = {
    "zip slip": zip_of([("../../evil.txt", b"x")]),
    "absolute": zip_of([("/etc/evil", b"x")]),
    "drive": zip_of([("C:/evil", b"x")]),
    "backslash": zip_of([("a\\..\\evil", b"x")]),
    "link": zip_of(link_to("/etc/passwd")),
    "bomb": zip_of([("run.json", b"0" * 2_000_000)]),
    "too much": zip_of([("run.json", NOISE * 160)]),
    "too many files": zip_of([(f"f{n}", b"") for n in range(60)]),
    "twice": zip_of([("run.json", b"{}"), ("RUN.json", b"{}")]),
    "device": zip_of([("nul.txt", b"x")]),
    "no zip": b"PK but no zip",
    "lying": lying_about_size(),
    "no run": zip_of([("a.txt", b"x")]),
}


@pytest.mark.parametrize("name", BAD_ZIPS)
def test_a_harmful_upload_is_refused_and_leaves_nothing(case, name):
    headers = case.headers("robot", **{"Content-Type": "application/zip"})
    uploads = case.folder / "runs" / "uploads"
    uploads.mkdir(parents=True, exist_ok=True)
    before = set(case.folder.rglob("*"))
    answer = case.client.post("/v1/uploads", content=BAD_ZIPS[name], headers=headers)
    refused(case, answer, 422, "unsafe-upload")
    assert {one for one in set(case.folder.rglob("*")) - before if not one.name.startswith("store.db")} == set()


def test_an_upload_that_is_too_large_is_refused_while_it_arrives(case):
    parts = (os.urandom(50_000) for _ in range(10))
    headers = case.headers("robot", **{"Content-Type": "application/zip"})
    refused(case, case.client.post("/v1/uploads", content=parts, headers=headers), 413, "too-large")
    assert list((case.folder / "runs" / "uploads").iterdir()) == []


# --- texts -----------------------------------------------------------------------------------------------------------

SQL = "READY' OR '1'='1'; DROP TABLE decisions; --"


@pytest.mark.parametrize("field", ["vessel_id", "run_id", "batch", "supervisory_job_id", "supervisory_task_id"])
def test_sql_in_a_text_is_a_text(case, field):
    answer = case.post("/v1/decisions", "mes", {"vessel_id": "READY", "rule_set": RULES, field: SQL})
    assert answer.status_code == (404 if field in ("vessel_id", "run_id") else 201)
    assert answer.json().get("verdict") != "GO" or field.startswith("supervisory")
    assert case.get("/v1/decisions").status_code == 200


@pytest.mark.parametrize("field", ["vessel_id", "batch", "run_id"])
def test_sql_in_a_filter_finds_nothing(case, field):
    assert case.get("/v1/decisions", params={field: SQL}).json()["items"] == []


@pytest.mark.parametrize("path", ["decisions/{}", "runs/{}", "jobs/{}", "rule-sets/{}"])
def test_sql_in_an_address_is_not_valid(case, path):
    refused(case, case.get("/v1/" + path.format("x' OR 1=1 --")), 422, "not-valid")


# --- credentials -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    ["Bearer mv_0123456789ab_x", "Bearer mv_" + "x" * 180, "Basic YWRtaW46YWRtaW4=", "Bearer", "Bearer \xff", "mv_a_b"],
    ids=["forged key", "long key", "other scheme", "empty", "no ASCII", "no scheme"],
)
def test_forged_credentials_are_refused(case, value):
    answer = case.client.get("/v1/me", headers={"Authorization": value.encode("latin-1")})
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    refused(case, answer, 401, "not-authenticated")


def test_a_revoked_key_and_an_expired_one_are_refused(case):
    made = case.post("/v1/keys", "admin", {"name": "gone", "scopes": ["read"]}).json()
    headers = {"Authorization": f"Bearer {made['token']}"}
    assert case.client.get("/v1/me", headers=headers).status_code == 200
    case.post(f"/v1/keys/{made['key_id']}/revoke", "admin", {"why": "left the site"})
    refused(case, case.client.get("/v1/me", headers=headers), 401, "not-authenticated")
    assert noted(case, what="refused: use key", who=f"key:{made['key_id']}")
    past = case.post("/v1/keys", "admin", {"name": "old", "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"})
    assert past.status_code == 422


def test_a_session_that_was_ended_cannot_be_replayed(case):
    token = case.client.post("/v1/login", json={"username": "viewer", "password": PASSWORD}).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert case.client.post("/v1/logout", headers=headers).status_code == 204
    refused(case, case.client.get("/v1/me", headers=headers), 401, "not-authenticated")


def test_a_cookie_opens_nothing_here(case):
    """So no other site can make a browser act for somebody (CSRF)."""
    for name in ("session", "msc_vision_session", "token"):
        answer = case.client.post("/v1/decisions", json={}, headers={"Cookie": f"{name}={case.tokens['admin']}"})
        refused(case, answer, 401, "not-authenticated")


def test_guessing_a_password_locks_out_for_a_while(case):
    case.service.access.add_person("guessed", "Guessed Person", ["viewer"], PASSWORD, by="test")
    tries = [case.client.post("/v1/login", json={"username": "guessed", "password": f"no {n}"}) for n in range(8)]
    assert [one.status_code for one in tries].count(401) == 5
    assert int(tries[-1].headers["Retry-After"]) >= 1
    refused(case, tries[-1], 429, "too-many-requests")
    right = case.client.post("/v1/login", json={"username": "guessed", "password": PASSWORD})
    assert right.status_code == 429
    assert noted(case, who="person:guessed", what="refused: log in")


def test_an_unknown_name_is_answered_like_a_wrong_password(case):
    one = case.client.post("/v1/login", json={"username": "nobody.here", "password": "x"}).json()
    other = case.client.post("/v1/login", json={"username": "viewer", "password": "x"}).json()
    assert (one["detail"], one["status"]) == (other["detail"], other["status"])


# --- signatures ------------------------------------------------------------------------------------------------------


def signed(case, record, who="approver", **changes):
    body = {"password": PASSWORD, "record_sha256": record["record_sha256"], "meaning": "approval"} | changes
    return case.post(f"/v1/decisions/{record['decision_id']}/signatures", who, body)


def test_a_signature_is_not_replayed_on_another_record(case):
    first, second = case.decide("READY"), case.decide("STACK-doubt")
    assert signed(case, first).status_code == 201
    refused(case, signed(case, second, record_sha256=first["record_sha256"]), 409, "signature-refused")
    assert noted(case, what="refused: sign decision", target_id=second["decision_id"])


def test_a_signature_with_the_idempotency_key_of_another_record_is_refused(case):
    first, second = case.decide("READY"), case.decide("READY")
    body = {"password": PASSWORD, "record_sha256": first["record_sha256"], "meaning": "approval"}
    path = "/v1/decisions/{}/signatures"
    headers = {"Idempotency_Key": "sign-1"}
    assert case.post(path.format(first["decision_id"]), "approver", body, **headers).status_code == 201
    answer = case.post(path.format(second["decision_id"]), "approver", body, **headers)
    refused(case, answer, 422, "idempotency-key-reused")


def test_a_draft_is_not_signed(case):
    refused(case, signed(case, case.decide("READY", rule_set=DRAFT)), 409, "signature-refused")


def test_a_superseded_decision_is_not_signed(case):
    old = case.decide("READY")
    case.decide("READY", supersedes=old["decision_id"])
    refused(case, signed(case, old), 409, "signature-refused")


def test_nobody_signs_for_somebody_else(case):
    refused(case, signed(case, case.decide("READY"), who="operator"), 403, "not-allowed")
    extra = signed(case, case.decide("READY"), username="approver")
    refused(case, extra, 422, "not-valid")


def test_the_second_signature_is_another_person(tmp_path):
    with a_service(tmp_path, n_signatures=2) as case:
        case.with_run("A", "V", 80.0)
        record = case.decide("V")
        assert signed(case, record).status_code == 201
        refused(case, signed(case, record), 409, "signature-refused")


# --- rights ----------------------------------------------------------------------------------------------------------


def test_nobody_gives_themselves_a_role(case):
    body = {"roles": ["admin"], "why": "please"}
    answer = case.client.patch("/v1/people/operator", json=body, headers=case.headers("operator"))
    refused(case, answer, 403, "not-allowed")
    assert noted(case, who="person:operator", what="refused: PATCH /v1/people/operator")


NEW_PERSON = {"username": "m.new", "printed_name": "M", "roles": ["viewer"], "password": PASSWORD}


@pytest.mark.parametrize(
    ("path", "who", "body"),
    [
        ("/v1/people", "admin", {**NEW_PERSON, "person_id": "p1"}),
        ("/v1/keys", "admin", {"name": "k", "scopes": ["read"], "secret_sha256": "0" * 64}),
        ("/v1/decisions", "mes", {"vessel_id": "READY", "rule_set": RULES, "verdict": "GO"}),
        ("/v1/jobs", "robot", {"folder": "ready", "state": "done", "run_path": "/etc"}),
    ],
    ids=["person", "key", "decision", "job"],
)
def test_fields_that_are_not_the_callers_are_refused(case, path, who, body):
    refused(case, case.post(path, who, body), 422, "not-valid")


# --- addresses and headers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://169.254.169.254/latest/meta-data",
        "https://127.0.0.1/x",
        "https://2130706433/x",
        "https://0x7f.1/x",
        "https://[::1]/x",
        "https://[::ffff:169.254.169.254]/x",
        "https://10.0.0.5/x",
        "https://localhost/x",
        "http://mes.example/x",
        "https://user:pw@mes.example/x",
    ],
)
def test_no_webhook_leads_into_the_own_network(case, url):
    refused(case, case.post("/v1/webhooks", "admin", {"url": url, "events": ["job.finished"]}), 422, "not-valid")


def test_a_foreign_host_name_is_refused(case):
    answer = case.get("/v1/me")
    assert answer.status_code == 200
    answer = case.client.get("/v1/me", headers=case.headers("viewer", Host="evil.example"))
    refused(case, answer, 400, "unknown-host")


def test_large_headers_are_refused(case):
    answer = case.client.get("/v1/me", headers=case.headers("viewer", **{"X-Much": "a" * 20_000}))
    refused(case, answer, 431, "headers-too-large")


def test_requests_beyond_the_rate_wait(tmp_path):
    limits = {"requests_per_s": 1, "request_burst": 3, "anonymous_per_s": 1, "anonymous_burst": 3}
    with a_service(tmp_path, limits=limits) as case:
        answers = [case.get("/v1/me") for _ in range(5)]
        assert [one.status_code for one in answers] == [200, 200, 200, 429, 429]
        assert int(answers[-1].headers["Retry-After"]) >= 1
        unknown = [case.client.get("/v1/me") for _ in range(5)]
        assert [one.status_code for one in unknown] == [401, 401, 401, 429, 429]


def test_a_flood_of_wrong_keys_fills_no_disk(tmp_path):
    limits = {"noted_refusals_per_min": 5, "anonymous_burst": 10_000, "request_burst": 1000}
    with a_service(tmp_path, limits=limits) as case:
        for n in range(40):
            case.client.get("/v1/me", headers={"Authorization": f"Bearer mv_0123456789ab_{n}"})
        assert len(case.audited(what="refused: use key")) == 5
        case.service.refusals.flush()
        (summary,) = case.audited(what="refusals summed up")
        assert "35 x refused: use key" in summary["why"]


def test_a_flood_of_refusals_is_summed_up(tmp_path):
    noted, now = [], [0.0]
    log = RefusalLog(noted.append, per_min=3, clock=lambda: now[0])
    for n in range(1000):
        log.add(Refusal("address:1.2.3.4", "refused: not-valid", f"GET /{n}", "…"))
    now[0] = 61.0
    log.add(Refusal("address:1.2.3.4", "refused: not-valid", "GET /", "…"))
    assert len(noted) == 5
    assert "997 x refused: not-valid" in noted[3].why


# --- on the wire -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def port(case):
    """Serve the application on a socket of its own, as `msc-vision serve` does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    config = uvicorn.Config(
        create_app(case.service), host="127.0.0.1", port=number, http=bounded_http(32_768), lifespan="off",
        log_config=None,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield number
    server.should_exit = True
    thread.join(10)


def on_the_wire(port, content):
    """Send bytes and return the first line of the answer, empty if there is none."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        answer = b""
        try:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                answer += part
        except OSError:  # the server hung up before it had read all
            answer = answer or b"HTTP/1.1 400 hung up"
    return answer.split(b"\r\n")[0].decode()


HOST = b"Host: testserver\r\n"


@pytest.mark.parametrize(
    "content",
    [
        b"POST /v1/login HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"GET /v1/me HTTP/1.1\r\n" + HOST + b"X: a\r\n b: smuggled\x00\r\n\r\n",
        b"GET /v1/me HTTP/1.1\r\nHost: testserver\r\nHost: other\r\n\r\n",
        b"GET /v1/me HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET /v1/\r\nX: y HTTP/1.1\r\n\r\n",
        b"POST /v1/login HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    ],
    ids=["two lengths", "NUL in a header", "two hosts", "endless header", "broken line", "odd encoding"],
)
def test_smuggled_requests_are_refused_by_the_server(port, content):
    assert on_the_wire(port, content).split(" ")[1][0] == "4"


def test_a_length_and_chunks_together_are_one_request(port):
    content = (
        b"POST /v1/login HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: 4\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/me HTTP/1.1\r\n" + HOST + b"\r\n"
    )
    assert on_the_wire(port, content).split(" ")[1][0] == "4"


def test_the_store_is_whole_after_all_that(case):
    found = case.post("/v1/audit/verify", "auditor").json()
    assert found["is_whole"], found["complaints"]
    assert json.dumps(found)
