"""Data to try the wing on: one real table that needs no download, and the simulation of the benchmarks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer

from lomt.linear.losses.base import Array, Labels


def breast_cancer() -> tuple[Any, Any]:
    """Diagnosis and the ten "worst" measurements, from the other twenty columns of scikit-learn's breast_cancer.

    Returns:
        Features (DataFrame `(569, 20)`: the mean and the error of ten measurements) and labels (DataFrame
        `(569, 11)`: `diagnosis` as "benign" or "malignant", and each measurement's worst value).
    """
    data = load_breast_cancer(as_frame=True)
    table = data.data
    worst = [name for name in table.columns if name.startswith("worst")]
    labels = table[worst].copy()
    labels.insert(0, "diagnosis", np.asarray(data.target_names)[data.target])
    return table.drop(columns=worst), labels


@dataclass(frozen=True)
class Simulation:
    """Tasks that share their features.

    Attributes:
        Xs: Features `(n_t, p)` of each task.
        ys: Labels `(n_t,)`: real for the first tasks, 0 or 1 for the others.
        support: The features that matter, the same in all tasks `(p,)`.
        coefs: True coefficients `(T, p)`.
    """

    Xs: list[Array]
    ys: list[Labels]
    support: np.ndarray
    coefs: Array


def simulate(
    regressions: int = 10,
    classifications: int = 10,
    samples: Any = 100,
    features: int = 500,
    active: int = 50,
    *,
    noise: float = 0.5,
    common: float = 0.0,
    support: Any = None,
    coefs: Any = None,
    seed: int = 0,
) -> Simulation:
    """Normal features; each task a linear signal in the same `active` features plus noise, or its sign.

    Args:
        regressions: Number of regression tasks, which come first.
        classifications: Number of two-class tasks.
        samples: n of every task, or one n a task.
        features: p.
        active: Number of features that matter.
        noise: Standard deviation of the noise over that of the signal.
        common: Share (0 to 1) of the coefficients that all tasks have in common.
        support: The features that matter, instead of random ones.
        coefs: True coefficients `(T, p)`, instead of random ones (to draw a test set).
        seed: Seed.
    """
    random = np.random.default_rng(seed)
    tasks = regressions + classifications
    sizes = np.broadcast_to(np.asarray(samples, dtype=int), (tasks,))
    if coefs is None:
        chosen = random.choice(features, active, replace=False) if support is None else np.asarray(support)
        coefs = np.zeros((tasks, features))
        coefs[:, chosen] = common * random.normal(size=len(chosen)) + (1 - common) * random.normal(
            size=(tasks, len(chosen))
        )
    Xs, ys = [], []
    for t, n in enumerate(sizes):
        X = random.normal(size=(n, features))
        deviation = float(np.linalg.norm(coefs[t]))
        signal = X @ coefs[t] + noise * deviation * random.normal(size=n)
        Xs.append(X)
        ys.append(signal / deviation if t < regressions else (signal > 0).astype(float))
    return Simulation(Xs, ys, np.any(coefs != 0, axis=0), coefs)
