"""What people do at the board: ask for a decision, review, sign, replay."""

from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import quote, urlencode

from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData
from starlette.responses import Response

from msc_vision.errors import InvalidArgumentError
from msc_vision.service.access import NotAuthenticatedError, SignatureRefusedError
from msc_vision.service.actions import decisions, reviews, signing
from msc_vision.service.board import pages
from msc_vision.service.board.criteria import Doubt
from msc_vision.service.board.record import RecordView, read_record
from msc_vision.service.board.session import PATH, form_of
from msc_vision.service.board.visit import Visit, go_to
from msc_vision.service.problems import ProblemError
from msc_vision.service.schemas import DecisionAsk, ReviewAsk, SignAsk

T = TypeVar("T", bound=BaseModel)


async def decide(visit: Visit) -> Response:
    """Ask for a decision on a vessel, by a rule set."""
    form = await form_of(visit.request, visit.viewer.form_token)
    content = {"vessel_id": _text(form, "vessel_id"), "rule_set": _text(form, "rule_set")}
    asked = _checked(DecisionAsk, content)
    answer = await decisions.ask(visit.service, visit.viewer.caller, asked)
    return _to_record(answer.decision_id or "", "decided")


async def review(visit: Visit) -> Response:
    """Write down what a person says of a record."""
    form = await form_of(visit.request, visit.viewer.form_token)
    decision_id = visit.request.path_params["decision_id"]
    view = await pages.in_thread(visit, lambda: read_record(visit.service, visit.viewer, decision_id))
    action = _text(form, "action")
    answers = _answers(form, view.doubts)
    trouble = _trouble_with_review(action, _text(form, "reason"), answers, view)
    if trouble:
        return pages.record_page(visit, view, 422, review_trouble=trouble, given=_given(form))
    content = {
        "action": action,
        "reason_code": _text(form, "reason_code"),
        "reason": _text(form, "reason"),
        "settles": answers if action == "settle" else [],
    }
    try:
        answer = await reviews.review(visit.service, visit.viewer.caller, decision_id, _checked(ReviewAsk, content))
    except ProblemError as err:
        if err.kind not in ("not-valid", "conflict"):
            raise
        return pages.record_page(visit, view, err.status, review_trouble=str(err), given=_given(form))
    except InvalidArgumentError as err:
        return pages.record_page(visit, view, 422, review_trouble=str(err), given=_given(form))
    return _to_record(answer.decision_id or "", "reviewed")


def _answers(form: FormData, doubts: tuple[Doubt, ...]) -> list[dict[str, object]]:
    """Return the doubts that were settled; those left open stay so."""
    given = ((one, _text(form, one.name)) for one in doubts)
    return [
        {"criterion": one.criterion, "layer": one.layer, "outcome": outcome}
        for one, outcome in given
        if outcome in ("met", "not met")
    ]


def _trouble_with_review(action: str, reason: str, answers: list[dict[str, object]], view: RecordView) -> str:
    if action not in ("settle", "hold", "reject"):
        return "Say what you want: settle, hold or reject."
    if not reason:
        return "Give your reason in a few words: whoever reads the record later needs it."
    if action == "settle" and not answers:
        none = "There is nothing to settle here" if not view.doubts else "Answer at least one of the doubts"
        return f"{none}; or choose hold or reject."
    if action != "settle" and answers:
        return "You answered doubts but chose to hold or reject: choose settle, or leave the doubts open."
    return ""


def _given(form: FormData) -> dict[str, str]:
    """Return what was filled in, to be shown again; never a password."""
    return {name: value for name, value in form.items() if isinstance(value, str) and name != "password"}


async def sign(visit: Visit) -> Response:
    """Sign a record: the password once more, and a meaning."""
    form = await form_of(visit.request, visit.viewer.form_token)
    decision_id = visit.request.path_params["decision_id"]
    view = await pages.in_thread(visit, lambda: read_record(visit.service, visit.viewer, decision_id))
    password = form.get("password")
    if not isinstance(password, str) or not password:
        return pages.record_page(visit, view, 422, sign_trouble="Give your password to sign.", given=_given(form))
    content = {"password": password, "record_sha256": _text(form, "record_sha256"), "meaning": _text(form, "meaning")}
    try:
        await signing.sign_decision(visit.service, visit.viewer.caller, decision_id, _checked(SignAsk, content))
    except (NotAuthenticatedError, SignatureRefusedError) as err:
        status = 403 if isinstance(err, NotAuthenticatedError) else 409
        words = str(err).replace("Wrong name or password.", "Wrong password; nothing was signed.")
        return pages.record_page(visit, view, status, sign_trouble=words, given=_given(form))
    return _to_record(decision_id, "signed")


async def replay(visit: Visit) -> Response:
    """Judge the inputs of a record again, and say whether it still holds; nothing is written."""
    await form_of(visit.request, visit.viewer.form_token)
    decision_id = visit.request.path_params["decision_id"]
    found = await decisions.replayed(visit.service, visit.viewer.caller, decision_id)
    view = await pages.in_thread(visit, lambda: read_record(visit.service, visit.viewer, decision_id))
    return pages.record_page(visit, view, replayed=found)


def _text(form: FormData, name: str) -> str:
    value = form.get(name, "")
    return value.replace("\r\n", "\n").strip() if isinstance(value, str) else ""


def _checked(model: type[T], content: Mapping[str, object]) -> T:
    """Return a request as the actions take it.

    Raises
    ------
    ProblemError
        ``not-valid``: a form of ours sends nothing else, but somebody may.
    """
    try:
        return model.model_validate(content)
    except ValidationError as err:
        said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in err.errors()[:5])
        raise ProblemError("not-valid", f"The form is not valid: {said}.") from err


def _to_record(decision_id: str, done: str) -> Response:
    return go_to(f"{PATH}/records/{quote(decision_id)}?{urlencode({'done': done})}")
