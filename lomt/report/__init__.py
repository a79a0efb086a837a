"""A run as one HTML file that needs nothing else: verdict, table, drawings, curves, pictures."""

from lomt.extras import need

need("lomt.report", "report", "jinja2", "PIL", "yaml")

from lomt.report.render import render

__all__ = ["render"]
