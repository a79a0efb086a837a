"""Dense and sparse designs are the same matrix."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

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
