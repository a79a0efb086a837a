"""The optimum against scikit-learn, against a generic convex solver, and against the solver's own bound."""

from __future__ import annotations

import warnings

import cvxpy as cp
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, MultiTaskLasso, Ridge

from lomt.linear import MixedMultiTaskLasso, mixed_path, simulate
from lomt.linear.coupling import mean_laplacian


@pytest.mark.parametrize("alpha", [0.5, 0.05, 0.005])
def test_same_objective_as_multi_task_lasso(alpha):
    random = np.random.default_rng(0)
    X = random.normal(size=(60, 40)) + 3
    Y = X[:, :5] @ random.normal(size=(5, 4)) + random.normal(size=(60, 4)) + 10
    ours = MixedMultiTaskLasso(alpha, standardize=False, tol=1e-11).fit(X, Y)
    theirs = MultiTaskLasso(alpha, tol=1e-13, max_iter=100_000).fit(X, Y)

    def objective(model):
        residual = Y - X @ model.coef_.T - model.intercept_
        return (residual**2).sum() / (2 * len(X)) + alpha * np.linalg.norm(model.coef_, axis=0).sum()

    assert objective(ours) == pytest.approx(objective(theirs), rel=1e-8)
    assert ours.objective_ == pytest.approx(objective(theirs), rel=1e-8)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.1, 0.01])
def test_same_objective_as_l1_logistic_regression(alpha):
    random = np.random.default_rng(1)
    X = random.normal(size=(80, 20))
    y = np.where(X[:, 0] - X[:, 1] + random.normal(size=80) > 0, "yes", "no")
    ours = MixedMultiTaskLasso(alpha, standardize=False, loss_weights=None, tol=1e-11).fit(X, y)
    theirs = LogisticRegression(l1_ratio=1.0, C=1 / (80 * alpha), solver="saga", tol=1e-10, max_iter=20_000).fit(X, y)

    def objective(model):
        margin = np.where(y == "yes", 1, -1) * (X @ model.coef_[0] + model.intercept_[0])
        return np.log1p(np.exp(-margin)).mean() + alpha * np.abs(model.coef_).sum()

    assert objective(ours) == pytest.approx(objective(theirs), rel=1e-8)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


def mixed_tasks():
    """Five tasks, each of another loss, each with its own X."""
    random = np.random.default_rng(2)
    p, support = 8, np.array([1.0, -1.0, 0.5, 0, 0, 0, 0, 0])
    Xs = [random.normal(size=(n, p)) for n in (30, 35, 40, 45, 50)]
    z = [X @ (support + 0.1 * random.normal(size=p)) for X in Xs]
    ys = [
        z[0] + random.normal(size=30),
        (z[1] + random.normal(size=35) > 0.3).astype(float),
        random.poisson(np.exp(0.5 * z[2])).astype(float),
        z[3] + random.standard_t(1.5, size=45),
        np.digitize(z[4] + random.normal(size=50), [-0.7, 0.7]).astype(float),
    ]
    return Xs, ys, ["squared", "logistic", "poisson", "huber", "multinomial"]


def cvxpy_optimum(matrices, labels, alpha, ratio, ridge, similarity, weights):
    """The objective's minimum by a generic solver, straight from the formula in the docs."""
    p = matrices[0].shape[1]
    W, b = cp.Variable((p, 7)), cp.Variable(7)
    fits = []
    for t, (X, y) in enumerate(zip(matrices, labels, strict=True)):
        n = len(y)
        if t < 4:
            z = X @ W[:, t] + b[t]
            fit = [
                lambda z=z, y=y: cp.sum_squares(z - y) / 2,
                lambda z=z, y=y: cp.sum(cp.logistic(z)) - y @ z,
                lambda z=z, y=y: cp.sum(cp.exp(z)) - y @ z + np.sum(y[y > 0] * np.log(y[y > 0])) - y.sum(),
                lambda z=z, y=y: cp.sum(cp.huber(z - y, 1.345)) / 2,
            ][t]()
        else:
            Z = X @ W[:, 4:] + np.ones((n, 1)) @ cp.reshape(b[4:], (1, 3), order="C")
            fit = cp.sum(cp.log_sum_exp(Z, axis=1)) - cp.sum(cp.multiply(np.eye(3)[y.astype(int)], Z))
        fits.append(weights[t] * fit / n)
    L = np.zeros((7, 7))
    L[:4, :4] = mean_laplacian(4)
    root = np.linalg.cholesky(ridge * np.eye(7) + similarity * L + 1e-300 * np.eye(7)) if ridge else None
    penalty = alpha * ((1 - ratio) * cp.sum(cp.norm(W, 2, axis=1)) + ratio * cp.sum(cp.abs(W)))
    if root is not None:
        penalty += cp.sum_squares(W @ root) / 2
    elif similarity:
        penalty += similarity * cp.sum_squares(W @ L) / 2
    problem = cp.Problem(cp.Minimize(sum(fits) + penalty))
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    return problem.value


@pytest.mark.parametrize(
    ("alpha", "ratio", "ridge", "similarity"),
    [
        (0.1, 0.0, 0.0, 0.0),
        (0.1, 0.4, 0.0, 0.0),
        (0.1, 1.0, 0.0, 0.0),
        (0.05, 0.0, 0.2, 0.0),
        (0.05, 0.0, 0.0, 0.5),
        (0.05, 0.5, 0.1, 0.3),
        (0.0, 0.0, 0.3, 0.2),
    ],
)
def test_same_objective_as_a_generic_solver(alpha, ratio, ridge, similarity):
    Xs, ys, losses = mixed_tasks()
    weights = [1.0, 2.0, 0.5, 1.5, 0.8]
    model = MixedMultiTaskLasso(
        alpha, losses=losses, loss_weights=weights, l1_ratio=ratio, ridge=ridge, similarity=similarity,
        standardize=False, tol=1e-10,
    ).fit_tasks(Xs, ys)  # fmt: skip
    optimum = cvxpy_optimum(Xs, ys, alpha, ratio, ridge, similarity, weights)
    assert model.objective_ == pytest.approx(optimum, rel=1e-8)
    assert model.dual_gap_ <= 1e-10


def test_mtlcomb_weights_minimize_the_objective_of_the_package():
    """Straight from arXiv 2405.09886, with its labels −1 and 1, but with free intercepts."""
    random = np.random.default_rng(4)
    Xs = [random.normal(size=(n, 12)) for n in (30, 35, 40, 45)]
    W, b = cp.Variable((12, 4)), cp.Variable(4)
    ys, fits = [], []
    for t, X in enumerate(Xs):
        signal = X[:, :3].sum(axis=1) + random.normal(size=len(X))
        z = X @ W[:, t] + b[t]
        if t < 2:
            ys.append(signal)
            fits.append(cp.sum_squares(z - signal) / (2 * len(X)))
        else:
            ys.append(np.where(signal > 0.5, 1, -1))
            fits.append(2 / len(X) * cp.sum(cp.logistic(cp.multiply(-ys[t], z))))
    G = np.eye(4) - 1 / 4
    penalty = 0.2 * cp.sum(cp.norm(W, 2, axis=1)) + 0.3 / 2 * cp.sum_squares(W @ G) + 0.1 / 2 * cp.sum_squares(W)
    problem = cp.Problem(cp.Minimize(sum(fits) + penalty))
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    model = MixedMultiTaskLasso(
        0.2, loss_weights="mtlcomb", similarity=0.3, ridge=0.1, standardize=False, tol=1e-11
    ).fit_tasks(Xs, ys)
    assert model.objective_ == pytest.approx(problem.value, rel=1e-8)
    np.testing.assert_allclose(model.coef_, W.value.T, atol=1e-4)


def test_the_path_begins_where_that_of_the_package_does():
    random = np.random.default_rng(5)
    Xs = [random.normal(size=(40, 30)) for _ in range(3)]
    Xs = [(X - X.mean(axis=0)) / X.std(axis=0) for X in Xs]
    number = Xs[0][:, 0] + random.normal(size=40)
    ys = [(number - number.mean()) / number.std(), *(np.repeat([-1, 1], 20)[random.permutation(40)] for _ in range(2))]
    top = np.sqrt(sum((X.T @ y / 40) ** 2 for X, y in zip(Xs, ys, strict=True))).max()
    for weights in ("mtlcomb", "balanced"):  # the same, for balanced classes
        assert mixed_path(Xs, ys, loss_weights=weights, n_alphas=1).alphas[0] == pytest.approx(top, rel=1e-12)


def test_same_objective_as_a_generic_solver_on_a_graph():
    Xs, ys, losses = (part[:4] for part in mixed_tasks())
    laplacian = np.diag([1.0, 2.5, 2.0, 0.5]) - np.diag([1.0, 1.5, 0.5], 1) - np.diag([1.0, 1.5, 0.5], -1)
    model = MixedMultiTaskLasso(
        0.05, losses=losses, loss_weights=None, similarity=0.7, graph=laplacian, standardize=False, tol=1e-10
    ).fit_tasks(Xs, ys)
    W, b = cp.Variable((8, 4)), cp.Variable(4)
    z = [X @ W[:, t] + b[t] for t, X in enumerate(Xs)]
    counts = ys[2][ys[2] > 0]
    fits = [
        cp.sum_squares(z[0] - ys[0]) / 2,
        cp.sum(cp.logistic(z[1])) - ys[1] @ z[1],
        cp.sum(cp.exp(z[2])) - ys[2] @ z[2] + counts @ np.log(counts) - counts.sum(),
        cp.sum(cp.huber(z[3] - ys[3], 1.345)) / 2,
    ]
    edges = [(0, 1, 1.0), (1, 2, 1.5), (2, 3, 0.5)]  # tr(W L Wᵀ) as what it means: squared differences along edges
    pull = sum(weight * cp.sum_squares(W[:, i] - W[:, j]) for i, j, weight in edges)
    problem = cp.Problem(
        cp.Minimize(
            sum(fit / len(y) for fit, y in zip(fits, ys, strict=True))
            + 0.05 * cp.sum(cp.norm(W, 2, axis=1))
            + 0.7 / 2 * pull
        )
    )
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    assert model.objective_ == pytest.approx(problem.value, rel=1e-8)


@pytest.mark.parametrize(
    "penalty",
    [{}, {"l1_ratio": 0.5}, {"ridge": 0.1}, {"similarity": 0.5}, {"l1_ratio": 0.3, "ridge": 0.1, "similarity": 0.2}],
)
def test_the_gap_is_a_bound_for_every_loss_and_penalty(penalty):
    Xs, ys, losses = mixed_tasks()
    exact = MixedMultiTaskLasso(0.03, losses=losses, tol=1e-9, **penalty).fit_tasks(Xs, ys)
    for passes in (1, 2, 4, 8):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            rough = MixedMultiTaskLasso(0.03, losses=losses, max_iter=passes, **penalty).fit_tasks(Xs, ys)
        excess = (rough.objective_ - exact.objective_) / exact.null_objective_
        assert -1e-9 <= excess <= rough.dual_gap_


def test_a_graph_laplacian_pulls_only_what_it_joins():
    Xs, ys, losses = (part[:4] for part in mixed_tasks())
    laplacian = np.zeros((4, 4))
    laplacian[:2, :2] = [[1, -1], [-1, 1]]
    model = MixedMultiTaskLasso(0.01, losses=losses, similarity=1e3, graph=laplacian).fit_tasks(Xs, ys)
    W = model.standardized_coef_
    assert np.abs(W[0] - W[1]).max() < 1e-2
    assert np.abs(W[0] - W[2]).max() > 0.05


@pytest.mark.parametrize("tol", [1e-1, 1e-3, 1e-6])
def test_the_gap_bounds_the_true_distance_from_the_optimum(tol):
    data = simulate(3, 3, samples=40, features=100, active=10)
    rough = MixedMultiTaskLasso(0.15, similarity=0.1, tol=tol).fit_tasks(data.Xs, data.ys)
    exact = MixedMultiTaskLasso(0.15, similarity=0.1, tol=1e-12).fit_tasks(data.Xs, data.ys)
    excess = (rough.objective_ - exact.objective_) / exact.null_objective_
    assert -1e-12 <= excess <= rough.dual_gap_ <= tol


def test_many_samples_take_gram_matrices_and_few_take_residuals_to_the_same_optimum():
    data = simulate(4, 0, samples=[30, 400, 30, 400], features=60, active=10)
    both = MixedMultiTaskLasso(0.02, tol=1e-11).fit_tasks(data.Xs, data.ys)  # n = 30 and 400 around the set's size
    doubled = [np.vstack([X] * 20) for X in data.Xs], [np.tile(y, 20) for y in data.ys]
    all_gram = MixedMultiTaskLasso(0.02, tol=1e-11).fit_tasks(*doubled)
    np.testing.assert_allclose(both.coef_, all_gram.coef_, atol=1e-5)


def test_ridge_alone_is_ridge_regression():
    random = np.random.default_rng(3)
    X, y = random.normal(size=(50, 6)), random.normal(size=50)
    ours = MixedMultiTaskLasso(0.0, ridge=0.3, standardize=False, tol=1e-13).fit(X, y)
    np.testing.assert_allclose(ours.coef_[0], Ridge(0.3 * 50).fit(X, y).coef_, atol=1e-6)


def test_many_classes_need_few_passes():
    random = np.random.default_rng(6)
    X = random.normal(size=(200, 10))
    y = np.array(list("abcdef"))[np.argmax(X[:, :6] + random.gumbel(size=(200, 6)), axis=1)]
    model = MixedMultiTaskLasso(0.01, tol=1e-9).fit(X, y)
    assert model.dual_gap_ <= 1e-9
    assert model.n_iter_ < 500
    np.testing.assert_allclose(model.standardized_coef_.sum(axis=0), 0, atol=1e-10)
