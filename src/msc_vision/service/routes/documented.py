"""How routes are documented: answers by status, and the problems that each may end with."""

from typing import Any

from pydantic import BaseModel

from msc_vision.service.problems import MEDIA_TYPE
from msc_vision.service.schemas import page_of

_WORDS = {
    400: "The request cannot be read",
    401: "Credentials are missing or not valid",
    403: "The caller may not do this",
    404: "There is no such thing",
    406: "Answers are JSON only",
    409: "It contradicts what is stored",
    413: "The body is too large",
    415: "The body is of another media type",
    422: "The request is not valid",
    429: "Too many requests; see Retry-After",
    431: "The headers are too large",
    503: "Not possible at the moment; see Retry-After",
}
Responses = dict[int | str, dict[str, Any]]


def problems() -> Responses:
    """Return the problems that every route may end with."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": words, "content": content} for status, words in _WORDS.items()}


def answers(model: type[BaseModel], *statuses: int, description: str = "Done") -> Responses:
    """Return the documentation of an answer with some statuses."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return _documented(schema, statuses or (200,), description)


def pages(model: type[BaseModel]) -> Responses:
    """Return the documentation of a page."""
    return _documented(page_of(model), (200,), "A page, the newest first unless said otherwise")


def lists(model: type[BaseModel]) -> Responses:
    """Return the documentation of a list in one piece."""
    items = {"type": "array", "items": {"$ref": f"#/components/schemas/{model.__name__}"}}
    schema = {
        "type": "object",
        "properties": {"items": items},
        "required": ["items"],
        "additionalProperties": False,
    }
    return _documented(schema, (200,), "All of them")


def records(*statuses: int) -> Responses:
    """Return the documentation of a decision record."""
    return _documented({"$ref": "#/components/schemas/DecisionRecord"}, statuses or (200,), "The decision record")


def _documented(schema: dict[str, Any], statuses: tuple[int, ...], description: str) -> Responses:
    content = {"application/json": {"schema": schema}}
    return {status: {"description": description, "content": content} for status in statuses}
