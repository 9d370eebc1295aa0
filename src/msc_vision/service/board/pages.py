"""What people read at the board: vessels, one vessel, records, rule sets, the audit log, words."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

from starlette.responses import Response

from msc_vision.service.actions import decisions, oversight
from msc_vision.service.actions.decisions import in_worker
from msc_vision.service.actions.reading import PageAsk, not_there
from msc_vision.service.board.digests import Digest, read_digests
from msc_vision.service.board.overview import SHOWN_DAYS, Filter, read_overview, sign_of
from msc_vision.service.board.page import HEADERS
from msc_vision.service.board.pictures import Size, field_of, shown_field
from msc_vision.service.board.record import REASON_CODES, RecordView, read_record
from msc_vision.service.board.rules import RuleSetView, rule_set_view
from msc_vision.service.board.vessel import roots_of
from msc_vision.service.board.visit import Visit
from msc_vision.service.board.words import (
    OUTCOMES,
    SIGNS,
    STATES,
    VERDICTS,
    clock,
    exact,
    plain_action,
    shown,
    who_is,
)
from msc_vision.service.queries import DecisionFilter, find
from msc_vision.service.store.tables import runs

T = TypeVar("T")
REFRESH_S = 60
N_ITEMS = 50


async def in_thread(visit: Visit, work: Callable[[], T]) -> T:
    """Do what reads the store or files in a thread."""
    return await in_worker(visit.service, work)


async def _drawn(visit: Visit, work: Callable[[], T]) -> T:
    """Do what decodes images or fits curves in the board's own threads, so that no decision waits for it."""
    return await asyncio.get_running_loop().run_in_executor(visit.board.gallery.workers, work)


# --- vessels ---------------------------------------------------------------------------------------------------------


async def vessels(visit: Visit) -> Response:
    """Show all vessels, those that need somebody first on top."""
    visit.service.require(visit.viewer.caller, "read", "list vessels")
    asked = visit.asked
    wanted = Filter(asked("verdict"), asked("batch"), asked("text"), asked("days") == "all")
    service, now = visit.service, visit.service.clock()

    def make() -> Response:  # with hundreds of cards, writing the page takes as long as reading what is on it
        return visit.page(
            "vessels.html.j2",
            "vessels",
            "Vessels now",
            found=read_overview(service, visit.board.digests, wanted, now),
            wanted=wanted,
            refreshed=f"{now.astimezone():%H:%M:%S}",
            refreshed_at=shown(now),
            refresh_s=REFRESH_S,
            shown_days=SHOWN_DAYS,
            signs=SIGNS,
        )

    return await in_thread(visit, make)


async def vessel(visit: Visit) -> Response:
    """Show one vessel."""
    visit.service.require(visit.viewer.caller, "read", "read vessel")
    vessel_id = visit.request.path_params["vessel_id"]
    now = visit.service.clock()
    view = await _drawn(visit, lambda: visit.board.vessels.read(visit.service, vessel_id, now))
    known = await in_thread(visit, visit.service.rules.all) if visit.viewer.can("decide") else ()
    return visit.page("vessel.html.j2", "vessels", vessel_id, view=view, rule_sets=[one.name for one in known])


async def field(visit: Visit) -> Response:
    """Show one field of a run, large."""
    visit.service.require(visit.viewer.caller, "read", "read picture")
    run_id, key = (visit.request.path_params[name] for name in ("run_id", "key"))
    content = await _drawn(visit, lambda: visit.board.gallery.run(_run_path(visit, run_id), roots_of(visit.service)))
    entry = field_of(content, key)
    layer = [one for one in content.fields if (one.vessel_id, one.layer) == (entry.vessel_id, entry.layer)]
    place = next(i for i, one in enumerate(layer) if one.key == key)
    return visit.page(
        "field.html.j2",
        "vessels",
        f"{entry.vessel_id}, layer {entry.layer}",
        run_id=run_id,
        entry=entry,
        words=shown_field(entry, "field"),
        is_outlined=visit.asked("outlines") != "no",
        previous=layer[place - 1] if place > 0 else None,
        following=layer[place + 1] if place + 1 < len(layer) else None,
        position=f"{place + 1} of {len(layer)}",
    )


async def picture(visit: Visit) -> Response:
    """Send a field as JPEG: ``size`` small or large, ``outlines=no`` for the bare image."""
    visit.service.require(visit.viewer.caller, "read", "read picture")
    run_id, key = (visit.request.path_params[name] for name in ("run_id", "key"))
    size: Size = "large" if visit.asked("size") == "large" else "small"
    is_outlined = visit.asked("outlines") != "no"

    def make() -> bytes:
        gallery, roots = visit.board.gallery, roots_of(visit.service)
        run = gallery.run(_run_path(visit, run_id), roots)
        return gallery.picture(run, key, size, outlined=is_outlined, roots=roots)

    content = await _drawn(visit, make)
    return Response(content, media_type="image/jpeg", headers={**HEADERS, "Cache-Control": "private, max-age=600"})


def _run_path(visit: Visit, run_id: str) -> str:
    stored = visit.service.store.read(lambda connection: find(connection, runs, run_id))
    if stored is None:
        raise not_there("run", run_id)
    return str(stored["path"])


# --- records ---------------------------------------------------------------------------------------------------------


async def records(visit: Visit) -> Response:
    """Show records, the newest first."""
    chosen = {name: visit.asked(name) for name in ("verdict", "vessel", "batch")}
    is_current = visit.asked("current") == "yes"
    wanted = DecisionFilter(
        vessel_id=chosen["vessel"] or None,
        verdict=chosen["verdict"] if chosen["verdict"] in VERDICTS else None,
        batch=chosen["batch"] or None,
        is_current=is_current,
    )
    ask = PageAsk(N_ITEMS, visit.asked("cursor", 600) or None)
    found = await decisions.listed(visit.service, visit.viewer.caller, wanted, ask)
    keep = {**chosen, **({"current": "yes"} if is_current else {})}
    names = [one["decision_id"] for one in found.items]
    digests = await in_thread(visit, lambda: read_digests(visit.service, visit.board.digests, names))
    n_needed = visit.service.settings.n_signatures
    return visit.page(
        "records.html.j2",
        "records",
        "Records",
        rows=[_listed(one, digests[one["decision_id"]], n_needed) for one in found.items],
        chosen=chosen,
        is_current=is_current,
        following=_next_page(found.next, keep),
        is_first=ask.cursor is None,
        verdicts=VERDICTS,
    )


def _listed(one: Mapping[str, Any], digest: Digest, n_needed: int) -> dict[str, Any]:
    n_signed = one["n_signatures"]
    return {
        **one,
        "sign": sign_of(one, digest),
        "action": plain_action(one["recommended_action"]),
        "at": clock(one["created_at"]),
        "by": who_is(one["created_by"]),
        "signed": "signed" if n_signed >= n_needed else f"{n_signed} of {n_needed}" if n_signed else "no",
    }


def _next_page(cursor: str | None, keep: Mapping[str, str]) -> str | None:
    if cursor is None:
        return None
    return "?" + urlencode({**{name: value for name, value in keep.items() if value}, "cursor": cursor})


async def record(visit: Visit) -> Response:
    """Show one record."""
    visit.service.require(visit.viewer.caller, "read", "read decision")
    decision_id = visit.request.path_params["decision_id"]
    return record_page(visit, await in_thread(visit, lambda: read_record(visit.service, visit.viewer, decision_id)))


def record_page(
    visit: Visit,
    view: RecordView,
    status: int = 200,
    *,
    review_trouble: str = "",
    sign_trouble: str = "",
    given: Mapping[str, str] | None = None,
    replayed: Mapping[str, Any] | None = None,
) -> Response:
    """Return the page of a record; what was filled in and was wrong is shown again."""
    return visit.page(
        "record.html.j2",
        "records",
        f"Record of {view.record['context']['vessel_id']}",
        status,
        view=view,
        reason_codes=REASON_CODES,
        review_trouble=review_trouble,
        sign_trouble=sign_trouble,
        given=given or {},
        replayed=replayed,
    )


async def document(visit: Visit) -> Response:
    """Send a record as it is stored and served."""
    found = await decisions.get(visit.service, visit.viewer.caller, visit.request.path_params["decision_id"])
    return Response(found.text, media_type="application/json", headers={**HEADERS, "Cache-Control": "no-store"})


# --- rule sets, audit log, words -------------------------------------------------------------------------------------


async def rule_sets(visit: Visit) -> Response:
    """Show which rule sets decisions may be asked for."""
    visit.service.require(visit.viewer.caller, "read", "list rule sets")
    known = await in_thread(visit, visit.service.rules.all)
    views = [rule_set_view(one.rules, one.origin) for one in known]
    views.sort(key=lambda one: (one.status != "approved", one.id, one.version))
    return visit.page("rules.html.j2", "rules", "Rule sets", rule_sets=views)


async def rule_set(visit: Visit) -> Response:
    """Show one rule set."""
    visit.service.require(visit.viewer.caller, "read", "read rule set")
    name = visit.request.path_params["name"]

    def look() -> RuleSetView:
        known = visit.service.rules.find(name)
        return rule_set_view(known.rules, known.origin)

    view = await in_thread(visit, look)
    return visit.page("rule_set.html.j2", "rules", f"Rule set {view.id}", view=view)


async def audit_log(visit: Visit) -> Response:
    """Show the audit log to those who may read it."""
    chosen = {name: visit.asked(name) for name in ("who", "what", "target_id")}
    ask = PageAsk(N_ITEMS, visit.asked("cursor", 600) or None)
    filters = {name: value or None for name, value in chosen.items()}
    found = await oversight.listed(visit.service, visit.viewer.caller, filters, ask)
    checked = await oversight.verified(visit.service, visit.viewer.caller) if visit.asked("check") == "yes" else None
    return visit.page(
        "audit.html.j2",
        "audit",
        "Audit log",
        rows=[{**one, "at": exact(one["at"])} for one in found.items],
        chosen=chosen,
        checked=checked,
        following=_next_page(found.next, chosen),
        is_first=ask.cursor is None,
    )


async def words(visit: Visit) -> Response:
    """Explain words and shapes."""
    return visit.page(
        "words.html.j2",
        "words",
        "Words and shapes",
        signs=SIGNS,
        outcomes=[one for name, one in OUTCOMES.items() if name != "undetermined"],
        states=tuple(STATES.values()),
    )
