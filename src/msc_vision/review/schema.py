"""The form of a review event, for other programs and for `verify`."""

import json
from functools import lru_cache
from importlib.resources import files
from typing import Any

import jsonschema


def review_schema() -> dict[str, Any]:
    """Return the JSON Schema of a review event."""
    schema: dict[str, Any] = json.loads((files("msc_vision.review") / "data" / "review.schema.json").read_bytes())
    return schema


@lru_cache(maxsize=1)
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(review_schema())


def form_problems(content: Any) -> tuple[str, ...]:
    """Return what of the content of an event's file is not of the form, sentences; empty if all is."""
    return tuple(f"{one.json_path}: {one.message[:200]}." for one in _validator().iter_errors(content))
