"""The pictures of docs/board.md: the vessel board with made-up vessels, as Chromium shows it.

``PYTHONPATH=src:tests python -m benchmarks.board_pictures WORK OUT`` makes five synthetic vessels in WORK, once, scores
and judges them by made-up limits, and writes OUT/board-*.png. The limits have no other use.
"""

import sys
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from board_cases import PASSWORD, Demo, now
from browser_cases import Browser, served, started_browser
from msc_vision.cli import main
from msc_vision.decision import Criterion, RuleSet
from msc_vision.decision.rules import AcceptedModel, Approval, Source
from msc_vision.service.evidence_cache import library_reader

CONTEXT = {"objective": "10x", "site": "synthetic", "donor": "D1", "lot": "SYN-21", "passage": 3, "medium": "synthetic"}
SETTINGS = {"height_px": 640, "width_px": 640, "pixel_size_um": 1.24}
SHOWN = (("/board", "board-vessels", 1100), ("/board/vessels/T75-204", "board-vessel", 1500))


def recipes(today: datetime) -> dict[str, dict[str, Any]]:
    """Return a vessel for each verdict that is easily had."""

    def recipe(name: str, kind: str, layers: list[tuple[int, float]], **rest: Any) -> dict[str, Any]:
        fields = [{"layer": n, "confluency_percent": percent, "n_fields": 4} for n, percent in layers]
        context = CONTEXT | {"acquired_at": today.isoformat()} | rest.pop("context", {})
        return {
            "description": name, "vessel_id": name, "vessel_type": kind, "seed": sum(map(ord, name)),
            "file_format": "png", "layers": fields, "field_spread": 3, "settings": SETTINGS, "context": context, **rest,
        }  # fmt: skip

    course = {"times_h": [0, 24, 48], "growth": {"doubling_time_h": 36, "lag_h": 6}}
    begun = {"acquired_at": (today - timedelta(hours=48)).isoformat()}
    signs = ((2, "filaments"), (3, "budding"))
    odd = [{"layer": 1, "field": n, "settings": {"contamination": {"kind": kind}}} for n, kind in signs]
    return {
        "T75-204": recipe("T75-204", "t-75", [(1, 34.0)], time_course=course, context=begun),
        "CS2-118": recipe("CS2-118", "cellstack-2", [(1, 82.0), (2, 97.0)]),
        "T75-207": recipe("T75-207", "t-75", [(1, 80.0)], odd_fields=odd, seed=43),
        "T75-209": recipe("T75-209", "t-75", [(1, 80.0)]),
        "HS12-31": recipe("HS12-31", "hyperstack-12", [(1, 80.0), (2, 74.0), (3, 66.0)]),
    }


def made_up_rules() -> RuleSet:
    """Return limits that nobody should use."""
    source = Source(document="Made up for a picture", section="none", in_force=date(2026, 1, 1))

    def criterion(name: str, metric: str, unit: str, **rest: Any) -> Criterion:
        usual = {"severity": "major", "source": source, "message": "Made up."}
        return Criterion(**{"id": name, "metric": metric, "unit": unit} | usual | rest)

    return RuleSet(
        id="made-up",
        version="1",
        status="approved",
        title="Made-up limits, for pictures of the board only",
        approval=Approval(by="nobody", on=date(2026, 1, 1), document="none"),
        models=(AcceptedModel(id="culture-3"),),
        criteria=(
            criterion("confluency-window", "confluency_percent", "%", low=75, high=99, probability=0.7),
            criterion("layer-overgrown", "confluency_percent", "%", level="layer", high=90, probability=0.6),
            criterion("contamination-signs", "contamination", "", allowed=("no visual sign",), severity="critical"),
            criterion("passage-cap", "passage", "passages", high=5),
            criterion("scan-age", "scan_age_h", "h", high=24),
        ),
    )


def make_runs(work: Path) -> list[Path]:
    """Make images and runs that are not there yet."""
    today = now() - timedelta(hours=5)
    work.mkdir(parents=True, exist_ok=True)
    for name, content in recipes(today).items():
        if (work / "runs" / name).is_dir():
            continue
        (work / f"{name}.yaml").write_text(yaml.safe_dump(content))
        _command("synth", str(work / f"{name}.yaml"), "--out", str(work / "images" / name))
        _command("run", str(work / "images" / name), "--out", str(work / "runs" / name), "--workers", "1")
    return sorted((work / "runs").iterdir())


def _command(*words: str) -> None:
    kept, sys.argv = sys.argv, ["msc-vision", *words]
    try:
        main()
    except SystemExit as done:
        if done.code not in (0, 3, None):
            raise
    finally:
        sys.argv = kept


def show(browser: Browser, address: str, path: Path, height: int) -> None:
    """Take a picture of a page, once all its images are there."""
    browser.size(1180, height)
    browser.go(address)
    browser.run("document.querySelectorAll('img').forEach(one => { one.loading = 'eager' })")
    browser.run("Promise.all([...document.images].map(one => one.decode()))")
    browser.screenshot(path, whole=False)


def take(work: Path, out: Path) -> None:
    """Write the pictures."""
    runs = make_runs(work)
    folder = work / now().strftime("store-%H%M%S")
    folder.mkdir()
    demo = Demo(folder, runs[0], now(), roots=(work,), read=library_reader())
    rule_set = demo.add_rules(made_up_rules())
    decided = {}
    for run in runs:
        demo.run_folder = run
        demo.register()
        decided[run.name] = demo.decide(run.name, rule_set)
    with served(demo.app) as base, started_browser() as browser:
        browser.go(f"{base}/board/login")
        browser.write("approver")
        browser.press("Tab")
        browser.write(PASSWORD)
        with browser.loading():
            browser.press("Enter")
        pages = (*SHOWN, (f"/board/records/{decided['T75-207']}", "board-record", 1250))
        for page, name, height in pages:
            show(browser, base + page, out / f"{name}.png", height)


if __name__ == "__main__":
    take(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
