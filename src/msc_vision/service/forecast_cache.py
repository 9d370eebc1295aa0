"""Growth forecasts of vessels, kept in memory while the runs that they rest on stay as they are."""

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from msc_vision.service.evidence_cache import Stamp, evidence_stamp


class ForecastCache:
    """Forecasts that were asked for last, while their runs stay as they are; ``prior`` is how the bank grows."""

    def __init__(self, prior: Path | None, n_kept: int = 256) -> None:
        self._prior = prior
        self._n_kept = n_kept
        self._kept: OrderedDict[tuple[tuple[Path, ...], str], tuple[Stamp, dict[str, Any] | None]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, runs: tuple[Path, ...], vessel_id: str) -> dict[str, Any] | None:
        """Return the forecast of a vessel; None if the runs do not show it."""
        stamp = evidence_stamp(runs)
        with self._lock:
            kept = self._kept.get((runs, vessel_id))
        if kept is not None and kept[0] == stamp:
            return kept[1]
        found = _forecast(runs, vessel_id, self._prior)
        with self._lock:
            self._kept[runs, vessel_id] = (stamp, found)
            while len(self._kept) > self._n_kept:
                self._kept.popitem(last=False)
        return found


def _forecast(runs: tuple[Path, ...], vessel_id: str, prior: Path | None) -> dict[str, Any] | None:
    from msc_vision.batch.forecasts import ForecastRequest, forecast_runs, read_prior
    from msc_vision.report.growth import forecast_sentences
    from msc_vision.statistics.growth_prior import placeholder_prior
    from msc_vision.vessels import load_catalogue

    request = ForecastRequest(prior=placeholder_prior() if prior is None else read_prior(prior))
    found = next((one for one in forecast_runs(runs, load_catalogue(), request) if one.vessel_id == vessel_id), None)
    if found is None:
        return None
    window, series = found.window, found.series
    return {
        "vessel_id": vessel_id,
        "reason": found.reason,
        "starts_at": found.starts_at,
        "last_scan_at": found.last_scan_at,
        "low_percent": None if window is None else window.low_percent,
        "high_percent": None if window is None else window.high_percent,
        "enters_at": found.enters_at,
        "leaves_at": found.leaves_at,
        "n_time_points": 0 if series is None else len(series.points),
        "sentences": list(forecast_sentences(found)),
    }
