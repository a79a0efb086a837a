import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lomt.evaluation import over_seeds, paired_interval
from lomt.evaluation.seeds import t_quantile

figures = st.lists(st.floats(-100, 100).map(lambda x: round(x, 6)), min_size=2, max_size=12)


@given(figures)
def test_mean_and_deviation_agree_with_numpy(values):
    found = over_seeds(values)
    assert (found.mean, found.std) == pytest.approx((np.mean(values), np.std(values, ddof=1)), abs=1e-9)
    assert found.count == len(values)


@given(probability=st.floats(0.5, 0.9999), freedom=st.integers(1, 60))
def test_quantiles_agree_with_scipy(probability, freedom):
    assert t_quantile(probability, freedom) == pytest.approx(stats.t.ppf(probability, freedom), rel=1e-8, abs=1e-8)


@given(figures.filter(lambda values: np.std(values) > 1e-6), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_interval_agrees_with_scipy(deltas, level):
    found = paired_interval(deltas, level)
    expected = stats.ttest_1samp(deltas, 0).confidence_interval(level)
    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=1e-7, abs=1e-9)
    assert (found.count, found.level) == (len(deltas), level)


def test_one_pair_says_nothing_about_spread():
    found = paired_interval([1.5])
    assert (found.mean, found.low, found.high) == (1.5, -math.inf, math.inf)
    assert over_seeds([1.5]).std is None


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="no seeds"):
        over_seeds([])
    with pytest.raises(ValueError, match="level 95"):
        paired_interval([1.0, 2.0], level=95)
