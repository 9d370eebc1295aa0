"""Rule sets."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import ValidationError

from msc_vision.service import schemas
from msc_vision.service.actions import rules
from msc_vision.service.edge import YAML_TYPES
from msc_vision.service.guard import IdempotencyKey, Reader, RuleKeeper, ServiceDep, sent, shown
from msc_vision.service.idempotency import once
from msc_vision.service.problems import Fault, ProblemError, pointer_to
from msc_vision.service.routes.documented import answers, lists

router = APIRouter(tags=["rule sets"])
_NAME = r"^[a-z0-9][a-z0-9-]{0,63}(@[0-9A-Za-z][0-9A-Za-z.+-]{0,31})?$"
RuleSetName = Annotated[str, Path(pattern=_NAME, description="id, or id@version")]
RuleSetQuery = Annotated[str, Query(pattern=_NAME, description="id, or id@version")]
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/yaml": {"schema": {"type": "string"}},
            "application/json": {"schema": {"$ref": "#/components/schemas/RuleSetText"}},
        },
    }
}


@router.get("/rule-sets", responses=lists(schemas.RuleSetSummary), summary="List rule sets")
async def list_rule_sets(service: ServiceDep, caller: Reader) -> Response:
    """List rule sets: those added to the store, those of the site's folders, those that ship."""
    return shown({"items": await rules.listed(service, caller)})


@router.get("/rule-sets/diff", responses=answers(schemas.RuleDiff), summary="Compare rule sets")
async def diff(service: ServiceDep, caller: Reader, old: RuleSetQuery, new: RuleSetQuery) -> Response:
    """Say what differs between two rule sets; criteria are matched by id."""
    return shown(await rules.diff(service, caller, old, new))


@router.post("/rule-sets/check", responses=answers(schemas.RuleCheck), summary="Check a rule set", openapi_extra=_BODY)
async def check(service: ServiceDep, caller: Reader, request: Request) -> Response:
    """Say what is wrong with a rule set, without keeping it."""
    return shown(await rules.check(service, caller, await _text(request)))


@router.get("/rule-sets/{name}", responses=answers(schemas.RuleSetDocument), summary="Get a rule set")
async def get_rule_set(service: ServiceDep, caller: Reader, name: RuleSetName) -> Response:
    """Return a rule set in full: what it extends is laid under it."""
    return shown(await rules.get(service, caller, name))


@router.post(
    "/rule-sets",
    status_code=201,
    responses=answers(schemas.RuleSetSummary, 200, 201),
    summary="Add a rule set",
    openapi_extra=_BODY,
)
async def add(service: ServiceDep, caller: RuleKeeper, request: Request, key: IdempotencyKey = None) -> Response:
    """Add a rule set to the store; a version never changes."""
    text = await _text(request)
    return sent(await rules.add(service, caller, text, once(key, "add rule set", {"yaml": text})))


async def _text(request: Request) -> str:
    """Return the YAML of a body, which is YAML itself or JSON with the key ``yaml``."""
    body = await request.body()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        text = body.decode("utf-8")
        if kind in YAML_TYPES:
            return text
        return schemas.RuleSetText.model_validate(json.loads(text)).yaml
    except ValidationError as err:
        faults = tuple(Fault(one["msg"], pointer_to(("body", *one["loc"]))) for one in err.errors())
        raise ProblemError("not-valid", "The body is not as this route takes it.", faults) from err
    except (ValueError, RecursionError) as err:
        raise ProblemError("malformed", "The body is neither YAML nor JSON in UTF-8.") from err
