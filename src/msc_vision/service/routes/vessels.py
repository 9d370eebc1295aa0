"""Vessels."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from msc_vision.service import schemas
from msc_vision.service.actions import vessels
from msc_vision.service.guard import PageDep, Reader, ServiceDep, paged, shown
from msc_vision.service.routes.documented import answers, pages

router = APIRouter(tags=["vessels"])
VesselId = Annotated[str, Path(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


@router.get("/vessels", responses=pages(schemas.Vessel), summary="List vessels")
async def list_vessels(service: ServiceDep, caller: Reader, page: PageDep) -> Response:
    """List vessels by name, each with its latest run and its last decision."""
    return paged(await vessels.listed(service, caller, page))


@router.get("/vessels/{vessel_id}", responses=answers(schemas.Vessel), summary="Get a vessel")
async def get_vessel(service: ServiceDep, caller: Reader, vessel_id: VesselId) -> Response:
    """Return a vessel with its latest run and its last decision."""
    return shown(await vessels.get(service, caller, vessel_id))


@router.get("/vessels/{vessel_id}/timeline", responses=pages(schemas.TimelineEntry), summary="Timeline of a vessel")
async def timeline(service: ServiceDep, caller: Reader, vessel_id: VesselId, page: PageDep) -> Response:
    """List runs, decisions, reviews and signatures of a vessel, the newest first."""
    return paged(await vessels.timeline(service, caller, vessel_id, page))


@router.get("/vessels/{vessel_id}/forecast", responses=answers(schemas.Forecast), summary="Forecast of a vessel")
async def forecast(service: ServiceDep, caller: Reader, vessel_id: VesselId) -> Response:
    """Say when a vessel will be inside its harvest window, from all its runs."""
    return shown(await vessels.forecast(service, caller, vessel_id))
