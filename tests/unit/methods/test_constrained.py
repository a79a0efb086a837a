"""No task worse than so much: what is changed, for whom, and when it ends."""

from dataclasses import dataclass

import pytest

from lomt.methods import METHODS, Parallel, Study, Train, follow
from lomt.methods import constrained as module
from lomt.methods.stage import Method
from lomt.tasks import Depth, Edges

LADDER = ["layer1.0.conv2", "layer2.0.conv2", "layer3.0.conv2", "layer4"]


@dataclass
class Bench:
    """Stands in for a setup."""

    tasks = (Depth("depth"), Edges("edges"))
    task_names = ("depth", "edges")
    end = "layer4"


@pytest.fixture(autouse=True)
def ladder(monkeypatch):
    monkeypatch.setattr(module, "depths", lambda _: LADDER)


def validation(depth, edges):
    """Metrics of gains in percent over a baseline of 1."""
    return {
        "depth/RMSE": 1 - depth / 100,
        "depth/AbsRel": 1 - depth / 100,
        "edges/ODS_F": 1 + edges / 100,
        "val_loss/depth": 9.0,
    }


def drive(gains, limit="1%", seeds=(3, 5)):
    """Run LOMT with fixed taps; ``gains``: training → gains of depth and edges."""
    taps = {"depth": LADDER[1], "edges": LADDER[2]}
    method: Method = METHODS["lomt"](Bench(), Study(taps=taps, no_task_worse_than=limit, seeds=seeds))
    stages = []

    def answer(asked):
        if isinstance(asked, Parallel):
            return [follow(one, answer) for one in asked.methods]
        stages.append(asked)
        assert isinstance(asked, Train)
        what = validation(0, 0) if asked.method == "single_task" else validation(*gains(asked))
        return {"stage": asked.name, "validation": what}

    returned = follow(method, answer)
    return [stage for stage in stages if stage.method == "lomt"], returned


def test_nothing_changes_where_nobody_loses():
    stages, networks = drive(lambda _: (-0.9, 3.0))
    assert [one["stage"] for one in networks] == ["lomt/seed-3", "lomt/seed-5"]
    assert {stage.name for stage in stages} == {"lomt/seed-3", "lomt/seed-5"}


def test_a_loser_gets_a_deeper_tap_a_block_a_round():
    stages, networks = drive(lambda stage: (-5.0 if stage.taps["depth"] != "layer4" else 0.5, 3.0))
    assert [stage.taps["depth"] for stage in stages[:3]] == LADDER[1:]
    assert all(stage.taps["edges"] == LADDER[2] and not stage.weights for stage in stages)
    assert [one["stage"] for one in networks] == ["lomt/seed-3/round-2", "lomt/seed-5/round-2"]
    assert [stage.seed for stage in stages[-2:]] == [3, 5]


def test_a_loser_at_the_end_counts_more():
    stages, _ = drive(lambda stage: (2.0, 0.0 if stage.weights.get("edges", 1) >= 4 else -3.0))
    assert stages[1].taps["edges"] == "layer4"
    assert [dict(stage.weights) for stage in stages[2:4]] == [{"edges": 2.0}, {"edges": 4.0}]


def test_the_least_bad_is_taken_where_nothing_helps():
    losses = iter([-9.0, -4.0, -6.0, -7.0, -8.0])
    known = {}
    _, networks = drive(lambda stage: (known.setdefault(stage.name, next(losses, 0.0)), 0.0), seeds=(3,))
    assert [one["stage"] for one in networks] == ["lomt/seed-3/round-1"]
    assert len(known) == module.ROUNDS + 1


@pytest.mark.parametrize(("given", "share"), [("1%", 0.01), (0.01, 0.01), ("0.5 %", 0.005), (0, 0.0), (None, None)])
def test_a_limit_is_a_share_or_percent(given, share):
    assert Study(no_task_worse_than=given).no_task_worse_than == share


@pytest.mark.parametrize("given", ["much", "-1%", 1.5])
def test_an_impossible_limit_is_refused(given):
    with pytest.raises(ValueError, match="use a share such as"):
        Study(no_task_worse_than=given)


def test_a_fixed_tap_of_an_unknown_task_is_refused():
    with pytest.raises(ValueError, match="fixes a tap for 'normals' – the tasks are depth, edges"):
        next(METHODS["lomt"](Bench(), Study(taps={"normals": "layer1"})))
