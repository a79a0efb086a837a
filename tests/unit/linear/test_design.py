"""Dense and sparse designs are the same matrix."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from lomt.linear import MixedMultiTaskLasso, MixedMultiTaskLassoCV, stability_selection
from lomt.linear.design import design


def test_sparse_design_is_the_dense_one():
    random = np.random.default_rng(0)
    X = random.normal(size=(30, 8)) * (random.random((30, 8)) < 0.4)
    X[:, 3] = 0
    weights = random.uniform(size=30)
    weights /= weights.sum()
    for standardize in (True, False):
        dense, sparse = design(X, weights, standardize), design(sp.csr_array(X), weights, standardize)
        np.testing.assert_allclose(sparse.columns(np.arange(8)), dense.columns(np.arange(8)), atol=1e-12)
        theta = random.normal(size=(2, 30))
        np.testing.assert_allclose(sparse.correlate(theta), dense.correlate(theta), atol=1e-12)
        np.testing.assert_allclose(dense.columns(np.arange(8)) @ weights, 0, atol=1e-12)


def test_standardized_features_have_unit_variance_or_are_zero():
    X = np.c_[np.random.default_rng(0).normal(size=20) * 1e-8 + 1, np.full(20, 0.1), np.arange(20.0)]
    rows = design(X, np.full(20, 0.05), True).columns(np.arange(3))
    np.testing.assert_allclose(rows.std(axis=1), [1, 0, 1], atol=1e-6)


def test_a_sparse_feature_far_from_zero_has_the_spread_of_the_dense_one():
    random = np.random.default_rng(0)
    X = 1e6 + random.normal(size=(40, 3))
    X[:, 1] += 1e3 * random.normal(size=40)
    X[::4, 2] = 0
    weights = random.uniform(size=40)
    weights /= weights.sum()
    dense, sparse = design(X, weights, True), design(sp.csr_array(X), weights, True)
    np.testing.assert_allclose(sparse.scale, dense.scale, rtol=1e-9)


def in_parts(X):
    """The same matrix with every cell in two halves, which CSR allows."""
    whole = sp.csr_array(X)
    halves = sp.csr_array(
        (np.repeat(whole.data / 2, 2), np.repeat(whole.indices, 2), 2 * whole.indptr), shape=whole.shape
    )
    assert not halves.has_canonical_format
    return halves


def test_cells_that_come_in_parts_are_their_sums():
    random = np.random.default_rng(0)
    X = random.normal(size=(60, 6)) * (random.random((60, 6)) < 0.5)
    Y = np.c_[X[:, 0] - X[:, 1] + 0.1 * random.normal(size=60), X[:, 0] > 0]
    halves = in_parts(X)
    for fit in (MixedMultiTaskLasso(0.1, tol=1e-12), MixedMultiTaskLassoCV(cv=3, n_alphas=3, tol=1e-12)):
        dense = fit.fit(X, Y)
        expected = dense.coef_.copy(), dense.intercept_.copy(), dense.score(X, Y)
        sparse = fit.fit(halves, Y)
        np.testing.assert_allclose(sparse.coef_, expected[0], atol=1e-9)
        np.testing.assert_allclose(sparse.intercept_, expected[1], atol=1e-9)
        np.testing.assert_allclose(sparse.score(halves, Y), expected[2], atol=1e-9)
        separate = MixedMultiTaskLasso(0.1, tol=1e-12).fit_tasks([halves, halves], list(Y.T))
        apart = MixedMultiTaskLasso(0.1, tol=1e-12).fit_tasks([X, X], list(Y.T))
        np.testing.assert_allclose(separate.coef_, apart.coef_, atol=1e-9)
    chances = [stability_selection(matrix, Y, n_pairs=2, n_alphas=4).frequencies for matrix in (X, halves)]
    np.testing.assert_array_equal(*chances)
    assert halves.nnz == 2 * sp.csr_array(X).nnz  # what the user gave is as it was


def test_every_kind_of_sparse_matrix_is_one_matrix():
    random = np.random.default_rng(0)
    X = random.normal(size=(40, 4)) * (random.random((40, 4)) < 0.5)
    expected = stability_selection(X, X[:, 0], n_pairs=1, n_alphas=3).frequencies
    for kind in ("coo", "csc", "lil", "dok"):
        found = stability_selection(sp.csr_matrix(X).asformat(kind), X[:, 0], n_pairs=1, n_alphas=3).frequencies
        np.testing.assert_array_equal(found, expected)
