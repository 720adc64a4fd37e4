"""Reports: what a run found, with what certainty, and how two conditions compare."""

from docendo.runtime.report.build import build_report
from docendo.runtime.report.compare import Comparison, compare
from docendo.runtime.report.model import Report
from docendo.runtime.report.render import render_comparison, render_markdown, render_table

__all__ = [
    "Comparison", "Report", "build_report", "compare", "render_comparison", "render_markdown", "render_table",
]  # fmt: skip
