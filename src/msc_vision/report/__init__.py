"""One self-contained page from a run folder or an evaluation: no network, no script, everything inline."""

from msc_vision.report.evaluation import write_evaluation_page
from msc_vision.report.page import write_run_report

__all__ = ["write_evaluation_page", "write_run_report"]
