"""Vessels now: one card each, those that need somebody first on top."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from msc_vision.service.board.caches import Kept
from msc_vision.service.board.digests import Digest, read_digests
from msc_vision.service.board.words import (
    ASK,
    GO,
    QUARANTINE,
    SIGNS,
    TRIAL,
    VERDICTS,
    Sign,
    age,
    clock,
    moment_of,
    passage_words,
    percent,
    plain_action,
)
from msc_vision.service.context import Service
from msc_vision.service.queries import current_decisions, vessel_rows
from msc_vision.service.store.tables import run_vessels

MOST_VESSELS = 1000
SHOWN_DAYS = 14
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Spark:
    """The confluency of a vessel over its scans, as a line in a box of 90 by 26 pixels; empty for one scan."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Card:
    """A vessel on the board."""

    vessel_id: str
    vessel_type: str
    batch: str | None
    passage_words: str
    acquired_at: str | None
    scan_age: str
    scan_clock: str
    sign: Sign
    action: str
    reason: str
    n_more_reasons: int
    notes: tuple[str, ...]
    decision_id: str | None
    signed: str
    is_signed: bool
    spark: Spark

    @property
    def rank(self) -> tuple[Any, ...]:
        """Where it stands: who needs somebody first, first; names as people count."""
        return self.sign.rank, self.is_signed, _natural(self.vessel_id)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which vessels are shown."""

    sign: str = ""
    batch: str = ""
    text: str = ""
    is_all: bool = False

    @property
    def is_set(self) -> bool:
        """Whether anything is left out beside what is old."""
        return bool(self.sign or self.batch or self.text)

    def takes(self, card: Card) -> bool:
        """Tell whether a card is shown."""
        words = " ".join((card.vessel_id, card.vessel_type, card.batch or "", card.reason, card.action)).lower()
        return (
            self.sign in ("", card.sign.shape)
            and self.batch in ("", card.batch or "")
            and all(word in words for word in self.text.lower().split())
        )


@dataclass(frozen=True, slots=True)
class Overview:
    """All that the page of vessels shows."""

    cards: tuple[Card, ...]
    n_known: int
    n_old: int
    counts: tuple[tuple[Sign, int], ...]
    batches: tuple[str, ...]
    is_cut: bool


def read_overview(service: Service, digests: Kept[Digest], wanted: Filter, now: datetime) -> Overview:
    """Return the vessels that a filter takes."""
    rows, decided, scans = service.store.read(_all)
    n_needed = service.settings.n_signatures
    is_cut = len(rows) > MOST_VESSELS
    since = now - timedelta(days=SHOWN_DAYS)
    recent = [row for row in rows[:MOST_VESSELS] if wanted.is_all or _is_recent(row, since)]
    ids = [decided[row["vessel_id"]]["decision_id"] for row in recent if row["vessel_id"] in decided]
    found = read_digests(service, digests, ids)
    cards = [
        _card(row, decided.get(row["vessel_id"]), found, scans[row["vessel_id"]], (n_needed, now)) for row in recent
    ]
    cards.sort(key=lambda card: card.rank)
    return Overview(
        cards=tuple(card for card in cards if wanted.takes(card)),
        n_known=len(cards),
        n_old=len(rows[:MOST_VESSELS]) - len(recent),
        counts=tuple((sign, sum(card.sign is sign for card in cards)) for sign in SIGNS),
        batches=tuple(sorted({card.batch for card in cards if card.batch}, key=_natural)),
        is_cut=is_cut,
    )


def _all(connection: Connection) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]], dict[str, list[Row]]]:
    rows = vessel_rows(connection, None, MOST_VESSELS)
    names = [row["vessel_id"] for row in rows]
    decided: dict[str, dict[str, Any]] = {}
    scans: defaultdict[str, list[Row]] = defaultdict(list)
    for part in _parts(names):
        decided |= current_decisions(connection, part)
        column = run_vessels.c
        query = (
            select(column.vessel_id, column.acquired_to, column.confluency_percent)
            .where(column.vessel_id.in_(part))
            .order_by(column.acquired_to)
        )
        for row in connection.execute(query).mappings():
            scans[row["vessel_id"]].append(dict(row))
    return rows, decided, scans


def _parts(names: Sequence[str], most: int = 500) -> Iterable[Sequence[str]]:
    """Cut a long list of names, as a statement holds only so many."""
    return (names[start : start + most] for start in range(0, len(names), most))


def _is_recent(row: Row, since: datetime) -> bool:
    moment = moment_of(row["acquired_to"])
    return moment is None or moment >= since


def _card(
    row: Row, decision: Row | None, digests: Mapping[str, Digest], scans: Sequence[Row], asked: tuple[int, datetime]
) -> Card:
    n_needed, now = asked
    digest = None if decision is None else digests.get(decision["decision_id"])
    standing = stand(row, decision, digest, now)
    n_signed = 0 if decision is None else decision["n_signatures"]
    return Card(
        vessel_id=row["vessel_id"],
        vessel_type=row["vessel_type"] or "type not known",
        batch=row["batch"],
        passage_words=passage_words(row["batch"], row["passage"]),
        acquired_at=row["acquired_to"],
        scan_age=age(row["acquired_to"], now),
        scan_clock=clock(row["acquired_to"]),
        sign=standing.sign,
        action=standing.action,
        reason=standing.reason,
        n_more_reasons=max((digest.n_reasons if digest and not standing.is_lapsed else 1) - 1, 0),
        notes=standing.notes,
        decision_id=None if decision is None else decision["decision_id"],
        signed=_signed_words(n_signed, n_needed, decision),
        is_signed=n_signed >= n_needed,
        spark=spark_of(scans),
    )


def _signed_words(n_signed: int, n_needed: int, decision: Row | None) -> str:
    if decision is None:
        return ""
    if n_signed >= n_needed:
        return "signed"
    return f"{n_signed} of {n_needed} signatures" if n_signed else "not signed"


# --- how a vessel stands ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Standing:
    """What the board says of a vessel now; ``is_lapsed``: what was decided no longer holds."""

    sign: Sign
    action: str
    reason: str
    notes: tuple[str, ...] = ()
    is_lapsed: bool = False


def stand(vessel: Row, decision: Row | None, digest: Digest | None, now: datetime) -> Standing:
    """Return how a vessel stands: its verdict, unless time or a newer scan has overtaken a GO."""
    if decision is None or digest is None:
        return Standing(ASK, "Ask for a decision", "Nobody has asked for a decision on this vessel yet.", (), True)
    sign = sign_of(decision, digest)
    is_older = decision["run_id"] is not None and decision["run_id"] != vessel["run_id"]
    newer = f"There is a newer scan ({clock(vessel['acquired_to'])}) that nobody has judged."
    if sign in (GO, TRIAL) and is_older:
        return Standing(ASK, "Ask for a decision", f"It was GO. {newer}", (), True)
    if sign in (GO, TRIAL) and digest.has_lapsed(now):
        reason = f"It was GO; its scan was good for a decision until {clock(digest.good_until)}."
        return Standing(ASK, "Image again and ask for a decision", reason, (), True)
    notes = (newer,) if is_older else ()
    if digest.is_trial:
        notes = (*notes, "Draft rules or a trial: not for production.")
    if digest.is_reviewed:
        notes = (*notes, "Reviewed by a person.")
    return Standing(sign, plain_action(decision["recommended_action"]), digest.reason, notes)


def sign_of(decision: Row, digest: Digest) -> Sign:
    """Return the sign of a decision or a record: of its verdict, or that it asks for quarantine or is of a trial."""
    if decision["recommended_action"] == "quarantine":
        return QUARANTINE
    sign = VERDICTS[decision["verdict"]]
    return TRIAL if sign is GO and digest.is_trial else sign


# --- small growth line -----------------------------------------------------------------------------------------------

SPARK_WIDTH, SPARK_HEIGHT = 90, 26


def spark_of(scans: Sequence[Row]) -> Spark:
    """Return the confluency of a vessel over its scans as a small line, 0 to 100 %, and in words."""
    points = [
        (moment.astimezone(UTC).timestamp(), row["confluency_percent"])
        for row in scans
        if row["confluency_percent"] is not None and (moment := moment_of(row["acquired_to"])) is not None
    ]
    if not points:
        return Spark("", "confluency not known")
    last = percent(points[-1][1])
    if len(points) == 1 or points[-1][0] == points[0][0]:
        return Spark("", f"{last}, one run")
    start, width = points[0][0], points[-1][0] - points[0][0]
    places = (
        f"{2 + (SPARK_WIDTH - 4) * (at - start) / width:.1f} {2 + (SPARK_HEIGHT - 4) * (1 - value / 100):.1f}"
        for at, value in points
    )
    return Spark("M" + " L".join(places), f"{percent(points[0][1])} to {last} in {width / 3600:.0f} h")


def _natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Return a key by which names sort as people count: T75-9 before T75-10."""
    parts = re.findall(r"\d+|\D+", name.lower())
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts)
