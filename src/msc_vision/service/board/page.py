"""Pages out of the board's templates, with the headers that keep them to themselves."""

from functools import cache
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, PrefixLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
STATIC: Final = {
    "board.css": "text/css; charset=utf-8",
    "board.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_PACKAGE: Final = "msc_vision.service.board"


@cache
def environment() -> Environment:
    """Return the templates; autoescape is on, an unknown name is an error."""
    return Environment(
        loader=PrefixLoader({"board": PackageLoader(_PACKAGE), "report": PackageLoader("msc_vision.report")}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page; nobody keeps a copy of it on the way or in the browser."""
    text = environment().get_template(f"board/{template}").render(**values)
    return HTMLResponse(text, status, headers={**HEADERS, "Cache-Control": "no-store"})


@cache
def static_file(name: str) -> bytes:
    """Return one of the board's own files, a name of `STATIC`."""
    return (files(_PACKAGE) / "static" / name).read_bytes()


def static_response(name: str) -> Response:
    """Return one of the board's own files as an answer."""
    headers = {**HEADERS, "Cache-Control": "public, max-age=300"}
    return Response(static_file(name), media_type=STATIC[name], headers=headers)
