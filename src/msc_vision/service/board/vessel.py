"""One vessel: how it stands, why, its layers, the images that drove the verdict, its growth and its records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from msc_vision.decision.explain import explain
from msc_vision.errors import MscVisionError
from msc_vision.report.growth import GrowthDrawing, draw_growth, forecast_sentences
from msc_vision.report.words import vessel_sentence
from msc_vision.service.actions.decisions import find_scan
from msc_vision.service.actions.reading import not_there
from msc_vision.service.board.caches import Kept
from msc_vision.service.board.criteria import CriterionRow, criterion_rows
from msc_vision.service.board.digests import Digest, critical_of, digest_of
from msc_vision.service.board.ladder import Ladder, ladder_of, window_of
from msc_vision.service.board.overview import Standing, stand
from msc_vision.service.board.pictures import Choice, Gallery, driving_fields
from msc_vision.service.board.words import STATES, age, clock, exact, passage_words, plain_action, who_is
from msc_vision.service.context import Service
from msc_vision.service.evidence_cache import evidence_stamp
from msc_vision.service.queries import current_decisions, decision_row, find, timeline_rows, vessel_rows
from msc_vision.service.store.tables import runs

MOST_EVENTS = 60
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a vessel."""

    at: str
    kind: str
    words: str
    who: str
    decision_id: str | None


@dataclass(frozen=True, slots=True)
class RunView:
    """What the run of a vessel shows; ``trouble`` says why there is nothing to show."""

    run_id: str
    sentence: str = ""
    ladder: Ladder | None = None
    pictures: Choice = Choice((), is_driving=False)  # noqa: RUF009  (frozen)
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class VesselView:
    """All that the page of a vessel shows."""

    row: Row
    passage_words: str
    standing: Standing
    scan_age: str
    scan_clock: str
    decision: Row | None
    record: Mapping[str, Any] | None
    reasons: tuple[str, ...]
    changes: tuple[str, ...]
    good_until: str
    criteria: tuple[CriterionRow, ...]
    run: RunView
    growth: GrowthDrawing | None
    growth_trouble: str | None
    events: tuple[Event, ...]
    legend: tuple[tuple[str, str, str], ...] = tuple(STATES.values())


class VesselPages:
    """Reads what the page of a vessel shows.

    Parameters
    ----------
    gallery : Gallery
    growth : Kept
        Drawings, by vessel and the stamps of its runs.
    """

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self._growth: Kept[GrowthDrawing] = Kept(200)

    def read(self, service: Service, vessel_id: str, now: datetime) -> VesselView:
        """Return what the page of a vessel shows.

        Raises
        ------
        ProblemError
            ``not-found``.
        """
        row, decision, record, happened = service.store.read(lambda connection: _read(connection, vessel_id))
        digest = None if record is None or decision is None else _digest(service, record, decision)
        standing = stand(row, decision, digest, now)
        explained = None if record is None else explain(record)
        growth, growth_trouble = self._drawn(service, vessel_id, None if record is None else window_of(record))
        return VesselView(
            row=row,
            passage_words=passage_words(row["batch"], row["passage"]),
            standing=standing,
            scan_age=age(row["acquired_to"], now),
            scan_clock=clock(row["acquired_to"]),
            decision=decision,
            record=record,
            reasons=() if explained is None else explained.reasons,
            changes=() if explained is None else explained.changes,
            good_until="" if digest is None or digest.good_until is None else clock(digest.good_until),
            criteria=() if record is None else criterion_rows(record),
            run=self._run(service, row, record),
            growth=growth,
            growth_trouble=growth_trouble,
            events=tuple(_event(one) for one in happened),
        )

    def _run(self, service: Service, row: Row, record: Mapping[str, Any] | None) -> RunView:
        """Return what the run that was judged shows, or the latest one if none was."""
        run_id = row["run_id"] if record is None else record["context"]["run_id"]
        stored = service.store.read(lambda connection: find(connection, runs, run_id))
        if stored is None:
            return RunView(run_id, trouble="The run that was judged is not registered.")
        try:
            content = self._gallery.run(stored["path"], roots_of(service))
            vessel = next((one for one in content.vessels if one.vessel_id == row["vessel_id"]), None)
        except MscVisionError as err:
            return RunView(run_id, trouble=f"The run folder cannot be read now: {err}")
        if vessel is None:
            return RunView(run_id, trouble="The run folder does not show this vessel any more.")
        return RunView(run_id, vessel_sentence(vessel), ladder_of(vessel, record), driving_fields(vessel, record))

    def _drawn(
        self, service: Service, vessel_id: str, window: tuple[float, float] | None
    ) -> tuple[GrowthDrawing | None, str | None]:
        try:
            scan = service.store.read(lambda connection: find_scan(connection, vessel_id, None))
            paths = (*scan.history, scan.path)
            name = (vessel_id, paths, evidence_stamp(paths), window)
            prior = service.settings.growth_prior
            return self._growth.get(name, lambda: _draw(paths, vessel_id, prior, window)), None
        except MscVisionError as err:
            return None, f"No growth curve: {err}"


def _digest(service: Service, record: dict[str, Any], decision: Row) -> Digest:
    return digest_of(record, critical_of(service, decision["rule_set_sha256"]))


def roots_of(service: Service) -> tuple[Path, ...]:
    """Return the folders that images and runs may be read from."""
    return (*service.settings.roots, service.settings.runs_folder)


def _draw(
    paths: Sequence[Path], vessel_id: str, prior: Path | None, window: tuple[float, float] | None
) -> GrowthDrawing:
    """Return the growth curve of a vessel, with the window that it was judged by."""
    from msc_vision.batch.courses import vessel_courses
    from msc_vision.batch.forecasts import ForecastRequest, forecast_course, read_prior
    from msc_vision.batch.reviewed_files import reviewed_fields
    from msc_vision.statistics.growth_prior import placeholder_prior
    from msc_vision.vessels import load_catalogue

    catalogue = load_catalogue()
    courses = vessel_courses(paths, catalogue, {one: reviewed_fields(one, catalogue) for one in paths})
    course = next((one for one in courses if one.vessel_id == vessel_id), None)
    if course is None:
        raise not_there("vessel in its runs", vessel_id)
    known = placeholder_prior() if prior is None else read_prior(prior)
    request = ForecastRequest(prior=known, window_percent=window)
    found = forecast_course(course, request)
    return draw_growth(found, forecast_sentences(found))


def _read(
    connection: Connection, vessel_id: str
) -> tuple[Row, Row | None, dict[str, Any] | None, list[dict[str, Any]]]:
    import json

    rows = vessel_rows(connection, None, 1, vessel_id)
    if not rows:
        raise not_there("vessel", vessel_id)
    decision = current_decisions(connection, [vessel_id]).get(vessel_id)
    stored = None if decision is None else decision_row(connection, decision["decision_id"])
    record = None if stored is None else json.loads(stored["record"])
    return rows[0], decision, record, timeline_rows(connection, vessel_id, None, MOST_EVENTS)[:MOST_EVENTS]


_KINDS = {"run": "scan", "decision": "decision", "review": "review", "signature": "signature"}


def _event(row: Row) -> Event:
    words = str(row["summary"] or "")
    if row["kind"] == "run":
        words = f"Images of {clock(words)} were registered." if words else "Images without a time were registered."
    if row["kind"] == "decision":
        verdict, _, action = words.partition(": ")
        words = f"{verdict.replace('_', ' ')}: {plain_action(action)}"
    decision_id = row["id"] if row["kind"] == "decision" else None
    return Event(exact(row["at"]), _KINDS[row["kind"]], words, who_is(row["who"]), decision_id)
