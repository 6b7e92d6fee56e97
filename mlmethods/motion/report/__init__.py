"""Reports of the counting pipeline: a page to read, and the same for programs."""

from mlmethods.motion.report.document import SCHEMA, report_document
from mlmethods.motion.report.page import render_page, write_report

__all__ = ["SCHEMA", "render_page", "report_document", "write_report"]
