"""Who asks: log in, log out, the caller's own password."""

from fastapi import APIRouter, Response

from msc_vision.service import schemas
from msc_vision.service.actions import people
from msc_vision.service.guard import AnyCaller, ServiceDep, shown
from msc_vision.service.routes.documented import answers

router = APIRouter(tags=["session"])


@router.post("/login", status_code=201, responses=answers(schemas.Session, 201), summary="Log in")
async def log_in(service: ServiceDep, body: schemas.Login) -> Response:
    """Begin a session of a person; the token goes into `Authorization: Bearer`. Cookies are not read by this API."""
    return shown(people.session_view(await people.log_in(service, body.username, body.password)), 201)


@router.post("/logout", status_code=204, responses={204: {"description": "Done"}}, summary="Log out")
async def log_out(service: ServiceDep, caller: AnyCaller) -> Response:
    """End the session of the caller."""
    await people.log_out(service, caller)
    return Response(status_code=204)


@router.get("/me", responses=answers(schemas.Me), summary="Who am I?")
async def me(caller: AnyCaller) -> Response:
    """Return who the service takes the caller for."""
    return shown(people.me(caller))


@router.post("/me/password", status_code=204, responses={204: {"description": "Done"}}, summary="Change my password")
async def change_password(service: ServiceDep, caller: AnyCaller, body: schemas.NewPassword) -> Response:
    """Give the caller a new password; all their sessions end."""
    await people.change_password(service, caller, body)
    return Response(status_code=204)
