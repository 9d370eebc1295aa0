"""What becomes of the open field and of the vessel: accept or reject, judge, answer, sign."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QLabel, QScrollArea, QWidget

from msc_vision.errors import InvalidArgumentError, MscVisionError
from msc_vision.review.events import Action
from napari_msc_vision.desk import Answer, Desk, LocalDesk, ServiceDesk
from napari_msc_vision.docks.field_judgement import KEYS, FieldJudgement
from napari_msc_vision.docks.following import FollowingDock, column
from napari_msc_vision.docks.service_login import ServiceLogin
from napari_msc_vision.docks.vessel_verdict import JUDGE, VesselVerdict
from napari_msc_vision.service_link import ServiceLink
from napari_msc_vision.session import ReviewSession
from napari_msc_vision.verdict import Record, Signed


class DecideDock(FollowingDock):
    """Judges the field that is open and the vessel it belongs to."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self.field = FieldJudgement()
        self.vessel = VesselVerdict()
        self.login = ServiceLogin()
        self.message = QLabel()
        self.desk: Desk | None = None
        self._build()
        for action, sequence in KEYS.items():
            self.key(sequence, _METHODS[action].__get__(self))
        self.key(JUDGE, self.judge_vessel)
        self.follow_viewer()

    def _build(self) -> None:
        self._area = area = QScrollArea()
        self._inner = inner = QWidget()
        parts = column(inner, 2)
        for part in (self.field, self.vessel, self.login):
            parts.addWidget(part)
        parts.addStretch(1)
        area.setWidget(inner)
        area.setWidgetResizable(True)
        area.setFrameShape(QScrollArea.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        layout = column(self.face, 2)
        self.message.setWordWrap(True)
        self.message.hide()
        layout.addWidget(self.message)
        layout.addWidget(area, 1)
        self.field.judged.connect(self._judge_field)
        self.vessel.judge_wanted.connect(self.judge_vessel)
        self.vessel.browse_wanted.connect(self._browse)
        self.vessel.vessel_chosen.connect(lambda _: self._read_records())
        self.vessel.record_chosen.connect(self._read_signatures)
        self.vessel.answered.connect(self._answer)
        self.vessel.sign_wanted.connect(self._sign)
        self.login.log_in_wanted.connect(self._log_in)
        self.login.log_out_wanted.connect(self._log_out)

    # --- following ---------------------------------------------------------------------------------------------------

    def signals(self, session: ReviewSession) -> list[tuple[Any, Callable[..., Any]]]:
        """Return what of a session is listened to."""
        return [
            (session.field_opened, self._field_opened),
            (session.figures_changed, self._show_field),
            (session.state_changed, self._show_field),
        ]

    def begin(self) -> None:
        """Show a run that was just opened."""
        self.vessel.show_vessels([one.vessel_id for one in self.session.figures.vessels])
        self.login.show_account(None)
        self._sit_down(LocalDesk(self.session))
        self._show_field()
        inner = self._inner.minimumSizeHint().width()  # as the window's style has it, known only now
        self._area.setMinimumWidth(inner + self._area.verticalScrollBar().sizeHint().width() + 4)

    def _sit_down(self, desk: Desk) -> None:
        """Decide here from now on."""
        if self.desk is not None:
            self.desk.changed.disconnect(self._read_records, missing_ok=True)
            self.desk.close()
        self.desk = desk
        desk.changed.connect(self._read_records)
        self.vessel.show_desk(desk.who, signs_with_password=desk.signs_with_password)
        desk.list_rules(self.vessel.show_rules)
        self._read_records()

    # --- the field ---------------------------------------------------------------------------------------------------

    def _field_opened(self, key: str) -> None:
        self.field.forget()
        self.vessel.choose_vessel(self.session.row(key).vessel_id)
        self._show_field()

    def _show_field(self) -> None:
        key = self.session.current
        if key is None:
            self.field.show_field(None, None)
        else:
            run = self.session.run
            self.field.show_field(self.session.figures.fields[key], run.state.of(key), run.original.fields[key])

    def accept_field(self) -> None:
        """Accept the open field."""
        self.field.want("accepted")

    def reject_field(self) -> None:
        """Reject the open field, or ask for the reason."""
        self.field.want("rejected")

    def reimage_field(self) -> None:
        """Ask to image the open field again, or for the reason."""
        self.field.want("re-image")

    def reopen_field(self) -> None:
        """Take back what was said of the open field, or ask for the reason."""
        self.field.want("reopened")

    def _judge_field(self, action: Any, code: str | None, text: str) -> None:
        self._try(lambda: self.session.judge_field(action, code, text))

    # --- the vessel --------------------------------------------------------------------------------------------------

    def judge_vessel(self) -> None:
        """Judge the vessel as it stands."""
        rules = self.vessel.rules
        if rules is None:
            self._say("Choose a rule set first.")
            return
        self._try(lambda: self._at_desk().judge(self.vessel.vessel_id, rules, self.vessel.purpose))

    def _at_desk(self) -> Desk:
        if self.desk is None:
            raise InvalidArgumentError("No run is open.")
        return self.desk

    def _browse(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self, "Choose a rule set", str(Path.home()), "Rule sets (*.yaml *.yml)")
        if chosen:
            self.vessel.add_rules(chosen, Path(chosen).name)

    def _read_records(self) -> None:
        if self.scene is not None and self.vessel.vessel_id:
            self._at_desk().list_records(self.vessel.vessel_id, self._records_came)

    def _records_came(self, records: Sequence[Record]) -> None:
        self.vessel.show_records(records)

    def _read_signatures(self, record: Record) -> None:
        def came(found: Sequence[Signed]) -> None:
            self.vessel.show_signatures(record["decision_id"], found)

        self._at_desk().signatures(record, came)

    def _answer(self, record: Record, answer: Answer) -> None:
        rules = record["provenance"]["rule_set"]["id"]
        chosen = self.vessel.rules_of_record(record) or rules
        self._try(lambda: self._at_desk().answer(record, chosen, answer))

    def _sign(self, record: Record, meaning: str, password: str) -> None:
        self._try(lambda: self._at_desk().sign(record, meaning, password))

    # --- the service -------------------------------------------------------------------------------------------------

    def _log_in(self, url: str, username: str, password: str) -> None:
        session = self.session
        self.login.show_waiting()

        def done(link: ServiceLink) -> None:
            self.login.show_account(link.account)
            self._sit_down(ServiceDesk(session, link))

        def failed(err: Exception) -> None:
            self.login.show_account(None, trouble=str(err))
            if not isinstance(err, MscVisionError):
                raise err

        folder = session.run.folder
        session.work.submit(lambda: ServiceLink.log_in(url, username, password, folder), done, failed, lane="service")

    def _log_out(self) -> None:
        self.login.show_account(None)
        self._sit_down(LocalDesk(self.session))

    # --- telling -----------------------------------------------------------------------------------------------------

    def _try(self, action: Callable[[], object]) -> None:
        """Do something, and say here what is wrong with it."""
        self.message.hide()
        try:
            action()
        except MscVisionError as err:
            self._say(str(err))

    def _say(self, text: str) -> None:
        self.message.setText(f"▸ {text}")
        self.message.show()


_METHODS: dict[Action, Any] = {
    "accepted": DecideDock.accept_field,
    "rejected": DecideDock.reject_field,
    "re-image": DecideDock.reimage_field,
    "reopened": DecideDock.reopen_field,
}
