"""A run as one HTML file that needs nothing else: verdict, table, drawings, curves, pictures."""

from lomt.report.render import render

__all__ = ["render"]
