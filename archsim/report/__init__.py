"""Reports of a run: a table for the terminal, a page, its data as JSON, and a timeline for Perfetto."""

from archsim.report.terminal import show
from archsim.report.write import write_report

__all__ = ["show", "write_report"]
