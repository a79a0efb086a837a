"""One HTML file about a cross-validated mixed fit, in the main report's style: no network, no scripts."""

from __future__ import annotations

import io
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from lomt.files import write_atomically
from lomt.linear.cross_validation import MixedMultiTaskLassoCV, score_curve
from lomt.linear.plots import plot_coefficients, plot_cv, plot_path, plot_stability
from lomt.linear.stability import StabilitySelection

_METHOD = (
    "Each feature has one row of coefficients over all tasks, and the penalty lets whole rows vanish (MTLComb, "
    "arXiv 2405.09886). α was chosen by cross-validation, folds stratified by task and class; the fit stops on a "
    "duality gap, which bounds how far the objective is from its minimum."
)


def write_report(
    path: Path,
    model: MixedMultiTaskLassoCV,
    samples: dict[Any, int],
    title: str,
    subtitle: str,
    stability: StabilitySelection | None = None,
) -> None:
    """Write the report of a fitted model to `path`, whole or not at all.

    Args:
        path: The HTML file.
        model: A fitted `MixedMultiTaskLassoCV`.
        samples: Number of labels of each task.
        title: What the data are called.
        subtitle: What to say of the data in one line.
        stability: Result of `stability_selection`, if it was run.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    html = environment.from_string(_asset("lomt.linear", "page.html.jinja")).render(
        style=Markup(_asset("lomt.report", "report.css")),  # noqa: S704 - our own file
        title=title,
        verdict=_verdict(model),
        remarks=_remarks(model),
        facts=[subtitle, *_facts(model)],
        tasks=_tasks(model, samples),
        score_name="AUC or R²" if model.scoring == "auc" else "deviance explained",
        pictures={name: Markup(picture) for name, picture in _pictures(model, stability).items()},  # noqa: S704 - drawn here
        selected=_selected(model, stability),
        stable=stability is not None,
        method=_METHOD,
        settings=[(name, str(value)) for name, value in sorted(model.get_params().items())],
    )
    write_atomically(path, html)


def svg(draw: Any, size: tuple[float, float], salt: str) -> str:
    """The picture that `draw(ax)` makes, as an SVG element without an XML header."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasSVG(figure)
    # Several pictures share one page: the salt keeps their element ids apart (and the same from run to run).
    with mpl.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none", "font.family": "sans-serif"}):
        draw(figure.add_subplot())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    text = buffer.getvalue()
    # What is black becomes the page's ink, which is light where the page is dark.
    return text[text.index("<svg") :].replace("#000000", "currentColor")


def _asset(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


def _verdict(model: MixedMultiTaskLassoCV) -> str:
    used, tasks = int(model.get_support().sum()), len(model.task_names_)
    shared = "1 feature serves" if used == 1 else f"{used} features serve" if used else "No feature serves"
    return f"{shared} {'the task' if tasks == 1 else f'all {tasks} tasks'}, of {model.coef_.shape[1]} measured"


def _remarks(model: MixedMultiTaskLassoCV) -> list[str]:
    remarks = []
    if model.alpha_best_ == model.alphas_[-1] and len(model.alphas_) > 1:
        remarks.append(
            "The best α is the smallest that was tried: the penalty helps prediction little here. A smaller "
            "--alpha-min-ratio tries less of it, --rule 1se gives fewer features for nearly the same score."
        )
    if model.dual_gap_ > model.tol:
        remarks.append(
            f"The fit stopped at a relative duality gap of {model.dual_gap_:.1e}, above tol = {model.tol:.1e}."
        )
    return remarks


def _facts(model: MixedMultiTaskLassoCV) -> list[str]:
    mean, error = score_curve(model.score_path_)
    chosen = int(np.flatnonzero(model.alphas_ == model.alpha_)[0])
    what = "AUC or R²" if model.scoring == "auc" else "deviance explained"
    return [
        f"{what} on held-out folds {mean[chosen]:.3f} ± {error[chosen]:.3f} (standard error), mean over tasks",
        f"α = {model.alpha_:.3g}",
        f"relative duality gap {model.dual_gap_:.1e}",
    ]


def _tasks(model: MixedMultiTaskLassoCV, samples: dict[Any, int]) -> list[dict[str, Any]]:
    chosen = int(np.flatnonzero(model.alphas_ == model.alpha_)[0])
    rows = []
    for index, info in enumerate(model._tasks):
        folds = model.score_path_[chosen, index]
        known = folds[~np.isnan(folds)]
        rows.append(
            {
                "name": info.name,
                "loss": info.loss.name,
                "samples": samples.get(info.name, ""),
                "weight": info.weight,
                "features": int(np.any(model.coef_[info.columns] != 0, axis=0).sum()),
                "score": f"{known.mean():.3f} ± {known.std():.3f}" if len(known) else "–",
            }
        )
    return rows


def _pictures(model: MixedMultiTaskLassoCV, stability: StabilitySelection | None) -> dict[str, str]:
    names = model.coef_names_
    tall = 2.5 + 0.22 * min(40, int(model.get_support().sum()))
    pictures = {
        "cv": svg(lambda ax: plot_cv(model, ax), (5.4, 3.6), "cv"),
        "map": svg(lambda ax: plot_coefficients(model, ax), (6.4, tall), "map"),
        "path": svg(lambda ax: plot_path(model.path_, names, ax), (6.2, 3.6), "path"),
    }
    if stability is not None:
        pictures["stability"] = svg(lambda ax: plot_stability(stability, ax), (7.2, 3.6), "stability")
    return pictures


def _selected(model: MixedMultiTaskLassoCV, stability: StabilitySelection | None) -> list[dict[str, Any]]:
    order = np.argsort(-model.feature_importances_, kind="stable")
    return [
        {
            "name": model.coef_names_[feature],
            "importance": model.feature_importances_[feature],
            "stability": 0.0 if stability is None else stability.frequencies[-1, feature],
        }
        for feature in order
        if model.feature_importances_[feature] > 0
    ]
