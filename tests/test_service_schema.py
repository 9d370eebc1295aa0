"""The API against its own description: drawn requests, one by one and in sequences that use earlier answers.

No 5xx, no answer that the description does not know, no method that it forgot.
"""

import contextlib

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks as rules

from msc_vision.service.access import NotAuthenticatedError
from service_cases import PASSWORD, RULES, a_service

CHECKS = (
    schemathesis.checks.not_a_server_error,
    rules.status_code_conformance,
    rules.content_type_conformance,
    rules.response_headers_conformance,
    rules.response_schema_conformance,
    rules.unsupported_method,
)
QUICK = settings(
    max_examples=12,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)
SELDOM = ("/v1/logout", "/v1/me/password")
"""They end the session that the drawn requests are made with; `test_service_access.py` has them."""


@schemathesis.serializer("application/zip")
def as_bytes(_, value):
    """Send what is drawn for a zip as it is; hardly any of it is one."""
    data = getattr(value, "data", value)
    return data if isinstance(data, bytes) else str(data).encode()


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    with a_service(tmp_path_factory.mktemp("service"), limits={"requests_per_s": 1e6, "request_burst": 10**6}) as found:
        found.with_run("ready", "READY", 80.0)
        found.with_run("doubt", "STACK-doubt", 80.0)
        yield found


KNOWN = {"vessel_id": "STACK-doubt", "rule_set": RULES, "path": "ready", "folder": "ready", "manifest": None}
"""What drawn bodies are about, so that sequences get beyond 404."""


@pytest.fixture(scope="module")
def description(case):
    found = schemathesis.openapi.from_asgi("/v1/openapi.json", already_begun(case.app))

    @found.hook
    def map_body(context, body):
        if not isinstance(body, dict):
            return body
        known = {name: value for name, value in KNOWN.items() if name in body}
        return {**body, **known, **({"run_id": None} if "rule_set" in body else {})}

    return found


def already_begun(app):
    """Return an application without beginning and end: each drawn request would begin it anew."""

    async def wrapped(scope, receive, send):
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})

    return wrapped


def headers_of(case):
    """Return the headers of a person with every scope; drawn requests may have shut the last one out."""
    access = case.service.access
    try:
        access.authenticate_session(case.tokens.get("drawn", ""))
    except NotAuthenticatedError:
        name = f"drawn{len(access.list_people())}"
        access.add_person(name, "Drawn Person", ["approver", "admin", "operator"], PASSWORD, by="test")
        case.tokens["drawn"] = access.log_in(name, PASSWORD).token
    return case.headers("drawn")


def operations_of(description):
    chosen = description.exclude(path=list(SELDOM))
    return [found.ok() for found in chosen.get_all_operations()]


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["as described", "otherwise"])
def test_drawn_requests_are_answered_as_described(case, description, mode):
    for operation in operations_of(description):

        @QUICK
        @given(drawn=operation.as_strategy(generation_mode=mode))
        def answered(drawn):
            answer = drawn.call(headers=headers_of(case))
            drawn.validate_response(answer, checks=CHECKS)

        if mode == GenerationMode.POSITIVE or can_be_wrong(operation):
            answered()


def can_be_wrong(operation):
    """Return whether there is anything in a request that could be other than described."""
    return bool(operation.body or operation.query or operation.path_parameters)


@pytest.mark.slow
def test_sequences_of_requests_are_answered_as_described(case, description):
    statuses, failures = set(), []

    class Sequences(description.exclude(path=list(SELDOM)).as_state_machine()):
        def get_call_kwargs(self, drawn):
            return {"headers": headers_of(case)}

        def validate_response(self, response, drawn, **options):
            statuses.add((drawn.operation.label, response.status_code))
            try:
                drawn.validate_response(response, checks=CHECKS)
            except Exception as err:
                failures.append(err)
                raise

    for number in range(6):
        # ids are random, so a sequence that is drawn twice may go on otherwise: begin another
        with contextlib.suppress(Flaky):
            chosen = settings(QUICK, max_examples=10, stateful_step_count=12, derandomize=False)
            run_state_machine_as_test(seed(number)(Sequences), settings=chosen)
    assert failures == []
    reached = {label for label, status in statuses if status < 300}
    assert "POST /v1/decisions" in reached
