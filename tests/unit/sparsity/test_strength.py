"""The search for λ: which λ is tried next, which is chosen, on loss curves that are known."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lomt.sparsity import Point, StrengthPath

LONG = StrengthPath(start=1e-4, steps=8)


def walk(search, network, dense=1.0, steps=None):
    """All points of a path through ``network``: λ → (excess, sparsity)."""
    points = []
    while step := search.next(points, dense, steps or search.steps):
        assert step.start is None or step.start < len(points)
        points.append(Point(step.strength, *network(step.strength)))
    return points


def threshold(limit, dies=0.0):
    """A task that bears every λ up to ``limit``; groups die from ``dies`` on."""
    return lambda strength: (0.0 if strength <= limit else 1.0, 0.5 if strength > dies else 0.0)


@given(st.floats(min_value=-3.9, max_value=-2.2))
def test_finds_the_edge_of_what_is_bearable(exponent):
    search, limit = StrengthPath(steps=14, epochs=0.1), 10**exponent
    points = walk(search, threshold(limit))
    found = search.choose(points).strength
    assert found <= limit < found * search.factor**0.5 * 1.001


@given(st.lists(st.tuples(st.floats(-0.5, 0.5), st.floats(0, 1)), min_size=8, max_size=8))
def test_chooses_the_strongest_bearable_of_any_path(answers):
    search = LONG
    left = iter(answers)
    points = walk(search, lambda _: next(left))
    assert len(points) <= search.steps
    bearable = [p.strength for p in points if p.excess <= 0.02 and p.sparsity < 1]
    assert search.choose(points).strength == max(bearable, default=0.0)


def test_warm_starts_go_from_weak_to_strong():
    search, points, starts = LONG, [], []
    while step := search.next(points, 1.0, search.steps):
        if step.start is not None:
            starts.append((points[step.start].strength, step.strength))
        points.append(Point(step.strength, *threshold(1e-3)(step.strength)))
    assert starts
    assert all(before < after for before, after in starts)


def test_one_bad_network_does_not_end_the_path():
    # Sparsity and loss are not monotonic: here 4e-4 is a bad one, and 8e-4 is good again.
    points = walk(LONG, lambda s: (1.0 if 3e-4 < s < 7e-4 or s > 1e-3 else 0.0, 0.5))
    assert LONG.choose(points).strength == pytest.approx(8e-4, rel=0.5)
    assert LONG.choose(points).strength > 7e-4


def test_double_steps_while_nothing_dies():
    points = walk(LONG, threshold(1.0, dies=1e-3))
    ratios = [b.strength / a.strength for a, b in pairwise(points)]
    assert ratios == pytest.approx([4, 4, 2, 2, 2, 2, 2])


def test_the_path_scales_with_the_loss():
    small = walk(LONG, threshold(1e-3))
    large = walk(LONG, threshold(5e-3), dense=5.0)
    assert [p.strength * 5 for p in small] == pytest.approx([p.strength for p in large])


def test_says_where_the_budget_ended_the_path():
    search = StrengthPath(steps=3)
    assert "allow more steps with --study.path.steps" in search.choose(walk(search, threshold(1.0))).reason
    assert "--study.path.steps" not in search.choose(walk(search, threshold(3e-4))).reason


def test_nothing_ever_dies():
    choice = LONG.choose(walk(LONG, lambda _: (0.0, 0.0)))
    assert choice.strength > 0
    assert "nothing ever died up to λ" in choice.reason
    assert "path.start" in choice.reason


def test_everything_dies_at_once():
    # The first λ kills all: weaker ones are tried, and where none of them is bearable that is said.
    points = walk(LONG, lambda _: (3.0, 1.0))
    assert [b.strength / a.strength for a, b in pairwise(points)] == pytest.approx([0.25] * 7)
    choice = LONG.choose(points)
    assert choice.strength == 0
    assert choice.index is None
    assert "no λ of the path is bearable" in choice.reason
    assert "keeps its whole network" in choice.reason


def test_recovers_where_the_first_is_too_strong():
    points = walk(LONG, threshold(3e-5))
    assert 1e-5 < LONG.choose(points).strength <= 3e-5


@pytest.mark.parametrize(("epochs", "expected"), [(30, (8, 7)), (8, (8, 2)), (1, (2, 1)), (100, (8, 25))])
def test_a_path_costs_two_trainings_at_most(epochs, expected):
    steps, each = LONG.length(epochs)
    assert (steps, each) == expected
    assert steps * each <= 2 * epochs


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tolerance": 0}, "path.tolerance is 0"),
        ({"start": float("nan")}, "path.start is nan"),
        ({"factor": 1}, "path.factor is 1"),
        ({"steps": 1}, "path.steps is 1"),
        ({"steps": 2.5}, "path.steps is 2.5: use a whole number"),
        ({"steps": 9}, "product of 2"),
    ],
)
def test_refuses_what_can_not_be(settings, message):
    with pytest.raises(ValueError, match=message):
        StrengthPath(**settings)
