"""Every route against every role and kind of key: who may do what, as one table that a new route has to enter."""

import pytest

from msc_vision.service.guard import Needs
from service_cases import KEYS, PASSWORD, ROLES, a_service

EVERYBODY = frozenset({*ROLES, *KEYS})
READ = EVERYBODY
SCORE = frozenset({"operator", "reviewer", "approver", "robot"})
DECIDE = frozenset({"operator", "reviewer", "approver", "mes"})
REVIEW = frozenset({"reviewer", "approver"})
RULES = frozenset({"approver"})
ADMIN = frozenset({"admin"})
AUDIT = frozenset({"admin", "auditor"})
ANYONE = frozenset({*EVERYBODY, "nobody"})
"""``nobody`` has no credentials."""

ALLOWED = {
    "POST /v1/login": ANYONE,
    "POST /v1/logout": EVERYBODY,
    "GET /v1/me": EVERYBODY,
    "POST /v1/me/password": EVERYBODY,
    "POST /v1/runs": SCORE,
    "GET /v1/runs": READ,
    "GET /v1/runs/{run_id}": READ,
    "POST /v1/uploads": SCORE,
    "POST /v1/jobs": SCORE,
    "GET /v1/jobs": READ,
    "GET /v1/jobs/{job_id}": READ,
    "POST /v1/jobs/{job_id}/cancel": SCORE,
    "POST /v1/decisions": DECIDE,
    "GET /v1/decisions": READ,
    "GET /v1/decisions/{decision_id}": READ,
    "GET /v1/decisions/{decision_id}/explanation": READ,
    "GET /v1/decisions/{decision_id}/replay": READ,
    "POST /v1/decisions/{decision_id}/reviews": REVIEW,
    "GET /v1/reviews": READ,
    "POST /v1/decisions/{decision_id}/signatures": REVIEW,
    "GET /v1/decisions/{decision_id}/signatures": READ,
    "GET /v1/rule-sets": READ,
    "GET /v1/rule-sets/diff": READ,
    "POST /v1/rule-sets/check": READ,
    "GET /v1/rule-sets/{name}": READ,
    "POST /v1/rule-sets": RULES,
    "GET /v1/vessels": READ,
    "GET /v1/vessels/{vessel_id}": READ,
    "GET /v1/vessels/{vessel_id}/timeline": READ,
    "GET /v1/vessels/{vessel_id}/forecast": READ,
    "POST /v1/people": ADMIN,
    "GET /v1/people": ADMIN,
    "GET /v1/people/{username}": ADMIN,
    "PATCH /v1/people/{username}": ADMIN,
    "POST /v1/people/{username}/deactivate": ADMIN,
    "POST /v1/keys": ADMIN,
    "GET /v1/keys": ADMIN,
    "GET /v1/keys/{key_id}": ADMIN,
    "POST /v1/keys/{key_id}/rotate": ADMIN,
    "POST /v1/keys/{key_id}/revoke": ADMIN,
    "POST /v1/webhooks": ADMIN,
    "GET /v1/webhooks": ADMIN,
    "GET /v1/webhooks/{webhook_id}": ADMIN,
    "PATCH /v1/webhooks/{webhook_id}": ADMIN,
    "DELETE /v1/webhooks/{webhook_id}": ADMIN,
    "POST /v1/webhooks/{webhook_id}/ping": ADMIN,
    "GET /v1/webhooks/{webhook_id}/deliveries": ADMIN,
    "GET /v1/audit": AUDIT,
    "POST /v1/audit/verify": AUDIT,
    "GET /v1/openapi.json": ANYONE,
    "GET /v1/schemas/decision": ANYONE,
    "GET /health/live": ANYONE,
    "GET /health/ready": ANYONE,
    "GET /metrics": READ,
}
BODIES = {
    "POST /v1/login": {"username": "viewer", "password": PASSWORD},
    "POST /v1/me/password": {"old_password": "x", "new_password": "y"},
    "POST /v1/runs": {"path": "nowhere"},
    "POST /v1/jobs": {"folder": "nowhere"},
    "POST /v1/jobs/{job_id}/cancel": {"why": "test"},
    "POST /v1/decisions": {"vessel_id": "V", "rule_set": "site-a"},
    "POST /v1/decisions/{decision_id}/reviews": {"action": "hold", "reason_code": "x", "reason": "y"},
    "POST /v1/decisions/{decision_id}/signatures": {
        "password": PASSWORD,
        "record_sha256": "a" * 64,
        "meaning": "approval",
    },
    "POST /v1/rule-sets": {"yaml": "id: x"},
    "POST /v1/rule-sets/check": {"yaml": "id: x"},
    "POST /v1/people": {"username": "viewer", "printed_name": "V", "roles": ["viewer"], "password": PASSWORD},
    "PATCH /v1/people/{username}": {"roles": ["viewer"], "why": "test"},
    "POST /v1/people/{username}/deactivate": {"why": "test"},
    "POST /v1/keys": {"name": "k", "scopes": ["read"]},
    "POST /v1/keys/{key_id}/rotate": {},
    "POST /v1/keys/{key_id}/revoke": {"why": "test"},
    "POST /v1/webhooks": {"url": "https://hooks.example/a", "events": ["job.finished"]},
    "PATCH /v1/webhooks/{webhook_id}": {"events": ["job.finished"]},
}
OWN_WAY = {"POST /v1/logout": 409}
"""What an allowed caller may be answered beside success, where the route is about themselves: a key has no session."""
PLACES = {
    "run_id": "none",
    "job_id": "none",
    "decision_id": "0" * 32,
    "name": "none",
    "vessel_id": "none",
    "username": "nobody.here",
    "key_id": "00",
    "webhook_id": "none",
}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    with a_service(tmp_path_factory.mktemp("service")) as found:
        yield found


def leaves(routes):
    """Yield the routes of an application, those of included routers too, with their whole path."""
    for route in routes:
        if hasattr(route, "methods"):
            yield route
        elif hasattr(route, "effective_route_contexts"):
            yield from route.effective_route_contexts()


def names_of(app):
    """Return every method and path that an application answers, but pages."""
    found = set()
    for route in leaves(app.routes):
        if not route.path.startswith("/board"):
            found |= {f"{method} {route.path}" for method in route.methods if method != "HEAD"}
    return found


def test_every_route_is_in_the_table_and_every_line_of_the_table_is_a_route(case):
    assert names_of(case.app) == set(ALLOWED)


@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_a_route_lets_in_those_it_should_and_nobody_else(case, name):
    check_route(case, name)


@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_the_actions_alone_let_in_those_they_should(case, name, monkeypatch):
    """The board's pages call actions without the guard of the routes."""

    async def unguarded(self, request):
        return request.state.caller

    monkeypatch.setattr(Needs, "__call__", unguarded)
    if ALLOWED[name] is not ANYONE:
        check_route(case, name)


def check_route(case, name):
    """Ask a route as everybody in turn."""
    method, path = name.split()
    for who in sorted(ANYONE):
        is_log_out = name == "POST /v1/logout" and who in ROLES
        token = case.service.access.log_in(who, PASSWORD).token if is_log_out else case.tokens.get(who)
        headers = {"Authorization": f"Bearer {token}"} if who != "nobody" else {}
        if path == "/v1/uploads":
            headers["Content-Type"] = "application/zip"
        answer = case.client.request(method, path.format(**PLACES), headers=headers, json=BODIES.get(name))
        is_in = answer.status_code not in (401, 403)
        if name == "POST /v1/me/password" and who in ROLES:
            is_in = answer.status_code == 401 and "Wrong name" in answer.json()["detail"]  # let in, password wrong
        if answer.status_code == 403 and answer.json()["type"].endswith("outside-roots"):
            is_in = True  # let in, but the path is not
        assert is_in == (who in ALLOWED[name]), f"{who}: {answer.status_code} {answer.text}"
        expected = 401 if who == "nobody" else 403
        assert is_in or answer.status_code == expected, f"{who}: {answer.status_code}"
        assert answer.status_code < 500, answer.text


def test_no_key_may_review_sign_or_administer(case):
    for scopes in (["review"], ["sign"], ["admin"]):
        assert case.post("/v1/keys", "admin", {"name": "k", "scopes": scopes}).status_code == 422


def test_every_protected_route_states_its_scope(case):
    """A route without a scope would be open to whoever has credentials: only those about the caller may be."""
    open_routes = set()
    for route in (one for one in leaves(case.app.routes) if getattr(one, "methods", None)):
        needs = getattr(route, "dependant", None)
        guards = [] if needs is None else [one.call for one in needs.dependencies]
        if not any(isinstance(one, Needs) and one.scope is not None for one in guards):
            open_routes.add(route.path)
    assert {path for path in open_routes if not path.startswith("/board")} == {
        "/v1/login", "/v1/logout", "/v1/me", "/v1/me/password", "/v1/openapi.json", "/v1/schemas/decision",
        "/health/live", "/health/ready", "/metrics",
    }  # fmt: skip
