"""The report of a comparison: one HTML file that needs nothing else, the same as Markdown."""

from finetune_sdk.compare.report.page import html
from finetune_sdk.compare.report.text import markdown

__all__ = ["html", "markdown"]
