"""`lomt linear`: fit, cross-validate and report a table from the command line."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from joblib import parallel_config

from lomt.files import cell, ready, write_atomically
from lomt.linear.cross_validation import MixedMultiTaskLassoCV
from lomt.linear.datasets import breast_cancer
from lomt.linear.estimator import MixedMultiTaskLasso
from lomt.linear.inputs import observed
from lomt.linear.losses import LOSSES
from lomt.linear.report import write_report
from lomt.linear.stability import stability_selection
from lomt.linear.table import Table, read_table


def main(argv: Sequence[str] | None = None) -> int:
    """Run `lomt linear`; without a command, `report`, and without a table, on the embedded data.

    Returns:
        0 if all went well, 2 if the table or an option makes no sense (said on stderr).
    """
    words = sys.argv[1:] if argv is None else list(argv)
    if not words or words[0].endswith(".csv") or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words = ["report", *words]
    arguments = _parser().parse_args(words)
    # Compiled loops hold no lock, so that threads do; processes would answer Ctrl-C and warn in words of their own.
    with parallel_config("threading"), warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: _say(message)
        try:
            sys.stdout.write(_run(arguments))
        except (ValueError, OSError) as error:
            _say(error)
            return 2
    return 0


def _say(what: Warning | Exception | str) -> None:
    sys.stderr.write(f"lomt linear: {what}\n")


def _run(arguments: argparse.Namespace) -> str:
    """Do what was asked for; returns what to say of it."""
    for name, least in (("pairs", 0), ("folds", 2), ("alphas", 1)):
        given = getattr(arguments, name, least)
        if given < least:
            raise ValueError(f"--{name} {given}: give a number of {least} or more")
    if getattr(arguments, "jobs", 1) == 0:
        raise ValueError("--jobs 0: give a number of folds at a time, or -1 for all cores")
    table = _embedded(arguments) if arguments.table is None else read_table(**_table_options(arguments))
    out = Path(arguments.out)
    ready(out)
    model = _fit(arguments, table)
    _write_results(out, model, table)
    if arguments.command == "report":
        _report(arguments, model, table, out)
    return _summary(model, out, arguments.command)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lomt linear",
        description="Features shared by regression, classification and count tasks (MTLComb). "
        "Without a command: report; without a table: scikit-learn's breast_cancer, as diagnosis and ten measurements "
        "to predict from twenty others.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("fit", "fit at one alpha"),
        ("cv", "choose alpha by cross-validation, then fit"),
        ("report", "as cv, with stability selection, written up as one HTML file"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        _add_data_options(command)
        _add_model_options(command.add_argument_group("model"))
        if name == "fit":
            command.add_argument("--alpha", type=float, required=True, help="weight of the penalty")
        else:
            _add_choice_options(command.add_argument_group("choice of alpha"))
        if name == "report":
            command.add_argument(
                "--pairs", type=int, default=20, help="pairs of halves for stability (default: 20; 0: none)"
            )
    return parser


def _add_data_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("table", nargs="?", help="a CSV file with a header (default: the embedded table)")
    command.add_argument(
        "--target", nargs="+", metavar="COLUMN", help="column(s) with the labels; several: one task each"
    )
    command.add_argument("--task-column", metavar="COLUMN", help="column that holds the task of each row (long tables)")
    command.add_argument(
        "--drop", nargs="*", default=[], metavar="COLUMN", help="columns to leave out; '' are those without a name"
    )
    command.add_argument("--out", default="runs/linear", help="folder of the results (default: %(default)s)")
    command.add_argument("--verbose", action="store_true", help="write progress to stderr")


def _add_model_options(group: Any) -> None:
    group.add_argument(
        "--losses", nargs="+", default=["auto"], help=f"auto, or {', '.join(LOSSES)}; or TASK=LOSS for some tasks"
    )
    group.add_argument(
        "--loss-weights", default="balanced", choices=["balanced", "mtlcomb"],
        help="balanced: all tasks enter at the same alpha (the default); mtlcomb: classification counts twice",
    )  # fmt: skip
    group.add_argument(
        "--l1-ratio", type=float, default=0.0, help="0 (the default): a feature serves all tasks or none"
    )
    group.add_argument("--ridge", type=float, default=0.0, help="keeps correlated features together (default: 0)")
    group.add_argument("--similarity", type=float, default=0.0, help="pulls tasks to their mean (default: 0)")
    group.add_argument("--tol", type=float, default=1e-6, help="relative duality gap to stop at (default: %(default)s)")


def _add_choice_options(group: Any) -> None:
    group.add_argument("--folds", type=int, default=5, help="folds of the cross-validation (default: %(default)s)")
    group.add_argument("--alphas", type=int, default=40, help="number of values of alpha (default: %(default)s)")
    group.add_argument(
        "--alpha-min-ratio", type=float, default=0.01, help="the last alpha over the first (default: %(default)s)"
    )
    group.add_argument(
        "--scoring", default="deviance", choices=["deviance", "auc"],
        help="share of deviance explained (the default), or AUC for classes and R² for numbers",
    )  # fmt: skip
    group.add_argument(
        "--rule", default="best", choices=["best", "1se"],
        help="the best alpha (the default), or the largest within one standard error of it",
    )  # fmt: skip
    group.add_argument("--jobs", type=int, default=1, help="folds at a time (default: %(default)s; -1: all cores)")


def _embedded(arguments: argparse.Namespace) -> Table:
    if arguments.target or arguments.task_column or arguments.drop:
        raise ValueError("--target, --task-column and --drop name columns of a table; say which CSV file")
    X, labels = breast_cancer()
    return Table("breast_cancer: diagnosis and the ten worst measurements", X, labels, None)


def _table_options(arguments: argparse.Namespace) -> dict[str, Any]:
    if not arguments.target:
        raise ValueError(f"{arguments.table}: say which column holds the labels with --target")
    return {
        "path": Path(arguments.table),
        "targets": arguments.target,
        "task_column": arguments.task_column,
        "drop": arguments.drop,
    }


def _model_options(arguments: argparse.Namespace) -> dict[str, Any]:
    words = arguments.losses
    losses: Any = words[0]
    if len(words) > 1 or "=" in words[0]:
        losses = dict(word.split("=", 1) for word in words if "=" in word)
        if len(losses) != len(words):
            raise ValueError(f"--losses {' '.join(words)}: give one loss for all tasks, or TASK=LOSS for some")
    names = ("loss_weights", "l1_ratio", "ridge", "similarity", "tol", "verbose")
    return {"losses": losses, **{name: getattr(arguments, name) for name in names}}


def _fit(arguments: argparse.Namespace, table: Table) -> Any:
    options = _model_options(arguments)
    if arguments.command == "fit":
        model: Any = MixedMultiTaskLasso(arguments.alpha, **options)
    else:
        model = MixedMultiTaskLassoCV(
            n_alphas=arguments.alphas,
            alpha_min_ratio=arguments.alpha_min_ratio,
            cv=arguments.folds,
            scoring=arguments.scoring,
            rule=arguments.rule,
            n_jobs=arguments.jobs,
            **options,
        )
    return model.fit(table.X, table.y, task=table.task)


def _write_results(out: Path, model: Any, table: Table) -> None:
    """`coefficients.csv` and `result.json`, each whole or not at all."""
    frame = model.to_frame()
    frame.loc["(intercept)"] = model.intercept_
    result = {
        "table": table.title,
        "parameters": {name: _plain(value) for name, value in model.get_params().items()},
        "alpha": float(getattr(model, "alpha_", getattr(model, "alpha", np.nan))),
        "relative_duality_gap": model.dual_gap_,
        "selected": [str(name) for name, used in zip(model.coef_names_, model.get_support(), strict=True) if used],
        "training_scores": {
            str(name): score for name, score in model.task_scores(table.X, table.y, task=table.task).items()
        },
    }
    write_atomically(out / "coefficients.csv", frame.rename(index=cell, columns=cell).to_csv())
    write_atomically(out / "result.json", json.dumps(result, indent=2) + "\n")


def _report(arguments: argparse.Namespace, model: MixedMultiTaskLassoCV, table: Table, out: Path) -> None:
    stability = None
    if arguments.pairs:
        stability = stability_selection(
            table.X, table.y, table.task, n_pairs=arguments.pairs, n_jobs=arguments.jobs, **_model_options(arguments)
        )
    if table.task is None:
        samples = {name: int(observed(np.asarray(table.y[name])).sum()) for name in table.y.columns}
    else:
        names, counts = np.unique(table.task, return_counts=True)
        samples = {name.item() if isinstance(name, np.generic) else name: int(n) for name, n in zip(names, counts)}  # noqa: B905
    write_report(out / "report.html", model, samples, table.title, f"{len(table.X)} rows", stability)


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str | dict | None) else str(value)


def _summary(model: Any, out: Path, command: str) -> str:
    alpha = getattr(model, "alpha_", getattr(model, "alpha", float("nan")))
    lines = [
        f"alpha {alpha:.4g}, relative duality gap {model.dual_gap_:.1e}",
        f"{int(model.get_support().sum())} of {model.coef_.shape[1]} features for {len(model.task_names_)} tasks",
        f"written to {out / ('report.html' if command == 'report' else 'result.json')}",
    ]
    return "\n".join(lines) + "\n"
