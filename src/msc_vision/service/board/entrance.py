"""Log in, log out, another password."""

import hmac
import secrets
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from msc_vision.errors import InvalidArgumentError
from msc_vision.service.access import (
    LockedOutError,
    NotAuthenticatedError,
    PasswordExpiredError,
    PasswordRefusedError,
)
from msc_vision.service.actions import people
from msc_vision.service.board.page import HEADERS, page
from msc_vision.service.board.session import (
    COOKIE,
    LOGIN_COOKIE,
    PATH,
    address_of,
    drop_cookie,
    form_of,
    form_token_of,
    is_private_enough,
    set_cookie,
)
from msc_vision.service.board.visit import Board, Visit, go_to
from msc_vision.service.context import Service
from msc_vision.service.problems import ProblemError
from msc_vision.service.schemas import NewPassword

_DONE = {"out": "You are logged out.", "changed": "Your password was changed. Log in with the new one."}


def safe_next(path: str) -> str:
    """Return where to go after logging in: a page of the board, or else its first."""
    is_ours = path == PATH or path.startswith((f"{PATH}/", f"{PATH}?"))
    is_plain = "\\" not in path and "//" not in path.partition("?")[0] and path.isprintable()
    return path if is_ours and is_plain and not path.startswith(f"{PATH}/login") else PATH


async def login_page(request: Request, _service: Service, _board: Board) -> Response:
    """Show the form to log in."""
    said = _DONE.get(request.query_params.get("done", ""), "")
    return _form(request, 200, request.query_params.get("next", ""), said=said)


def _form(
    request: Request, status: int, wanted: str, *, username: str = "", trouble: str = "", said: str = ""
) -> Response:
    cookie = request.cookies.get(LOGIN_COOKIE) or secrets.token_urlsafe(24)
    answer = page(
        "login.html.j2",
        status,
        viewer=None,
        here="login",
        title="Log in",
        form_token=form_token_of(cookie),
        wanted=safe_next(wanted),
        username=username,
        trouble=trouble,
        said=said,
        is_private=is_private_enough(request),
    )
    set_cookie(answer, request, LOGIN_COOKIE, cookie)
    return answer


async def log_in(request: Request, service: Service, board: Board) -> Response:
    """Begin a session, or say why not."""
    board.wait_for_login(address_of(request))
    if not is_private_enough(request):
        raise ProblemError("not-allowed", "Passwords are taken over HTTPS only. Open the board by its https address.")
    try:
        form = await form_of(request, form_token_of(request.cookies.get(LOGIN_COOKIE, "")))
    except ProblemError as err:
        if err.kind != "not-allowed":
            raise
        return _form(request, 403, "", trouble="The form was too old or not ours. Try once more; cookies are needed.")
    username, password = str(form.get("username", ""))[:200], str(form.get("password", ""))[:1024]
    wanted = str(form.get("next", ""))[:500]
    try:
        session = await people.log_in(service, username, password)
    except LockedOutError as err:
        seconds = max(1, round(err.retry_after_s + 0.5))
        words = f"{seconds} s" if seconds < 100 else f"{round(seconds / 60)} min"
        trouble = f"Too many wrong passwords in a row. Wait {words}, then try again; or ask an admin."
        answer = _form(request, 429, wanted, username=username, trouble=trouble)
        answer.headers["Retry-After"] = str(seconds)
        return answer
    except PasswordExpiredError:
        trouble = "The password is right but too old. Ask an admin for a new one."
        return _form(request, 403, wanted, username=username, trouble=trouble)
    except NotAuthenticatedError as err:
        return _form(request, 401, wanted, username=username, trouble=str(err))
    answer = RedirectResponse(safe_next(wanted), 303, headers=HEADERS)
    set_cookie(answer, request, COOKIE, session.token)
    drop_cookie(answer, LOGIN_COOKIE)
    return answer


async def log_out(visit: Visit) -> Response:
    """End the session."""
    await form_of(visit.request, visit.viewer.form_token)
    await people.log_out(visit.service, visit.viewer.caller)
    return _left("out")


def _left(done: str) -> Response:
    answer = go_to(f"{PATH}/login?{urlencode({'done': done})}")
    drop_cookie(answer, COOKIE)
    return answer


async def password_page(visit: Visit) -> Response:
    """Show the form for another password."""
    return visit.page("password.html.j2", "password", "Change your password", trouble="")


async def change_password(visit: Visit) -> Response:
    """Give the person another password; all their sessions end."""
    form = await form_of(visit.request, visit.viewer.form_token)
    old, new, again = (str(form.get(name, ""))[:1024] for name in ("old_password", "new_password", "again"))
    if not hmac.compare_digest(new.encode(), again.encode()):
        return _refused(visit, "The new password and its repetition differ.")
    if not old or not new:
        return _refused(visit, "Fill in all three fields.")
    asked = NewPassword(old_password=old, new_password=new)
    try:
        await people.change_password(visit.service, visit.viewer.caller, asked)
    except (NotAuthenticatedError, PasswordRefusedError, InvalidArgumentError) as err:
        return _refused(visit, str(err))
    return _left("changed")


def _refused(visit: Visit, trouble: str) -> Response:
    return visit.page("password.html.j2", "password", "Change your password", 422, trouble=trouble)
