"""The other routes, problems, pages and settings of the service, each by a case that reads as it is used."""

import io
import json
import zipfile

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from decision_cases import rules, window
from msc_vision.decision.rule_file import rule_set_yaml
from msc_vision.errors import InvalidArgumentError, InvalidDataError, MscVisionError, OutputError, UndefinedResultError
from msc_vision.service.cursors import make_cursor, page_of, read_cursor
from msc_vision.service.limits import RateLimit
from msc_vision.service.problems import KINDS, ProblemError, pointer_to, problem_of
from msc_vision.service.settings import load_settings
from msc_vision.service.store import NotFoundError, StoreConflictError, StoreUnavailableError
from service_cases import DRAFT, PASSWORD, RULES, a_service, write_run


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    with a_service(tmp_path_factory.mktemp("service"), metrics_need_scope=True) as found:
        found.with_run("ready", "READY", 80.0)
        yield found


# --- runs ------------------------------------------------------------------------------------------------------------


def test_a_registered_run_is_shown_with_its_vessels(case):
    run = case.get("/v1/runs/run-ready").json()
    (vessel,) = run["vessels"]
    assert (run["registered_by"], vessel["vessel_id"]) == (f"key:{case.keys['robot']}", "READY")
    assert (vessel["confluency_percent"], vessel["confluency_low_percent"], vessel["layers_total"]) == (80.0, 76.0, 3)
    assert (vessel["batch"], vessel["passage"]) == ("L7, passage 4", 4)


def test_a_run_is_registered_once(case):
    answer = case.post("/v1/runs", "robot", {"path": "ready"})
    assert (answer.status_code, answer.json()["run_id"]) == (200, "run-ready")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record | {"state": "running"}, "not finished"),
        (lambda record: record | {"counts": {"fields": 1}}, "changed after it was written"),
        (lambda record: [], "cannot be read"),
    ],
    ids=["unfinished", "altered", "no object"],
)
def test_a_run_that_cannot_be_relied_on_is_not_registered(case, change, said):
    run = write_run(case.folder / "images" / f"bad-{abs(hash(said))}", "BAD")
    path = run / "run.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    answer = case.post("/v1/runs", "robot", {"path": run.name})
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_the_id_of_a_run_never_means_two_things(case):
    write_run(case.folder / "images" / "copy", "OTHER", 50.0, run_id="run-ready", at="2026-11-23T08:00:00+00:00")
    answer = case.post("/v1/runs", "robot", {"path": "copy"})
    assert answer.status_code == 409
    assert "run-ready" in answer.json()["detail"]


def test_an_uploaded_run_can_be_decided_on(case, tmp_path):
    run = write_run(tmp_path / "run", "SENT", 80.0)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as pack:
        for path in run.iterdir():
            pack.write(path, f"SENT.run/{path.name}")
    headers = case.headers("robot", **{"Content-Type": "application/zip", "Idempotency-Key": "up-1"})
    answers = [case.client.post("/v1/uploads", content=target.getvalue(), headers=headers) for _ in range(2)]
    assert [one.status_code for one in answers] == [201, 201]
    assert answers[0].text == answers[1].text
    assert len(list((case.folder / "runs" / "uploads").iterdir())) == 1
    assert case.decide("SENT")["verdict"] == "GO"


# --- rule sets -------------------------------------------------------------------------------------------------------


def test_rule_sets_of_the_folder_and_those_that_ship_are_listed(case):
    found = {one["id"]: one for one in case.get("/v1/rule-sets").json()["items"]}
    assert (found[RULES]["origin"], found[RULES]["status"]) == ("folder", "approved")
    assert (found["msc-expansion-default"]["origin"], found["msc-expansion-default"]["status"]) == ("shipped", "draft")


def test_a_rule_set_is_added_by_an_approver_and_decided_by_at_once(case):
    case.with_run("loose", "LOOSE", 60.0)
    text = rule_set_yaml(rules(window(50, 99), id="site-b"))
    headers = case.headers("approver", **{"Content-Type": "application/yaml"})
    added = case.client.post("/v1/rule-sets", content=text, headers=headers)
    assert (added.status_code, added.json()["origin"]) == (201, "store")
    assert case.client.post("/v1/rule-sets", content=text, headers=headers).status_code == 200
    assert case.decide("LOOSE", rule_set="site-b")["verdict"] == "GO"
    assert case.get("/v1/rule-sets/site-b@1").json()["sha256"] == added.json()["sha256"]


def test_a_version_of_a_rule_set_never_changes(case):
    first = {"yaml": rule_set_yaml(rules(window(50, 99), id="site-c"))}
    other = {"yaml": rule_set_yaml(rules(window(10, 99), id="site-c"))}
    assert case.post("/v1/rule-sets", "approver", first).status_code == 201
    answer = case.post("/v1/rule-sets", "approver", other)
    assert answer.status_code == 409
    assert "give a new version" in answer.json()["detail"]


def test_a_later_version_is_what_a_bare_id_means(case):
    for version, low in (("1", 50), ("2", 97)):
        text = rule_set_yaml(rules(window(low, 99), id="site-d", version=version))
        assert case.post("/v1/rule-sets", "approver", {"yaml": text}).status_code == 201
    assert case.decide("READY", rule_set="site-d")["verdict"] == "NO_GO"
    assert case.decide("READY", rule_set="site-d@1")["verdict"] == "GO"


def test_everything_wrong_with_a_rule_set_is_said(case):
    wrong = yaml.safe_load(rule_set_yaml(rules()))
    wrong["criteria"][0] |= {"unit": "mm", "colour": "red"}
    found = case.post("/v1/rule-sets/check", "viewer", {"yaml": yaml.safe_dump(wrong)}).json()
    assert not found["is_valid"]
    assert any("colour" in one for one in found["complaints"])
    answer = case.post("/v1/rule-sets", "approver", {"yaml": yaml.safe_dump(wrong)})
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == len(found["complaints"])


def test_rule_sets_are_compared_by_criterion(case):
    found = case.get("/v1/rule-sets/diff", params={"old": RULES, "new": DRAFT}).json()
    assert {"path": "/status", "old": "approved", "new": "draft"} in found["differences"]
    assert not any(one["path"].startswith("/criteria") for one in found["differences"])


# --- vessels ---------------------------------------------------------------------------------------------------------


def test_a_vessel_shows_its_latest_run_and_its_last_decision(case):
    record = case.decide("READY")
    vessel = case.get("/v1/vessels/READY").json()
    assert (vessel["run_id"], vessel["decision"]["decision_id"]) == ("run-ready", record["decision_id"])
    listed = case.get("/v1/vessels", params={"limit": 500}).json()["items"]
    assert vessel in listed
    assert [one["vessel_id"] for one in listed] == sorted(one["vessel_id"] for one in listed)


def test_the_timeline_tells_what_happened_the_newest_first(tmp_path):
    with a_service(tmp_path) as case:
        case.with_run("A", "V", 80.0)
        record = case.decide("V")
        body = {"password": PASSWORD, "record_sha256": record["record_sha256"], "meaning": "approval"}
        case.post(f"/v1/decisions/{record['decision_id']}/signatures", "approver", body)
        hold = {"action": "hold", "reason_code": "late", "reason": "Shift change."}
        case.post(f"/v1/decisions/{record['decision_id']}/reviews", "reviewer", hold)
        found = case.get("/v1/vessels/V/timeline").json()["items"]
        assert [one["kind"] for one in found] == ["decision", "review", "signature", "decision", "run"]
        assert found[1]["summary"] == "hold: Shift change."
        first = case.get("/v1/vessels/V/timeline", params={"limit": 2}).json()
        rest = case.get("/v1/vessels/V/timeline", params={"cursor": first["next"]}).json()
        assert first["items"] + rest["items"] == found


def test_what_nobody_knows_is_not_there(case):
    for path in ("vessels/NO", "vessels/NO/timeline", "vessels/NO/forecast", "runs/no", "jobs/no", "rule-sets/no"):
        assert case.get(f"/v1/{path}").status_code == 404, path
    for path in (f"decisions/{'0' * 32}", f"decisions/{'0' * 32}/signatures", f"decisions/{'0' * 32}/replay"):
        assert case.get(f"/v1/{path}").status_code == 404, path
    for path in ("people/nobody.here", "keys/00", "webhooks/no"):
        assert case.get(f"/v1/{path}", "admin").status_code == 404, path


# --- people and keys -------------------------------------------------------------------------------------------------


def test_an_admin_adds_changes_and_shuts_out_a_person(case):
    body = {"username": "m.rossi", "printed_name": "Maria Rossi", "roles": ["viewer"], "password": PASSWORD}
    assert case.post("/v1/people", "admin", body).status_code == 201
    assert case.post("/v1/people", "admin", body).status_code == 409
    login = {"username": "m.rossi", "password": PASSWORD}
    token = case.client.post("/v1/login", json=login).json()["token"]
    change = {"roles": ["reviewer"], "why": "trained"}
    changed = case.client.patch("/v1/people/m.rossi", json=change, headers=case.headers("admin")).json()
    assert changed["roles"] == ["reviewer"]
    mine = {"Authorization": f"Bearer {token}"}
    assert "sign" in case.client.get("/v1/me", headers=mine).json()["scopes"]
    assert case.post("/v1/people/m.rossi/deactivate", "admin", {"why": "left"}).json()["deactivated_at"]
    assert case.client.get("/v1/me", headers=mine).status_code == 401
    assert case.client.post("/v1/login", json=login).status_code == 401


def test_a_person_changes_their_password_and_is_logged_out(case):
    case.service.access.add_person("changing", "Changing Person", ["viewer"], PASSWORD, by="test")
    token = case.client.post("/v1/login", json={"username": "changing", "password": PASSWORD}).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    body = {"old_password": PASSWORD, "new_password": "another long pass phrase"}
    assert case.client.post("/v1/me/password", json=body, headers=headers).status_code == 204
    assert case.client.get("/v1/me", headers=headers).status_code == 401
    again = {"username": "changing", "password": "another long pass phrase"}
    assert case.client.post("/v1/login", json=again).status_code == 201


def test_a_rotated_key_works_for_the_overlap(case):
    made = case.post("/v1/keys", "admin", {"name": "LIMS", "scopes": ["read"]}).json()
    new = case.post(f"/v1/keys/{made['key_id']}/rotate", "admin", {"overlap_h": 1.0}).json()
    for token in (made["token"], new["token"]):
        assert case.client.get("/v1/me", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert new["rotated_from"] == made["key_id"]
    shown = case.get(f"/v1/keys/{new['key_id']}", "admin").json()
    assert "token" not in shown
    assert new["token"] not in json.dumps(case.get("/v1/keys", "admin").json())


def test_passwords_and_secrets_are_in_no_table_as_they_are(case):
    made = case.post("/v1/keys", "admin", {"name": "x", "scopes": ["read"]}, Idempotency_Key="secret-1").json()
    content = b"".join(path.read_bytes() for path in case.folder.glob("store.db*"))
    assert PASSWORD.encode() not in content
    assert made["token"].split("_", 2)[2].encode() not in content


# --- problems --------------------------------------------------------------------------------------------------------


def test_all_that_is_wrong_is_said_with_where(case):
    answer = case.post("/v1/decisions", "mes", {"rule_set": "Not A Name", "passage": -1, "colour": "red"})
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "instance", "request_id", "errors"}
    assert (problem["status"], problem["instance"]) == (422, "/v1/decisions")
    pointers = {one["pointer"] for one in problem["errors"]}
    assert pointers == {"#/vessel_id", "#/rule_set", "#/passage", "#/colour"}


def test_a_request_keeps_its_id(case):
    answer = case.client.get("/v1/nothing", headers=case.headers("viewer", **{"X-Request-ID": "mes-17"}))
    assert (answer.headers["X-Request-ID"], answer.json()["request_id"]) == ("mes-17", "mes-17")
    odd = case.client.get("/v1/nothing", headers=case.headers("viewer", **{"X-Request-ID": "a b\tc"}))
    assert odd.headers["X-Request-ID"] != "a b\tc"


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/v1/nothing", {}, 404),
        ("DELETE", "/v1/decisions", {}, 405),
        ("GET", "/v1/decisions", {"Accept": "text/html"}, 406),
        ("GET", "/v1/decisions?limit=0", {}, 422),
        ("GET", "/v1/decisions?limit=many", {}, 422),
        ("GET", "/v1/decisions?cursor=abc", {}, 422),
        ("GET", "/v1/decisions?since=yesterday", {}, 422),
        ("GET", "/v1/decisions?since=2026-01-01T00:00:00", {}, 422),
        ("GET", "/v1/decisions?since=0001-01-01T00:00:00%2B14:00", {}, 422),
    ],
)
def test_every_refusal_is_a_problem(case, method, path, headers, status):
    answer = case.client.request(method, path, headers=case.headers("viewer", **headers))
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert status != 405 or "GET" in answer.headers["Allow"]


def test_an_unknown_caller_learns_nothing_of_what_exists(case):
    for path in ("/v1/runs/run-ready", "/v1/runs/none", "/v1/nothing"):
        answer = case.client.get(path)
        assert answer.status_code == 401
        assert answer.json()["detail"] == case.client.get("/v1/me").json()["detail"]
    admin_only = [case.get(path, "viewer") for path in ("/v1/people/viewer", "/v1/people/nobody.here")]
    assert [one.status_code for one in admin_only] == [403, 403]


@pytest.mark.parametrize(
    ("error", "status", "retries"),
    [
        (InvalidArgumentError("x"), 422, False),
        (InvalidDataError("x"), 422, False),
        (UndefinedResultError("x"), 422, False),
        (OutputError("x"), 503, True),
        (StoreUnavailableError("x", 3.2), 503, True),
        (StoreConflictError("x"), 409, False),
        (NotFoundError("x"), 404, False),
        (MscVisionError("x"), 500, False),
    ],
)
def test_each_error_has_its_status(error, status, retries):
    problem = problem_of(error)
    assert (problem.status, problem.retry_after_s is not None) == (status, retries)
    assert str(problem) == "x"


def test_kinds_of_problems_have_names_and_statuses_of_errors():
    assert all(400 <= one.status < 600 and one.title for one in KINDS.values())
    assert pointer_to(("body", "a/b", 0, "c~d")) == "#/a~1b/0/c~0d"
    assert pointer_to(("query", "limit")) == "query limit"


def test_an_error_of_the_program_tells_nothing_of_itself(tmp_path):
    def broken(run, vessel_id=None, **options):
        raise RuntimeError("secret of the program")

    with a_service(tmp_path, read_evidence=broken) as case:
        write_run(tmp_path / "images" / "A", "V")
        answer = case.post("/v1/runs", "robot", {"path": "A"})
        assert answer.status_code == 500
        assert "secret" not in answer.text
        assert answer.json()["request_id"] == answer.headers["X-Request-ID"]


def test_a_store_that_is_away_is_503_and_comes_back(case, monkeypatch):
    def gone(*_):
        raise StoreUnavailableError("The database is unavailable: it is locked.", 4.0)

    with monkeypatch.context() as patch:
        patch.setattr(type(case.service.store), "write", gone)
        answer = case.post("/v1/decisions", "mes", {"vessel_id": "READY", "rule_set": RULES})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "4")
    assert case.decide("READY")["verdict"] == "GO"


# --- pages -----------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(1, 5), st.lists(st.integers(0, 4), max_size=12)
)
def test_pages_show_each_row_once_whatever_is_added_meanwhile(first, n_items, added):
    """Rows are numbered as they are added; the oracle is the list as it was when the first page was asked for."""
    rows = list(range(len(first)))
    expected = list(reversed(rows))
    seen, cursor = [], None
    additions = iter(added)
    while True:
        before = None if cursor is None else read_cursor(cursor, {"vessel_id": "V"}, int)
        found = [{"seq": n} for n in reversed(rows) if before is None or n < before][: n_items + 1]
        page = page_of(found, n_items, "seq", {"vessel_id": "V"})
        seen += [one["seq"] for one in page.items]
        cursor = page.next
        rows += range(len(rows), len(rows) + next(additions, 0))
        if cursor is None:
            break
    assert seen == expected


def test_pages_of_decisions_go_on_while_decisions_are_made(tmp_path):
    with a_service(tmp_path) as case:
        case.with_run("A", "V", 80.0)
        made = [case.decide("V")["decision_id"] for _ in range(7)]
        seen, cursor = [], {}
        while cursor is not None:
            page = case.get("/v1/decisions", params={"limit": 3, "vessel_id": "V", **cursor}).json()
            seen += [one["decision_id"] for one in page["items"]]
            cursor = None if page["next"] is None else {"cursor": page["next"]}
            case.decide("V")
        assert seen == made[::-1]


@given(st.text(max_size=60))
def test_no_text_but_ours_is_a_cursor(text):
    for kind in (int, str):
        try:
            read_cursor(text, {}, kind)
        except ProblemError as err:
            assert err.kind == "not-valid"
        else:
            assert text == make_cursor(read_cursor(text, {}, kind), {})


def test_a_cursor_belongs_to_its_filters():
    with pytest.raises(ProblemError, match="same filters"):
        read_cursor(make_cursor(3, {"vessel_id": "A"}), {"vessel_id": "B"}, int)


# --- rates, settings, figures ----------------------------------------------------------------------------------------


def test_a_bucket_fills_again():
    now = [0.0]
    limit = RateLimit(per_s=2.0, burst=2, clock=lambda: now[0])
    assert [limit.wait_s("a") for _ in range(3)] == [0.0, 0.0, 0.5]
    assert limit.wait_s("b") == 0.0
    now[0] = 0.5
    assert [limit.wait_s("a"), limit.wait_s("a")] == [0.0, 0.5]


def test_settings_are_read_from_yaml_and_say_all_that_is_wrong(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text("purpose: trial\njobs: {workers: 3}\n")
    found = load_settings(path, {"n_signatures": 2})
    assert (found.purpose, found.jobs.workers, found.n_signatures) == ("trial", 3, 2)
    assert load_settings(None).runs_folder.is_absolute()
    path.write_text("purpose: fun\ncolour: red\nlimits: {body_bytes: -1}\n")
    with pytest.raises(InvalidArgumentError, match=r"purpose.*body_bytes.*colour|colour|purpose") as caught:
        load_settings(path)
    assert all(word in str(caught.value) for word in ("purpose", "colour", "limits.body_bytes"))
    path.write_text("- a list")
    with pytest.raises(InvalidArgumentError, match="keys and values"):
        load_settings(path)


def test_health_needs_no_credentials_and_figures_do(case):
    assert case.client.get("/health/live").json() == {"status": "live"}
    assert case.client.get("/health/ready").json()["database"] == "sqlite"
    assert case.client.get("/metrics").status_code == 401
    case.decide("READY")
    text = case.get("/metrics").text
    assert 'msc_vision_decisions_total{verdict="GO"}' in text
    assert 'route="/v1/decisions"' in text


def test_figures_may_be_open_to_this_machine(tmp_path):
    with a_service(tmp_path, metrics_need_scope=False) as case:
        assert case.client.get("/metrics").status_code == 401  # the test's client is no address of this machine


def test_the_description_has_records_examples_and_problems(case):
    content = case.client.get("/v1/openapi.json").json()
    ask = content["paths"]["/v1/decisions"]["post"]
    assert ask["summary"] == "Ask for a decision"
    assert set(ask["responses"]) >= {"200", "201", "401", "403", "404", "409", "413", "415", "422", "429", "503"}
    assert ask["responses"]["422"]["content"].keys() == {"application/problem+json"}
    assert content["components"]["schemas"]["DecisionAsk"]["examples"]
    assert "HTTPValidationError" not in content["components"]["schemas"]
    record = case.decide("READY")
    schema = case.client.get("/v1/schemas/decision").json()
    Draft202012Validator(schema).validate(record)


def test_answers_carry_headers_that_keep_browsers_from_harm(case):
    headers = case.get("/v1/me").headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert "server" not in headers


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_does_not_open_the_service_to_the_network_in_the_clear(tmp_path):
    from typer.testing import CliRunner

    from msc_vision.cli import app

    def serve(*arguments):
        url = f"sqlite:///{tmp_path / 'none.db'}"
        return CliRunner().invoke(app, ["serve", "--database", url, *arguments], prog_name="msc-vision")

    for arguments in (["--host", "0.0.0.0"], ["--host", "::"], ["--host", "mes.example"]):
        result = serve(*arguments)
        assert result.exit_code == 2
        assert "--tls-cert and --tls-key, or --behind-proxy" in result.stderr
    assert "certificate and its key" in serve("--tls-cert", "x").stderr
    assert "store init" in serve("--host", "0.0.0.0", "--behind-proxy").stderr
