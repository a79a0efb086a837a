"""What joint selection buys: simulated tasks, trained and tested honestly, against what one would do otherwise.

10 regression and 10 classification tasks, p = 500 features of which 50 matter in all of them, n = 50 … 400 a task,
a test set of 500 a task that nothing sees before the end. Every method chooses its own penalty by cross-validation
on the training data. Recovery is the share of the 50 true features among a method's 50 most important (for the joint
fits by the norm of a feature's row, for the others by |coefficient| or importance, task by task).

Run: OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/linear/simulation.py [--repeats 10] [--out FILE]
Run again with the same --out, it goes on where it ended.
"""

# ruff: noqa: ANN001, ANN201, ANN202, D103, N803 - a script, read top to bottom
from __future__ import annotations

import argparse
import json
import warnings
from collections import defaultdict
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import sklearn
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.metrics import r2_score, roc_auc_score

from lomt.linear import MixedMultiTaskLassoCV, simulate

KINDS, ACTIVE, FEATURES = (10, 10), 50, 500
CV = {"n_alphas": 20, "alpha_min_ratio": 0.05, "cv": 3, "tol": 1e-4}


def joint(train, tasks):
    """All the given tasks in one fit: a linear predictor for each, and the fit's most important features."""
    task = np.repeat(tasks, [len(train.ys[t]) for t in tasks])
    X, y = np.vstack([train.Xs[t] for t in tasks]), np.concatenate([train.ys[t] for t in tasks])
    losses = {t: "squared" if t < KINDS[0] else "logistic" for t in tasks}
    model = MixedMultiTaskLassoCV(**CV, losses=losses).fit(X, y, task=task)
    predictors = {t: partial(_linear, model.coef_[k], model.intercept_[k]) for k, t in enumerate(tasks)}
    return predictors, _largest(model.feature_importances_)


def _linear(coef, intercept, X):
    return X @ coef + intercept


def mixed(train):
    predictors, support = joint(train, range(20))
    return predictors, dict.fromkeys(predictors, support)


def by_kind(train):
    result, supports = {}, {}
    for tasks in (range(10), range(10, 20)):
        predictors, support = joint(train, tasks)
        result |= predictors
        supports |= dict.fromkeys(tasks, support)
    return result, supports


def single_lasso(train):
    result, supports = {}, {}
    for t in range(20):
        predictors, supports[t] = joint(train, [t])
        result |= predictors
    return result, supports


def single_ridge(train):
    result, supports = {}, {}
    for t, (X, y) in enumerate(zip(train.Xs, train.ys, strict=True)):
        if t < KINDS[0]:
            model = RidgeCV(np.logspace(-1, 4, 15)).fit(X, y)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = LogisticRegressionCV(
                    Cs=np.logspace(-4, 1, 8), l1_ratios=(0.0,), cv=3, max_iter=200, use_legacy_attributes=False,
                    scoring="neg_log_loss",
                ).fit(X, y)  # fmt: skip
        result[t] = partial(_linear, np.ravel(model.coef_), model.intercept_)
        supports[t] = _largest(np.abs(np.ravel(model.coef_)))
    return result, supports


def forest(train):
    result, supports = {}, {}
    for t, (X, y) in enumerate(zip(train.Xs, train.ys, strict=True)):
        kind = RandomForestRegressor if t < KINDS[0] else RandomForestClassifier
        model = kind(100, max_features="sqrt", random_state=0).fit(X, y)
        result[t] = model.predict if t < KINDS[0] else partial(_chance, model)
        supports[t] = _largest(model.feature_importances_)
    return result, supports


def _chance(model, X):
    return model.predict_proba(X)[:, 1]


METHODS = {
    "mixed (all 20 tasks)": mixed,
    "regression-only and classification-only": by_kind,
    "single-task lasso": single_lasso,
    "single-task ridge": single_ridge,
    "random forest": forest,
}


def _largest(importance):
    mask = np.zeros(len(importance), dtype=bool)
    mask[np.argsort(-importance, kind="stable")[:ACTIVE]] = True
    return mask & (importance > 0)


def scores(predictors, supports, test) -> dict:
    """R² over regression, AUC over classification, recovery over all tasks."""
    r2, auc = [], []
    for t, (X, y) in enumerate(zip(test.Xs, test.ys, strict=True)):
        (r2 if t < KINDS[0] else auc).append((r2_score if t < KINDS[0] else roc_auc_score)(y, predictors[t](X)))
    recovery = np.mean([(chosen & test.support).sum() / ACTIVE for chosen in supports.values()])
    return {"R2": np.mean(r2), "AUC": np.mean(auc), "recovery": recovery}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--samples", type=int, nargs="+", default=[50, 100, 200, 400])
    parser.add_argument("--common", type=float, default=0.0, help="share of the coefficients that tasks have in common")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found: dict = defaultdict(dict)
    if arguments.out and arguments.out.exists():  # go on where an earlier run ended
        for n, figures in json.loads(arguments.out.read_text())["values"].items():
            found[n].update(figures)
    for repeat in range(arguments.repeats):  # all sizes of a repeat before the next: a broken run has them all
        for n in arguments.samples:
            missing = [name for name in arguments.methods if len(found[f"{n}"].get(f"{name}|R2", ())) <= repeat]
            if not missing:
                continue
            options = {"features": FEATURES, "active": ACTIVE, "noise": 0.5}
            train = simulate(*KINDS, samples=n, seed=repeat, common=arguments.common, **options)
            test = simulate(*KINDS, samples=500, seed=1000 + repeat, coefs=train.coefs, **options)
            for name in missing:
                for figure, value in scores(*METHODS[name](train), test).items():
                    found[f"{n}"].setdefault(f"{name}|{figure}", []).append(float(value))
            print(f"n = {n}, repeat {repeat} done", flush=True)
            if arguments.out:
                keep(arguments, found)
    print(table(found, arguments.methods))


def keep(arguments, found) -> None:
    """Write what there is so far, as JSON and as a table."""
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "date": date.today().isoformat(), "common": arguments.common, "values": found,
        "versions": {"numpy": np.__version__, "scikit-learn": sklearn.__version__},
    }  # fmt: skip
    texts = {".json": json.dumps(result, indent=1) + "\n", ".md": table(found, arguments.methods)}
    for suffix, text in texts.items():  # an interruption leaves the old file or the new one, never half of it
        draft = arguments.out.with_suffix(suffix + ".tmp")
        draft.write_text(text)
        draft.replace(arguments.out.with_suffix(suffix))


def table(found, methods) -> str:
    lines = ["| n | method | R² | AUC | recovery | repeats |", "|---|---|---|---|---|---|"]
    for n, figures in found.items():
        for name in methods:
            cells = [figures.get(f"{name}|{figure}", []) for figure in ("R2", "AUC", "recovery")]
            if all(len(c) > 1 for c in cells):
                shown = " | ".join(f"{np.mean(c):.3f} ± {np.std(c, ddof=1):.3f}" for c in cells)
                lines.append(f"| {n} | {name} | {shown} | {len(cells[0])} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
