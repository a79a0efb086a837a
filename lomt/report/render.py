"""A run folder → one HTML file."""

import base64
import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lomt.evaluation.formatting import number
from lomt.report.compaction import small, unchanged
from lomt.report.curves import learning, method_legend, sparsity, task_legend, weights
from lomt.report.diagnosis import diagnosed, early
from lomt.report.gains import gains
from lomt.report.gallery import gallery
from lomt.report.kernels import lanes
from lomt.report.names import duration, plural, unbroken
from lomt.report.network import networks, tap_table
from lomt.report.paths import paths
from lomt.report.patterns import needs
from lomt.report.read import Run, read
from lomt.report.scatter import scatter
from lomt.report.searches import searches
from lomt.report.stages import stages
from lomt.report.table import groups, headings
from lomt.report.verdict import verdict


def render(run_folder: Path) -> str:
    """Make the report of a run, ended or not.

    The file needs nothing else: style, script and pictures are inside, and its own security policy forbids every
    request. All texts of the run are escaped, and no script but the report's own may run.

    Args:
        run_folder: with ``config.yaml`` and ``stages/``.

    Returns:
        HTML; sections whose stages are missing say which stage to run.

    Raises:
        FileNotFoundError: where this is no run folder.
    """
    run = read(Path(run_folder))
    environment = Environment(
        loader=PackageLoader("lomt", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, duration=duration, plural=plural, unbroken=unbroken)
    return environment.get_template("report.html.jinja").render(_contents(run))


def _contents(run: Run) -> dict[str, Any]:
    """Everything that the template names."""
    found = run.comparison if run.comparison and run.comparison.outcomes else None
    said = verdict(run)
    script = _asset("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {
        "run": run,
        "name": run.path.resolve().name,
        "found": found,
        "verdict": said,
        "headings": headings(found, said.network) if found else [],
        "groups": groups(found) if found else [],
        "other_groups": groups(found, headline_only=False) if found else [],
        "scatter": scatter(found) if found else None,
        "gains": gains(found) if found else None,
        "networks": networks(run),
        "taps": tap_table(run),
        "paths": paths(run),
        "needs": needs(run),
        "searches": searches(run),
        "small": small(run),
        "unchanged": unchanged(run),
        "lanes": lanes(run),
        "diagnosed": diagnosed(run),
        "early": early(run),
        "gallery": gallery(run),
        "learning": learning(run),
        "by_task": [*filter(None, [sparsity(run)]), *weights(run)],
        "stages": stages(run),
        "method_legend": method_legend(run),
        "task_legend": task_legend(run),
        "style": Markup(_asset("report.css")),  # noqa: S704 – our own file
        "script": Markup(script),  # noqa: S704 – our own file
        "script_hash": f"sha256-{digest}",
    }


def _asset(name: str) -> str:
    return files("lomt.report").joinpath(name).read_text(encoding="utf-8")
