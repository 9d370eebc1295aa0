"""What the tests of evidence, records in run folders and their replay share: small runs, rules, and damage to them."""

import json
from datetime import UTC, datetime

from batch_cases import make_hashes_fit
from decision_cases import no_sign, rules, window
from msc_vision.decision import Request
from msc_vision.decision.rules import AcceptedModel
from sampling_cases import around, grid, imaged, spread_layer, write_run

SCANNED = "2026-11-18T09:00:00+01:00"
AS_OF = datetime(2026, 11, 18, 12, tzinfo=UTC)
WITHOUT_NETWORK = (AcceptedModel(id="none", sha256=None),)
CONTEXT = {"lot": "L7", "passage": 3, "pdl": 9.5, "bank": "MCB-7", "acquired_at": SCANNED}


def flask_fields(vessel="FLASK", percent=80.0, **columns):
    """Return nine fields over a flask."""
    return spread_layer(1, around(percent), grid(3, 75.0), vessel=vessel, kind="t-75", **CONTEXT | columns)


def stack_fields(vessel="STACK", layers=(1, 6, 12), percent=80.0):
    """Return nine fields on each of some layers of a HYPERStack 12."""
    return [
        one
        for layer in layers
        for one in spread_layer(layer, around(percent, seed=layer), vessel=vessel, kind="hyperstack-12", **CONTEXT)
    ]


def growing_flask(vessel="GROWS", days=(0, 1, 2)):
    """Return a flask on some of three mornings: 20, 40, 62 %."""
    levels = {f"2026-11-{16 + day}T09:00:00+00:00": (20.0, 40.0, 62.0)[day] for day in days}
    return imaged(vessel, "t-75", (1,), levels, grid(2, 75.0), lot="L7", passage=3)


def run_of(folder, fields, **rest):
    """Write a run of these fields below a folder and return the run folder."""
    return write_run(folder, fields, **rest)


def wide_rules(**changes):
    """Return approved rules that a flask at 80 % meets in spite of a coarse method: GO unless evidence is wrong."""
    criteria = (
        window(20, None),
        window(20, None, id="every-layer", level="layer"),
        window(None, 5, id="passage-cap", metric="passage", unit="passages"),
        window(None, 24, id="scan-age", metric="scan_age_h", unit="h"),
        window(60, None, id="coverage", metric="measured_percent"),
        window(5, None, id="fields", metric="fields_scored", unit="fields"),
        window(None, 10, id="rejected", metric="fields_rejected_percent"),
    )
    return rules(*criteria, **{"models": WITHOUT_NETWORK} | changes)


def sign_rules():
    """Return rules that also ask for signs of contamination, which the plain scorer of the tests does not look for."""
    return rules(window(20, None), no_sign(), models=WITHOUT_NETWORK)


def asked(**changes):
    """Return a request for a decision for production, hours after the scan."""
    return Request(**{"as_of": AS_OF} | changes)


def edit_vessel(out, *, layer=None, character=None, fits=True, **values):
    """Give the first vessel, or a layer of it, other values; with every hash made to fit, unless told otherwise."""
    path = out / "vessels.json"
    content = json.loads(path.read_text())
    target = content["vessels"][0] if layer is None else content["vessels"][0]["layers"][layer - 1]
    target |= values
    target["character"] |= character or {}
    path.write_text(json.dumps(content))
    if fits:
        make_hashes_fit(out)
