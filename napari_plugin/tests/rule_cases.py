"""A rule set that a site approved, for tests of signing."""

APPROVED = {
    "id": "site-window",
    "version": "1",
    "status": "approved",
    "title": "Window of the site",
    "approval": {"by": "QA", "on": "2025-01-01", "document": "SOP-1"},
    "models": [{"id": "none"}],
    "criteria": [
        {
            "id": "layer-window",
            "metric": "confluency_percent",
            "level": "layer",
            "low": 70.0,
            "high": 90.0,
            "unit": "%",
            "severity": "major",
            "source": {"document": "SOP-1 v1", "section": "3", "in_force": "2025-01-01"},
            "message": "Cells are harvested while they still divide.",
        }
    ],
}
