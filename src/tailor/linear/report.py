"""One HTML file about a cross-validated mixed fit: no network, no scripts, readable on a phone."""

from __future__ import annotations

import io
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from tailor.linear.cross_validation import MixedMultiTaskLassoCV, score_curve
from tailor.linear.plots import plot_coefficients, plot_cv, plot_path, plot_stability
from tailor.linear.stability import StabilitySelection

_METHOD = (
    "Each feature has one row of coefficients over all tasks, and the penalty lets whole rows vanish (MTLComb, "
    "arXiv 2405.09886). α was chosen by cross-validation, folds stratified by task and class; the fit stops on a "
    "duality gap. Scores are those of the held-out folds. Importance is the norm of a row in standardized units; "
    "stability is the share of random halves of the data in which a feature is selected."
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
        title: Its headline.
        subtitle: A line below it.
        stability: Result of `stability_selection`, if it was run.
    """
    import jinja2

    template = resources.files("tailor.linear").joinpath("page.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True)
    html = environment.from_string(template).render(
        title=title,
        subtitle=subtitle,
        figures=_figures(model),
        tasks=_tasks(model, samples),
        score_name="AUC or R²" if model.scoring == "auc" else "deviance explained",
        pictures=_pictures(model, stability),
        selected=_selected(model, stability),
        stable=stability is not None,
        method=_METHOD,
        settings=[(name, str(value)) for name, value in sorted(model.get_params().items())],
    )
    draft = path.with_name(path.name + ".tmp")
    draft.write_text(html, encoding="utf-8")
    draft.replace(path)


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
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _figures(model: MixedMultiTaskLassoCV) -> list[tuple[str, str]]:
    mean, _ = score_curve(model.score_path_)
    chosen = int(np.flatnonzero(model.alphas_ == model.alpha_)[0])
    return [
        ("tasks", str(len(model.task_names_))),
        (f"of {model.coef_.shape[1]} features", str(int(model.get_support().sum()))),
        ("cross-validated score", f"{mean[chosen]:.3f}"),
        ("α", f"{model.alpha_:.3g}"),
        ("relative duality gap", f"{model.dual_gap_:.1e}"),
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


def _pictures(model: MixedMultiTaskLassoCV, stability: StabilitySelection | None) -> list[tuple[str, str, str]]:
    names = model.coef_names_
    tall = 2.5 + 0.22 * min(40, int(model.get_support().sum()))
    pictures = [
        (
            "Cross-validation",
            "Score on held-out folds; the band is one standard error.",
            svg(lambda ax: plot_cv(model, ax), (5.4, 3.6), "cv"),
        ),
        (
            "What each task uses",
            "Standardized coefficients, each task scaled to its largest.",
            svg(lambda ax: plot_coefficients(model, ax), (5.4, tall), "map"),
        ),
        (
            "Regularization path",
            "Features enter, for all tasks at once, as α falls.",
            svg(lambda ax: plot_path(model.path_, names, ax), (5.4, 3.6), "path"),
        ),
    ]
    if stability is not None:
        caption = "How often each feature is selected on random halves of the data."
        pictures.append(("Stability", caption, svg(lambda ax: plot_stability(stability, ax), (5.4, 3.6), "stability")))
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
