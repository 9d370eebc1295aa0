"""A board for tests: a store with six vessels in one run, people of each role, and what is needed to look at it.

The run is real (pictures, labels, tables); what is judged of each vessel is written down here, so that every verdict is
there.
"""

import asyncio
import hashlib
import re
import secrets
import warnings
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import yaml

from decision_cases import evidence, figure, no_sign, rules, window
from msc_vision.batch.evidence import read_evidence
from msc_vision.decision import Criterion, Input, Place, Reading
from msc_vision.decision.rules import Source
from msc_vision.service.access import AccessSettings, HashingSettings
from msc_vision.service.actions import decisions, scoring
from msc_vision.service.actions import rules as rule_actions
from msc_vision.service.app import access_settings, build_service, create_app
from msc_vision.service.context import Caller
from msc_vision.service.schemas import DecisionAsk
from msc_vision.service.settings import Jobs, ServiceSettings
from msc_vision.service.store import Store, create_store
from sampling_cases import grid, imaged, write_run

with warnings.catch_warnings():  # it asks for a successor of httpx
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

PASSWORD = "Kestrel-over-91-fells"
ROLES = ("viewer", "operator", "reviewer", "approver", "admin")
ORIGIN = "http://127.0.0.1:8790"
VESSELS = ("READY-1", "DENSE-2", "SPOTS-3", "DOUBT-4", "BLIND-5", "NEW-6")
"""GO, NO_GO on layer 2, quarantine, HOLD, CANNOT ASSESS, nobody has asked."""


def now():
    return datetime.now(UTC).replace(microsecond=0)


def write_vessels(folder, scanned):
    """Write the run of `VESSELS`: two layers with four fields each, imaged on three days."""
    days = {(scanned - timedelta(days=2 - day)).isoformat(): 30.0 + 22 * day for day in range(3)}
    fields = [
        one for name in VESSELS for one in imaged(name, "cellstack-2", (1, 2), days, grid(2), lot="L7", passage=4)
    ]
    return write_run(folder, fields)


def board_rules(**changes):
    """Return an approved rule set that asks about the vessel, each layer, contamination and the age of the scan."""
    layer = window(None, 90, id="layer-overgrown", level="layer", message="No layer is overgrown.")
    age = Criterion(
        id="scan-age",
        metric="scan_age_h",
        high=12.0,
        unit="h",
        severity="major",
        source=Source(document="SOP-1 v2", section="5", placeholder=True) if changes else window().source,
        message="The scan is of today.",
    )
    return rules(window(), layer, no_sign(), age, **changes)


def told(name, scanned, run):
    """Return what is judged of one of `VESSELS`."""
    layers = {1: figure(82), 2: figure(81)}
    others = {Place("scan_age_h", "vessel"): Reading(scanned.isoformat())}
    changes = {}
    if name == "DENSE-2":
        layers[2] = figure(97, 2)
    if name == "SPOTS-3":
        others[Place("contamination", "vessel")] = Reading("suspect")
    if name == "DOUBT-4":
        layers[2] = figure(81, doubts=("two methods disagree on 3 of 4 fields",))
    if name == "BLIND-5":
        changes["vessel"] = figure(80, 30)
    sha256 = hashlib.sha256((run / "vessels.json").read_bytes()).hexdigest()
    found = evidence(layers, others=others, inputs=(Input("vessels.json", sha256),), **changes)
    return replace(
        found,
        vessel_id=name,
        vessel_type="cellstack-2",
        run_id="",
        quality={"n_fields_scored": 8, "n_fields_rejected": 0, "n_fields_failed": 0, "reasons": []},
        metrics={"confluency_percent": 80.0, "drift_state": None},
    )


def reader(scanned):
    """Return a reader of evidence that knows what is told of `VESSELS`."""

    def read(run, vessel_id=None, **rest):
        real = read_evidence(run, vessel_id)
        return replace(told(vessel_id, scanned, run), run_id=real.run_id, batch=real.batch)

    return read


class Demo:
    """A service with the board, in a folder; ``client(role)`` looks at it as a person of that role."""

    def __init__(self, folder, run, scanned, *, url=None, n_signatures=1, roots=None, read=None, is_made=False):
        self.folder, self.run_folder, self.scanned = folder, run, scanned
        url = url or f"sqlite:///{folder / 'store.sqlite'}"
        if not is_made:
            create_store(url)
        self.settings = ServiceSettings(
            roots=(run.parent,) if roots is None else roots,
            runs_folder=folder / "runs",
            jobs=Jobs(workers=0),
            n_signatures=n_signatures,
            trusted_hosts=("127.0.0.1", "localhost", "board.example"),
        )
        store = Store.open(url)
        cheap = HashingSettings(time_cost=1, memory_kib=8, parallelism=1)
        chosen = AccessSettings(**{**access_settings(self.settings).model_dump(), "hashing": cheap})
        read = read or reader(scanned)
        self.service = build_service(self.settings, store, rules_of_access=chosen, read_evidence=read)
        for role in ROLES:
            self.service.access.add_person(role, f"{role.title()} Person", (role,), PASSWORD, by="test")
        self.app = create_app(self.service)

    def caller(self, role):
        person = next(one for one in self.service.access.list_people() if one.username == role)
        return Caller(person.principal, "127.0.0.1", secrets.token_hex(4), "")

    def register(self):
        return asyncio.run(scoring.register(self.service, self.caller("operator"), str(self.run_folder)))

    def add_rules(self, chosen):
        text = yaml.safe_dump(chosen.model_dump(mode="json", exclude_defaults=True))
        asyncio.run(rule_actions.add(self.service, self.caller("approver"), text))
        return f"{chosen.id}@{chosen.version}"

    def decide(self, name, rule_set):
        asked = DecisionAsk(vessel_id=name, rule_set=rule_set)
        return asyncio.run(decisions.ask(self.service, self.caller("operator"), asked)).decision_id

    def fill(self):
        """Register the run, add a rule set and judge all vessels but the last."""
        self.register()
        rule_set = self.add_rules(board_rules())
        self.decided = {name: self.decide(name, rule_set) for name in VESSELS[:-1]}
        return self

    def client(self, role=None):
        client = TestClient(self.app, base_url=ORIGIN, follow_redirects=False)
        if role is not None:
            log_in(client, role)
        return client


def log_in(client, username, password=PASSWORD, wanted=""):
    """Fill in the log-in form."""
    page = client.get("/board/login", params={"next": wanted} if wanted else None)
    fields = {"username": username, "password": password, "next": wanted}
    return client.post("/board/login", data=hidden(page.text) | fields)


def hidden(html, action=None):
    """Return the hidden fields of a form; by default of the last one on the page."""
    forms = re.findall(r"<form[^>]*>.*?</form>", html, re.S)
    chosen = [one for one in forms if action is None or f'action="{action}' in one][-1]
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', chosen))


def send(client, page, form, **fields):
    """Send a form of a page as a browser does."""
    html = client.get(page).text
    path = next(one for one in re.findall(r'action="([^"]+)"', html) if one.partition("#")[0].endswith(form))
    return client.post(path.partition("#")[0], data=hidden(html, path) | fields, headers={"Origin": ORIGIN})


class Page(HTMLParser):
    """The words, tags and links of a page; and what a strict policy would refuse."""

    def __init__(self, html):
        super().__init__()
        self.words, self.tags, self.links, self.inline, self.ids, self.labels, self.fields = [], [], [], [], [], [], []
        self._quiet = 0
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        self.tags.append((tag, known))
        self.links += [value for name, value in attrs if name in {"src", "href", "action"} and value]
        self.inline += [f"{tag} {name}" for name, _ in attrs if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in known):
            self.inline.append(tag)
        if "id" in known:
            self.ids.append(known["id"])

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())
