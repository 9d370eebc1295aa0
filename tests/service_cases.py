"""A service for tests: a temporary store, people of every role, keys, vessels whose runs are described in few words.

The runs hold only what is registered of them; evidence comes from `decision_cases`, so that a test says in one number
how dense a vessel is. Whole run folders, scored for real, are in the tests that say so.
"""

import json
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import decision_cases
from decision_cases import AS_OF, SHA, no_sign
from msc_vision.decision.evidence import Place, Reading
from msc_vision.decision.rule_file import rule_set_yaml
from msc_vision.io.sealed import canonical_sha256
from msc_vision.service.access import AccessSettings, HashingSettings
from msc_vision.service.app import build_service, create_app
from msc_vision.service.settings import ServiceSettings
from msc_vision.service.store import Store, create_store

with warnings.catch_warnings():  # it asks for a successor of httpx that our client does not use
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

PASSWORD = "a long enough pass phrase"
ROLES = ("viewer", "operator", "reviewer", "approver", "admin")
KEYS = {"reader": ("read",), "mes": ("read", "decide"), "robot": ("read", "score"), "auditor": ("read", "audit")}
QUICK = HashingSettings(time_cost=1, memory_kib=8, parallelism=1)
RULES = "site-a"
DRAFT = "site-draft"


def write_run(folder, vessel_id="CS-7", confluency=80.0, *, run_id=None, at="2026-11-22T08:00:00+00:00"):
    """Write what is registered of a finished run with one vessel, and return its folder."""
    folder.mkdir(parents=True)
    record = {
        "run_id": run_id or f"run-{folder.name}",
        "state": "done",
        "software": {"name": "msc-vision", "version": "0.1.0"},
        "model": {"id": "culture-1", "sha256": SHA},
        "settings_sha256": SHA,
        "hashes_sha256": SHA,
        "counts": {"fields": 27},
        "timing": {"finished_at": at},
    }
    record["record_sha256"] = canonical_sha256(record)
    vessel = {
        "vessel_id": vessel_id,
        "vessel_type": "hyperstack-12",
        "n_layers": 3,
        "confluency_percent": confluency,
        "confluency_interval": [max(confluency - 4, 0), min(confluency + 4, 100)],
        "measured_layers": [1, 2, 3],
        "acquired_from": at,
        "acquired_to": at,
    }
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "vessels.json").write_text(json.dumps({"vessels": [vessel]}))
    for name in ("hashes.json", "layers.parquet", "fields.parquet"):
        (folder / name).write_text("{}")
    return folder


def described_evidence(run, vessel_id=None, *, windows=(), history=(), prior=None):
    """Return the evidence of a run that `write_run` wrote: the vessel as dense as its vessels.json says.

    A vessel whose name ends in ``?`` shows a suspect sign, which a person has to look at.
    """
    record = json.loads((run / "run.json").read_text())
    vessel = json.loads((run / "vessels.json").read_text())["vessels"][0]
    others = {}
    if vessel["vessel_id"].endswith("-doubt"):
        others[Place("contamination", "vessel")] = Reading("suspect", doubts=("dots on layer 2",))
    found = decision_cases.evidence(vessel=decision_cases.figure(vessel["confluency_percent"]), others=others)
    return replace(found, vessel_id=vessel["vessel_id"], run_id=record["run_id"])


@dataclass
class ServiceCase:
    """A service at work, with clients for everybody."""

    folder: Path
    service: object
    app: object
    client: TestClient
    tokens: dict
    keys: dict

    def headers(self, who, **more):
        """Return the headers of somebody: a role, or the name of a key."""
        return {"Authorization": f"Bearer {self.tokens[who]}"} | more

    def get(self, path, who="viewer", **options):
        return self.client.get(path, headers=self.headers(who), **options)

    def post(self, path, who, json=None, **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post(path, headers=self.headers(who, **named), json=json)

    def with_run(self, name="A", vessel_id="CS-7", confluency=80.0, **more):
        """Register a run and return its id."""
        path = write_run(self.folder / "images" / name, vessel_id, confluency, **more)
        answer = self.post("/v1/runs", "robot", {"path": str(path)})
        assert answer.status_code == 201, answer.text
        return answer.json()["run_id"]

    def decide(self, vessel_id="CS-7", who="mes", **more):
        """Ask for a decision and return its record."""
        answer = self.post("/v1/decisions", who, {"vessel_id": vessel_id, "rule_set": RULES, **more})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def audited(self, **wanted):
        """Return the entries of the audit log that have some values; what is queued is written first."""
        self.service.store.write(lambda tx: None).result()
        answer = self.get("/v1/audit", "auditor", params={"limit": 500, **wanted})
        assert answer.status_code == 200, answer.text
        return answer.json()["items"]


def make_rules(folder):
    """Write an approved rule set and a draft of it."""
    folder.mkdir()
    criteria = (decision_cases.window(), no_sign())
    approved = decision_cases.rules(*criteria)
    draft = decision_cases.rules(*criteria, id=DRAFT, status="draft", approval=None)
    (folder / f"{RULES}.yaml").write_text(rule_set_yaml(approved), encoding="utf-8")
    (folder / f"{DRAFT}.yaml").write_text(rule_set_yaml(draft), encoding="utf-8")
    return folder


def ticking_clock():
    """Return a clock that goes on by a second whenever it is read, so that no two decisions are the same."""
    times = iter(range(1_000_000))
    return lambda: AS_OF + timedelta(seconds=next(times))


@contextmanager
def a_service(folder, *, url=None, read_evidence=described_evidence, transport=None, **settings):
    """Run a service in a folder, on a store that has its tables or on a new one, and log everybody in."""
    if url is None:
        url = f"sqlite:///{folder / 'store.db'}"
        create_store(url)
    (folder / "images").mkdir()
    chosen = ServiceSettings.model_validate(
        {
            "roots": (folder / "images",),
            "runs_folder": folder / "runs",
            "rules_folders": (make_rules(folder / "rules"),),
            "trusted_hosts": ("testserver",),
            "jobs": {"workers": 0},
            "limits": {"anonymous_burst": 10_000, "request_burst": 100_000, "noted_refusals_per_min": 100_000},
        }
        | settings
    )
    store = Store.open(url)
    service = build_service(
        chosen,
        store,
        rules_of_access=AccessSettings(hashing=QUICK, n_signatures=chosen.n_signatures),
        read_evidence=read_evidence,
        transport=transport,
        clock=ticking_clock(),
    )
    access = service.access
    tokens, keys = {}, {}
    for role in ROLES:
        access.add_person(role, f"{role.title()} Person", [role], PASSWORD, by="test")
        tokens[role] = access.log_in(role, PASSWORD).token
    for name, scopes in KEYS.items():
        made = access.add_key(name, scopes, by="test")
        tokens[name], keys[name] = made.token, made.key.key_id
    app = create_app(service)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield ServiceCase(folder, service, app, client, tokens, keys)
