"""A reviewer at the site's service: a real `msc-vision serve` on SQLite, a real run, from log-in to signature."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from napari.components import ViewerModel
from rule_cases import APPROVED

from msc_vision.decision import check_record
from msc_vision.decision.judgement import Review
from msc_vision.decision.rule_file import rule_set_yaml
from msc_vision.decision.rules import RuleSet
from msc_vision.errors import InvalidArgumentError, MissingDependencyError, OutputError
from msc_vision.review.events import Reviewer
from msc_vision.review.log import read_log
from napari_msc_vision import service_link
from napari_msc_vision.docks.decide import DecideDock
from napari_msc_vision.registry import close_run, open_run
from napari_msc_vision.service_link import ServiceLink, ServiceRefusedError, checked_url

PASSWORD = "a long enough pass phrase"


def command(*arguments, typed="", database):
    environment = os.environ | {"MSC_VISION_DATABASE": database}
    made = subprocess.run(
        [sys.executable, "-m", "msc_vision.cli", *arguments],
        input=typed, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory, finished_run):
    """A site: its folder of runs, its rule set, two people, and the address of its service."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(finished_run, folder / "runs" / "small.run")
    shutil.copytree(finished_run, folder / "elsewhere" / "small.run")
    (folder / "rules").mkdir()
    (folder / "rules" / "site-window.yaml").write_text(
        rule_set_yaml(RuleSet.model_validate(APPROVED)), encoding="utf-8"
    )
    database = f"sqlite:///{folder / 'store.db'}"
    command("store", "init", "--database", database, database=database)
    for name, role in (("maria", "approver"), ("victor", "viewer")):
        arguments = ("access", "add-person", name, "--name", f"{name.title()} Person", "--role", role)
        command(*arguments, "--password-stdin", "--database", database, typed=f"{PASSWORD}\n", database=database)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = (
        "serve",
        "--database",
        database,
        "--root",
        folder / "runs",
        "--rules",
        folder / "rules",
        "--port",
        port,
    )
    server = subprocess.Popen([sys.executable, "-m", "msc_vision.cli", *map(str, arguments)], stderr=subprocess.DEVNULL)
    try:
        wait_for(port, server)
        yield folder, f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def wait_for(port, server):
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert server.poll() is None, "the service ended"
        time.sleep(0.1)
    raise AssertionError("the service did not answer within a minute")


@pytest.fixture(scope="module")
def maria(site):
    folder, url = site
    link = ServiceLink.log_in(url, "maria", PASSWORD, folder / "runs" / "small.run")
    yield link
    link.log_out()


def test_a_person_decides_holds_and_signs_at_the_service(site, maria):
    folder, _ = site
    assert maria.account.words.startswith("Maria Person (maria, approver) at http://127.0.0.1")
    assert maria.account.reviewer.identified_by == "service log-in"
    assert Path(maria.know_run()) == folder / "runs" / "small.run"
    assert ("site-window@1", "Window of the site (approved)") in maria.rule_sets()
    first = maria.decide("SMALL", "site-window@1")
    assert (first["verdict"], check_record(first)) == ("CANNOT_ASSESS", ())
    held = maria.review(
        first["decision_id"], Review("nobody", "2026-11-22T08:00:00Z", "hold", "looked-again", "See me.")
    )
    assert (held["review"]["reviewer"], held["supersedes"]) == ("maria", first["decision_id"])
    again = maria.decide("SMALL", "site-window@1")
    assert again["supersedes"] == held["decision_id"]
    signed = maria.sign(again, PASSWORD, "approval")
    assert (signed["printed_name"], signed["record_sha256"]) == ("Maria Person", again["record_sha256"])
    assert [one["meaning"] for one in maria.signatures(again["decision_id"])] == ["approval"]
    listed = [one["decision_id"] for one in maria.records("SMALL")]
    assert listed == [again["decision_id"], held["decision_id"], first["decision_id"]]
    with pytest.raises(ServiceRefusedError, match=r"was superseded by .*; sign that one"):
        maria.sign(first, PASSWORD, "approval")


def test_a_signature_takes_the_password_again(maria):
    record = maria.decide("SMALL", "site-window@1")
    with pytest.raises(ServiceRefusedError, match="Check name and password"):
        maria.sign(record, "something else entirely", "approval")
    assert maria.signatures(record["decision_id"]) == ()


def test_a_wrong_password_lets_nobody_in(site):
    folder, url = site
    with pytest.raises(ServiceRefusedError, match=r"The service refused: .* Check name and password"):
        ServiceLink.log_in(url, "victor", "not the pass phrase", folder / "runs" / "small.run")


def test_who_may_only_read_is_told_what_it_takes(site):
    folder, url = site
    victor = ServiceLink.log_in(url, "victor", PASSWORD, folder / "runs" / "small.run")
    with pytest.raises(ServiceRefusedError, match="Ask an admin of the service for the role"):
        victor.decide("SMALL", "site-window@1")
    victor.log_out()


def test_a_run_that_the_service_cannot_see_is_named(site):
    folder, url = site
    link = ServiceLink.log_in(url, "maria", PASSWORD, folder / "elsewhere" / "small.run")
    with pytest.raises(ServiceRefusedError, match="cannot see the folder of this run"):
        link.know_run()
    link.log_out()


def test_a_session_that_ended_asks_to_log_in_again(site):
    folder, url = site
    link = ServiceLink.log_in(url, "maria", PASSWORD, folder / "runs" / "small.run")
    kept = link._client._http.headers["Authorization"]
    link.log_out()
    again = ServiceLink.log_in(url, "victor", PASSWORD, folder / "runs" / "small.run")
    again._client._http.headers["Authorization"] = kept
    with pytest.raises(ServiceRefusedError, match="log in again"):
        again.rule_sets()


def test_the_dock_decides_holds_and_signs_at_the_service(screen, qtbot, site):
    folder, url = site
    run, viewer = folder / "runs" / "small.run", ViewerModel()
    dock = DecideDock(viewer)
    qtbot.addWidget(dock)
    open_run(viewer, run)
    dock.show()
    dock.login.fold.click()
    dock.login.url.setText(url)
    dock.login.username.setText("maria")
    dock.login.password.setText(PASSWORD)
    dock.login.button.click()
    assert dock.login.words.text().startswith("Logged in: Maria Person (maria, approver)")
    assert "the service asks for your password again" in dock.vessel.who.text()
    dock.field.want("accepted")
    dock.vessel.rule_sets.setCurrentIndex(dock.vessel.rule_sets.findData("site-window@1"))
    dock.judge_vessel()
    decided = dock.vessel.view.decision_id
    dock.vessel.kinds.setCurrentIndex(dock.vessel.kinds.findData("hold"))
    dock.vessel.reasons.setCurrentIndex(1)
    dock.vessel.text.setText("See me.")
    dock.vessel.say.click()
    assert dock.vessel.about.text().count("maria held it for review") == 1
    assert dock.vessel.view.decision_id != decided
    dock.vessel.password.setText(PASSWORD)
    dock.vessel.sign.click()
    assert "Signed: Maria Person, " in dock.vessel.signed.text()
    said = {one.action: one for one in read_log(run).events}
    assert said["accepted"].reviewer == Reviewer("maria", "service log-in")
    assert {said[action].reviewer.name for action in ("decided", "held", "signed")} == {"maria"}
    assert said["signed"].after["service"] == url
    dock.login.out.click()
    assert "the name of the user of this computer" in dock.vessel.who.text()
    assert dock.session.reviewer.identified_by == "operating-system user"
    close_run(viewer)


def test_a_service_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OutputError, match="the service cannot be reached"):
        ServiceLink.log_in("http://127.0.0.1:9", "maria", PASSWORD, tmp_path, patience_s=0.1)


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        (" https://msc.site:8790/ ", "https://msc.site:8790"),
        ("msc.site:8790", "https://msc.site:8790"),
        ("http://localhost:8790", "http://localhost:8790"),
    ],
)
def test_an_address_as_people_type_it(typed, address):
    assert checked_url(typed) == address


@pytest.mark.parametrize(
    ("typed", "said"),
    [("http://msc.site", "the password would travel readable"), ("", "is no address"), ("ftp://x", "is no address")],
)
def test_an_address_that_will_not_do(typed, said):
    with pytest.raises(InvalidArgumentError, match=said):
        checked_url(typed)


def test_without_the_extra_the_message_is_its_fix(monkeypatch, tmp_path):
    monkeypatch.setattr(service_link, "is_installed", lambda: False)
    with pytest.raises(MissingDependencyError, match=r"pip install 'napari-msc-vision\[service\]'"):
        ServiceLink.log_in("https://msc.site", "maria", PASSWORD, tmp_path)
