"""The description of the API: FastAPI's, with our problems, records and examples in it."""

import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from msc_vision.decision.record import record_schema
from msc_vision.service import schemas
from msc_vision.service.routes.documented import problems

_PUBLIC = frozenset({"/v1/login", "/v1/schemas/decision", "/health/live", "/health/ready"})
_LEFT_OUT = ("HTTPValidationError", "ValidationError")
_BODILESS = (400, 406, 429, 431, 503)


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of an application; it is made once."""
    if app.openapi_schema:
        return app.openapi_schema
    content = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    components = content.setdefault("components", {}).setdefault("schemas", {})
    components.update(_answer_schemas())
    components["DecisionRecord"] = _record_component()
    for name in _LEFT_OUT:
        components.pop(name, None)
    content["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "an API key (mv_…) or the token of a session"}
    }
    for path, methods in content["paths"].items():
        for operation in methods.values():
            _complete(path, operation)
    app.openapi_schema = content
    return content


def allowed_methods(content: dict[str, Any], path: str) -> list[str]:
    """Return the methods that an address answers."""
    found: set[str] = set()
    for template, methods in content["paths"].items():
        pattern = "".join(
            "[^/]+" if part.startswith("{") else re.escape(part) for part in re.split(r"({\w+})", template)
        )
        if re.fullmatch(pattern, path):
            found |= {method.upper() for method in methods}
    return sorted(found)


def _complete(path: str, operation: dict[str, Any]) -> None:
    """Add the problems that a route may end with, and who may call it."""
    is_public = path in _PUBLIC
    responses = operation["responses"]
    responses.pop("422", None)
    for status, response in problems().items():
        if is_public and path != "/v1/login" and status not in _BODILESS:
            continue
        responses.setdefault(str(status), response)
    operation["responses"] = dict(sorted(responses.items()))
    operation["security"] = [] if is_public else [{"bearer": []}]


def _answer_schemas() -> dict[str, Any]:
    models = [
        one
        for one in vars(schemas).values()
        if isinstance(one, type) and issubclass(one, schemas.Answered | schemas.Asked) and one is not BaseModel
    ]
    template = "#/components/schemas/{model}"
    _, found = models_json_schema([(one, "serialization") for one in models], ref_template=template)
    definitions: dict[str, Any] = found["$defs"]
    return definitions


def _record_component() -> dict[str, Any]:
    """Return the schema of decision records as a component; its own references stay inside it."""
    schema = record_schema()
    for key in ("$schema", "$id"):
        schema.pop(key, None)
    moved: dict[str, Any] = _with_references(schema)
    return moved


def _with_references(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: (
                one.replace("#/", "#/components/schemas/DecisionRecord/", 1)
                if name == "$ref" and isinstance(one, str)
                else _with_references(one)
            )
            for name, one in value.items()
        }
    return [_with_references(one) for one in value] if isinstance(value, list) else value
