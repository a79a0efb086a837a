"""Four pictures of a mixed fit; each takes a matplotlib `ax` and gives it back."""

from __future__ import annotations

from typing import Any

import numpy as np

from lomt.linear.cross_validation import MixedMultiTaskLassoCV, score_curve
from lomt.linear.path import MixedPath
from lomt.linear.prediction import MixedLinearModel
from lomt.linear.stability import StabilitySelection


def _axes(ax: Any) -> Any:
    if ax is not None:
        return ax
    from matplotlib import pyplot as plt

    return plt.subplots(layout="constrained")[1]


def _name_lines(ax: Any) -> None:
    """A legend beside the lines: they cross all of the picture."""
    if ax.get_legend_handles_labels()[1]:
        ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.02))


def _alpha_axis(ax: Any) -> None:
    """α falls from left to right: features come in as one reads."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("α")
    ax.invert_xaxis()


def plot_path(path: MixedPath, names: Any = None, ax: Any = None, *, labelled: int = 7) -> Any:
    """The norm of each feature's row along the path; the largest at the end are named.

    Args:
        path: From `mixed_path`, or `MixedMultiTaskLassoCV.path_`.
        names: Names of the features `(p,)`.
        ax: Where to draw; a new figure if None.
        labelled: How many features get a label.
    """
    ax = _axes(ax)
    norms = path.row_norms
    order = np.argsort(-norms[-1])
    used = order[norms[:, order].max(axis=0) > 0]
    for rank, feature in enumerate(used):
        name = str(names[feature]) if names is not None else str(feature)
        bold = rank < labelled
        ax.plot(
            path.alphas,
            norms[:, feature],
            lw=1.8 if bold else 0.6,
            color=None if bold else "0.75",
            label=name if bold else None,
            zorder=2 if bold else 1,
        )
    _alpha_axis(ax)
    ax.set_ylabel("‖wⱼ‖ over tasks (standardized)")
    _name_lines(ax)
    return ax


def plot_cv(model: MixedMultiTaskLassoCV, ax: Any = None) -> Any:
    """Cross-validated score against α: one curve for each kind of task, the mean of all with its standard error.

    Args:
        model: A fitted `MixedMultiTaskLassoCV`.
        ax: Where to draw; a new figure if None.
    """
    ax = _axes(ax)
    kinds = [info.loss.kind for info in model._tasks]
    for kind in dict.fromkeys(kinds):
        mine = [index for index, other in enumerate(kinds) if other == kind]
        mean, _ = score_curve(model.score_path_[:, mine])
        ax.plot(model.alphas_, mean, lw=1.2, label=f"{kind} ({len(mine)})")
    mean, error = score_curve(model.score_path_)
    ax.plot(model.alphas_, mean, color="black", lw=2, label="all tasks")
    ax.fill_between(model.alphas_, mean - error, mean + error, color="black", alpha=0.12, lw=0)
    ax.axvline(model.alpha_best_, color="black", lw=1, ls="--", label="best")
    ax.axvline(model.alpha_1se_, color="black", lw=1, ls=":", label="one standard error")
    _alpha_axis(ax)
    ax.set_ylabel("AUC or R²" if model.scoring == "auc" else "share of deviance explained")
    ax.legend(frameon=False, fontsize="small")
    return ax


def plot_coefficients(model: MixedLinearModel, ax: Any = None, *, most: int = 40) -> Any:
    """Heat map of features × tasks, each task scaled to its largest coefficient in standardized units.

    Args:
        model: A fitted model.
        ax: Where to draw; a new figure if None.
        most: How many features to show at most, the most important first.
    """
    ax = _axes(ax)
    chosen = np.argsort(-model.feature_importances_, kind="stable")[:most]
    chosen = chosen[model.feature_importances_[chosen] > 0]
    values = model.standardized_coef_[:, chosen].T
    values = values / np.maximum(np.abs(values).max(axis=0, initial=0.0), 1e-300)
    image = ax.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
    columns = [str(task) if label is None else f"{task}: {label}" for task, label in model.columns_]
    names = model.coef_names_
    ax.set_xticks(range(len(columns)), columns, rotation=60, ha="right", fontsize="small")
    ax.set_yticks(range(len(chosen)), [str(names[feature]) for feature in chosen], fontsize="small")
    ax.figure.colorbar(image, ax=ax, label="coefficient / largest of its task")
    return ax


def plot_stability(selection: StabilitySelection, ax: Any = None, *, threshold: float = 0.75, labelled: int = 7) -> Any:
    """How often each feature is selected, against α.

    Args:
        selection: From `stability_selection`.
        ax: Where to draw; a new figure if None.
        threshold: Where to draw the line; features that reach it are drawn stronger.
        labelled: How many of them get a colour and a label.
    """
    ax = _axes(ax)
    final = selection.frequencies[-1]
    for rank, feature in enumerate(np.argsort(-selection.frequencies.sum(axis=0))):
        if final[feature] == 0:
            continue
        stable = final[feature] >= threshold
        named = stable and rank < labelled
        ax.plot(
            selection.alphas,
            selection.frequencies[:, feature],
            lw=1.5 if stable else 0.6,
            color=None if named else "0.5" if stable else "0.75",
            label=str(selection.names[feature]) if named else None,
        )
    ax.axhline(threshold, color="black", lw=1, ls=":")
    _alpha_axis(ax)
    ax.set_ylim(0, 1.02)
    ax.set_ylabel("share of halves that select it")
    _name_lines(ax)
    return ax
