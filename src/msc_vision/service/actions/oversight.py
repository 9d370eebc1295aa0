"""The audit log: read and verified."""

from typing import Any

from msc_vision.service.actions.decisions import in_worker
from msc_vision.service.actions.reading import PageAsk, newest_page
from msc_vision.service.context import Caller, Service
from msc_vision.service.cursors import Page
from msc_vision.service.store.tables import audit
from msc_vision.service.views import audit_view


async def listed(service: Service, caller: Caller, filters: dict[str, str | None], asked: PageAsk) -> Page:
    """Return a page of the audit log, the newest first; ``filters`` are who, what, target and target_id."""
    service.require(caller, "audit", "read audit log")
    return await newest_page(service, audit, asked, audit_view, filters)


async def verified(service: Service, caller: Caller) -> dict[str, Any]:
    """Return whether log and rows are as they were written."""
    service.require(caller, "audit", "verify audit log")

    def verify() -> dict[str, Any]:
        from msc_vision.service.store import verify_store

        complaints = [str(one) for one in verify_store(service.store)]
        return {"is_whole": not complaints, "head": str(service.store.head()), "complaints": complaints[:1000]}

    return await in_worker(service, verify)
