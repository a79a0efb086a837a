"""Stabilized sparsity counts only once sparsity has begun."""

import pytest

from lomt.sparsity import Stabilized


def feed(rule, values):
    return [rule(value) for value in values]


def test_nothing_is_stable_before_sparsity_begins():
    assert not any(feed(Stabilized(patience=3), [0.0] * 50))


def test_stands_still_for_patience_epochs():
    rule = Stabilized(change=0.01, patience=3)
    assert feed(rule, [0, 0, 0.1, 0.3, 0.305, 0.301, 0.309]) == [False] * 6 + [True]


def test_slow_drift_is_movement():
    assert not any(feed(Stabilized(change=0.01, patience=5), [0.1 + 0.004 * epoch for epoch in range(50)]))


def test_moves_again():
    rule = Stabilized(change=0.01, patience=2)
    assert feed(rule, [0.2, 0.2, 0.2, 0.5, 0.5, 0.5]) == [False, False, True, False, False, True]


def test_sparsity_that_falls_back_to_nothing_has_begun_all_the_same():
    assert feed(Stabilized(patience=2), [0.1, 0.0, 0.0, 0.0]) == [False, False, False, True]


def test_resumes():
    values = [0.0, 0.1, 0.2, 0.2, 0.2, 0.2]
    straight, first, second = (Stabilized(patience=3) for _ in range(3))
    expected = feed(straight, values)
    begun = feed(first, values[:3])
    second.load_state_dict(first.state_dict())
    assert begun + feed(second, values[3:]) == expected
    assert expected[-1]


@pytest.mark.parametrize("options", [{"change": 0.0}, {"patience": 0}])
def test_rejects_impossible_options(options):
    with pytest.raises(ValueError, match="="):
        Stabilized(**options)


@pytest.mark.parametrize("sparsity", [-0.1, 1.1, float("nan")])
def test_rejects_what_is_no_share(sparsity):
    with pytest.raises(ValueError, match="no share"):
        Stabilized()(sparsity)
