"""Records to tables, figures and a report. Imports no torch."""

from facesec_bench.reporting.assemble import ReportFiles, build
from facesec_bench.reporting.summary import text_summary

__all__ = ["ReportFiles", "build", "text_summary"]
