"""What the store keeps of a finished run: where it lies, what it shows, by what it was made."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msc_vision.batch.finished import read_record
from msc_vision.decision.evidence import Evidence
from msc_vision.errors import InvalidDataError, MscVisionError
from msc_vision.io.sealed import canonical_sha256
from msc_vision.service.evidence_cache import RESULTS, EvidenceCache, EvidenceKey
from msc_vision.service.store import Transaction, canonical_json, utc_text
from msc_vision.service.store.tables import run_vessels, runs

MOST_VESSELS = 2000


@dataclass(frozen=True, slots=True)
class RunIndex:
    """Rows of a run, and of its vessels."""

    run: Mapping[str, Any]
    vessels: tuple[Mapping[str, Any], ...]

    @property
    def run_id(self) -> str:
        """The run's own id."""
        return str(self.run["run_id"])


def index_run(folder: Path, evidence: EvidenceCache) -> RunIndex:
    """Read what is kept of a finished run.

    Raises
    ------
    InvalidArgumentError
        If it is no run folder, or not finished.
    InvalidDataError
        If it cannot be read, was altered, or leads out of its folder by links.
    """
    linked = [name for name in RESULTS if (folder / name).is_symlink()]
    if linked:
        raise InvalidDataError(f"{folder.name}: {linked[0]} is a link; a run folder holds its results itself.")
    record = read_record(folder)
    try:
        rest = {name: value for name, value in record.items() if name != "record_sha256"}
        if canonical_sha256(rest) != record["record_sha256"]:
            raise InvalidDataError(f"{folder.name}: run.json was changed after it was written; score the folder again.")
        found = json.loads((folder / "vessels.json").read_text(encoding="utf-8"))["vessels"]
        if not 0 < len(found) <= MOST_VESSELS:
            raise InvalidDataError(f"{folder.name}: {len(found)} vessels; 1 to {MOST_VESSELS} can be registered.")
        vessels = tuple(_vessel_row(record, one, _evidence(folder, one, evidence)) for one in found)
        return RunIndex(_run_row(record, folder), vessels)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        if isinstance(err, MscVisionError):
            raise
        raise InvalidDataError(f"{folder.name}: the run cannot be read: {' '.join(str(err).split())[:200]}.") from err


def add_run(tx: Transaction, index: RunIndex, *, who: str) -> bool:
    """Store a run; return False if it is there already."""
    known = tx.find(runs, index.run_id)
    if known is not None:
        return False
    tx.insert(runs, {**index.run, "registered_at": utc_text(), "registered_by": who}, who=who, what="register run")
    for vessel in index.vessels:
        tx.insert(run_vessels, vessel, who=who, what="register run")
    return True


def _evidence(folder: Path, vessel: Mapping[str, Any], evidence: EvidenceCache) -> Evidence:
    return evidence.get(EvidenceKey(folder, str(vessel["vessel_id"])))


def _run_row(record: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    model = record.get("model") or {}
    return {
        "run_id": str(record["run_id"]),
        "path": str(folder),
        "record_sha256": record["record_sha256"],
        "hashes_sha256": record.get("hashes_sha256"),
        "finished_at": (record.get("timing") or {}).get("finished_at"),
        "state": record["state"],
        "software": " ".join(str(one) for one in (record.get("software") or {}).values()) or None,
        "model_id": model.get("id"),
        "model_sha256": model.get("sha256"),
        "settings_sha256": record.get("settings_sha256"),
        "detail": canonical_json({"counts": record.get("counts")}),
    }


def _vessel_row(record: Mapping[str, Any], vessel: Mapping[str, Any], evidence: Evidence) -> dict[str, Any]:
    low, high = vessel.get("confluency_interval") or (None, None)
    return {
        "run_id": str(record["run_id"]),
        "vessel_id": vessel["vessel_id"],
        "vessel_type": vessel["vessel_type"],
        "batch": evidence.batch,
        "passage": evidence.passage,
        "acquired_from": vessel.get("acquired_from"),
        "acquired_to": vessel.get("acquired_to"),
        "confluency_percent": vessel.get("confluency_percent"),
        "confluency_low_percent": low,
        "confluency_high_percent": high,
        "layers_total": vessel.get("n_layers"),
        "layers_measured": len(vessel.get("measured_layers") or ()),
        "detail": canonical_json({"problems": list(evidence.problems)}),
    }
