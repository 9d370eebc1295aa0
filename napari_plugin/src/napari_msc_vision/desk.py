"""Where a vessel is decided about: in the run folder by oneself, or at the site's service. No Qt here.

Both do the same for a dock: list rule sets, judge, take in what a person says, sign. What takes long runs off the main
thread; every deed stands in ``reviews/`` of the run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

from psygnal import Signal

from msc_vision.batch.decisions import saved_decisions
from msc_vision.decision.judgement import Purpose, Review, Settlement
from msc_vision.decision.library import available_rule_sets, load_rules
from msc_vision.decision.rules import RuleSet
from msc_vision.errors import MscVisionError
from msc_vision.review.events import Action, Deed, Target
from msc_vision.review.reasons import check_reason
from napari_msc_vision.service_link import ServiceLink
from napari_msc_vision.session import Message, ReviewSession, local_reviewer
from napari_msc_vision.verdict import Record, Signed, local_signatures

AnswerKind = Literal["settle", "hold", "reject"]
LANE = "decide"
SHELF = "records"
_ACTIONS: dict[AnswerKind, Action] = {"settle": "settled", "hold": "held", "reject": "vessel-rejected"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person says of a vessel: settles doubts, holds it or rejects it, with a reason."""

    kind: AnswerKind
    reason_code: str
    reason: str
    settles: tuple[Settlement, ...] = ()

    def review(self, name: str) -> Review:
        """Return it as the library judges with it, of this person and this moment."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        return Review(name, at, self.kind, self.reason_code, self.reason, self.settles)

    def deed(self, vessel_id: str, record: Record) -> Deed:
        """Return it as an event of the run.

        Raises
        ------
        InvalidArgumentError
            If the reason does not say enough.
        """
        action = _ACTIONS[self.kind]
        check_reason(action, self.reason_code, self.reason)
        before = {name: record[name] for name in ("decision_id", "verdict")}
        settles = [{"criterion": s.criterion, "layer": s.layer, "outcome": s.outcome} for s in self.settles]
        after = {"settles": settles} if settles else None
        return Deed(action, Target(vessel_id), before, after, self.reason_code, self.reason or None)


class Desk(Protocol):
    """Where a vessel is decided about.

    Attributes
    ----------
    changed : Signal
        Emitted when records or signatures have changed.
    signs_with_password : bool
    """

    changed: Any
    signs_with_password: bool

    @property
    def who(self) -> str:
        """Who decides and signs here, and how that is known; a sentence."""

    def list_rules(self, done: Callable[[Sequence[tuple[str, str]]], object]) -> None:
        """Hand out the rule sets: name and title."""

    def list_records(self, vessel_id: str, done: Callable[[Sequence[Record]], object]) -> None:
        """Hand out the records of a vessel, the last one first."""

    def signatures(self, record: Record, done: Callable[[Sequence[Signed]], object]) -> None:
        """Hand out who signed a record."""

    def judge(self, vessel_id: str, rules: str, purpose: Purpose) -> None:
        """Judge a vessel as it stands; `changed` follows."""

    def answer(self, record: Record, rules: str, answer: Answer) -> None:
        """Judge again with what a person says; `changed` follows. Raises InvalidArgumentError if the reason is thin."""

    def sign(self, record: Record, meaning: str, password: str) -> None:
        """Sign a record; `changed` follows."""

    def close(self) -> None:
        """Stop listening."""


class LocalDesk:
    """Decides in the run folder, as the person that the operating system says is logged in."""

    changed = Signal()
    signs_with_password = False

    def __init__(self, session: ReviewSession) -> None:
        self._session = session
        self._files: dict[str, tuple[tuple[Path, ...], list[dict[str, Any]]]] = {}
        session.state_changed.connect(self._session_changed)

    @property
    def who(self) -> str:
        """Who signs here, and how that is known."""
        return (
            f"You sign as {local_reviewer().name}: the name of the user of this computer. Nobody checked a password for"
            " it here; the computer says who is logged in."
        )

    def list_rules(self, done: Callable[[Sequence[tuple[str, str]]], object]) -> None:
        """Hand out the rule sets that ship."""
        self._submit(_shipped_rules, done)

    def list_records(self, vessel_id: str, done: Callable[[Sequence[Record]], object]) -> None:
        """Hand out the records in the run folder; they are read again only when there are others."""
        known = self._files.get(vessel_id)

        def read() -> tuple[tuple[Path, ...], list[dict[str, Any]]]:
            files = tuple(saved_decisions(self._session.run.folder))
            return known if known is not None and known[0] == files else (files, self._session.records(vessel_id))

        def came(found: tuple[tuple[Path, ...], list[dict[str, Any]]]) -> None:
            self._files[vessel_id] = found
            done(found[1])

        self._submit(read, came, SHELF)

    def signatures(self, record: Record, done: Callable[[Sequence[Signed]], object]) -> None:
        """Hand out the signatures among the events of the run."""
        events = self._session.run.state.vessels.get(record["context"]["vessel_id"], ())
        done(local_signatures(events, record["decision_id"]))

    def judge(self, vessel_id: str, rules: str, purpose: Purpose) -> None:
        """Judge a vessel as it stands after the review."""
        self._with_rules(rules, lambda found: self._session.decide(vessel_id, found, purpose))

    def answer(self, record: Record, rules: str, answer: Answer) -> None:
        """Write down what a person says, and judge again with it."""
        vessel_id = record["context"]["vessel_id"]
        deed = answer.deed(vessel_id, record)
        purpose: Purpose = record["quality"]["purpose"]

        def judge(found: RuleSet) -> None:
            self._session.write(deed)
            self._session.decide(vessel_id, found, purpose, answer.review(self._session.reviewer.name))

        self._with_rules(rules, judge)

    def sign(self, record: Record, meaning: str, password: str) -> None:  # noqa: ARG002  (nobody could check it)
        """Sign a record by an event of the run."""
        self._session.sign(record["decision_id"], record["record_sha256"], meaning)

    def close(self) -> None:
        """Stop listening."""
        self._session.state_changed.disconnect(self._session_changed, missing_ok=True)

    def _session_changed(self) -> None:
        self.changed.emit()

    def _with_rules(self, name: str, use: Callable[[RuleSet], object]) -> None:
        self._submit(partial(load_rules, name), use)

    def _submit(self, job: Callable[[], Any], done: Callable[[Any], object], lane: str = LANE) -> None:
        self._session.work.submit(job, done, partial(tell, self._session), lane=lane)


class ServiceDesk:
    """Decides at the site's service, as the person that logged in there; what is done stands in the run too."""

    changed = Signal()
    signs_with_password = True

    def __init__(self, session: ReviewSession, link: ServiceLink) -> None:
        self._session, self._link = session, link
        self._own = session.reviewer
        session.reviewer = link.account.reviewer

    @property
    def who(self) -> str:
        """Who signs here, and how that is known."""
        return f"You sign as {self._link.account.words}; the service asks for your password again."

    def list_rules(self, done: Callable[[Sequence[tuple[str, str]]], object]) -> None:
        """Hand out the rule sets that the service knows."""
        self._submit(self._link.rule_sets, done)

    def list_records(self, vessel_id: str, done: Callable[[Sequence[Record]], object]) -> None:
        """Hand out the records at the service."""
        self._submit(partial(self._link.records, vessel_id), done)

    def signatures(self, record: Record, done: Callable[[Sequence[Signed]], object]) -> None:
        """Hand out the signatures at the service."""

        def came(found: Sequence[dict[str, Any]]) -> None:
            done([Signed(one["printed_name"], one["signed_at"], one["meaning"], "service log-in") for one in found])

        self._submit(partial(self._link.signatures, record["decision_id"]), came)

    def judge(self, vessel_id: str, rules: str, purpose: Purpose) -> None:  # noqa: ARG002  (the service has its own)
        """Ask the service for a decision; what was done here is on disk by then, where the service reads it."""
        self._submit(partial(self._link.decide, vessel_id, rules), self._decided)

    def answer(self, record: Record, rules: str, answer: Answer) -> None:  # noqa: ARG002  (those of the record)
        """Say it to the service, which judges again with it."""
        deed = answer.deed(record["context"]["vessel_id"], record)
        review = answer.review(self._link.account.username)

        def done(made: dict[str, Any]) -> None:
            self._session.write(deed)
            self._decided(made)

        self._submit(partial(self._link.review, record["decision_id"], review), done)

    def sign(self, record: Record, meaning: str, password: str) -> None:
        """Sign at the service, which asks for the password again."""

        def done(made: dict[str, Any]) -> None:
            said = {name: record[name] for name in ("decision_id", "record_sha256", "verdict")}
            told = {**said, "meaning": meaning, "service": self._link.account.url, "signature": made["signature_id"]}
            self._session.write(Deed("signed", Target(record["context"]["vessel_id"]), after=told))
            self.changed.emit()

        self._submit(partial(self._link.sign, record, password, meaning), done)

    def close(self) -> None:
        """Log out."""
        self._session.reviewer = self._own
        self._submit(self._link.log_out, lambda _: None)

    def _decided(self, record: dict[str, Any]) -> None:
        said = {name: record[name] for name in ("decision_id", "record_sha256", "verdict")}
        told = {**said, "service": self._link.account.url}
        self._session.write(Deed("decided", Target(record["context"]["vessel_id"]), after=told))
        self.changed.emit()

    def _submit(self, job: Callable[[], Any], done: Callable[[Any], object]) -> None:
        self._session.work.submit(job, done, partial(tell, self._session), lane="service")


def tell(session: ReviewSession, err: Exception) -> None:
    """Tell what went wrong; an error of the program goes on its way.

    Raises
    ------
    Exception
        What is no error of ours.
    """
    if not isinstance(err, MscVisionError):
        raise err
    session.said.emit(Message("error", str(err)))


def _shipped_rules() -> list[tuple[str, str]]:
    found = []
    for name, path in available_rule_sets().items():
        rules = load_rules(path)
        found.append((name, f"{rules.title} ({rules.status})"))
    return found


MEANING_WORDS = {
    "review": "review: I looked at it",
    "approval": "approval: I agree with it",
    "responsibility": "responsibility: I answer for it",
    "authorship": "authorship: I made it",
}
"""What a signature may mean, for the screen."""
