import json

import pytest

from lomt.report.comparison import Comparison
from lomt.report.read import Run
from lomt.report.verdict import verdict


def judged(deltas, costs=None, tasks=("seg",), gains=None, tests=None):
    """The verdict on Δm by method and seed."""
    rows = [
        {
            "method": method,
            "seed": seed,
            "stages": [f"{method}/seed-{seed}"],
            "taps": {"seg": "layer4"},
            "test": (tests or {}).get(method, {}),
            "delta_m": None if delta is None else {"mean": delta, "per_task": (gains or {}).get(method, {})},
        }
        for method, by_seed in deltas.items()
        for seed, delta in enumerate(by_seed)
    ]
    described = [{"name": task, "headline": ["mIoU"], "higher_is_better": {"mIoU": True}} for task in tasks]
    stored = {"tasks": described, "rows": rows, "methods": costs or {}}
    return verdict(Run("run", comparison=Comparison.from_dict(json.loads(json.dumps(stored)))))


COSTS = {
    "single_task": {"parameters": 4000, "macs": 4000},
    "multi_task": {"parameters": 1000, "macs": 1000},
    "lomt": {"parameters": 410, "macs": 550},
}
BASE = {"single_task": [0.0, 0.0, 0.0]}


def test_winning():
    found = judged(BASE | {"multi_task": [1.8, 1.9, 2.0], "lomt": [2.9, 3.1, 3.3]}, COSTS)
    assert found.sentence == (
        "The tailored network is 3.1 % better than single-task networks and 1.2 points better than the conventional "
        "multi-task network, with 41 % of its parameters and 55 % of its multiply-accumulates."
    )
    assert found.tone == "better"
    assert "+3.1 ± 0.2 %" in found.remarks[0]
    assert "chance" not in found.remarks[0]


def test_losing():
    found = judged(BASE | {"multi_task": [1.8, 1.9, 2.0], "lomt": [-2.0, -2.1, -2.2]}, COSTS)
    assert "2.1 % worse than single-task networks and 4.0 points worse than the conventional" in found.sentence
    assert found.tone == "worse"


def test_a_difference_within_the_spread_is_no_difference():
    found = judged(BASE | {"multi_task": [0.0, 1.0, 2.0], "lomt": [-2.0, 0.5, 2.4]}, COSTS)
    assert "on a par with single-task networks (+0.3 %)" in found.sentence
    assert "on a par with the conventional multi-task network (−0.7 points)" in found.sentence
    assert found.tone == "even"


def test_more_than_the_spread_may_still_be_chance_and_the_remark_says_so():
    found = judged(BASE | {"lomt": [0.5, 2.0, 1.1]})
    assert "1.2 % better" in found.sentence
    assert "3 seeds don't exclude chance" in found.remarks[0]


def test_the_same_cost_is_said_in_words():
    found = judged(
        BASE | {"multi_task": [1.0, 1.1, 1.2], "lomt": [2.0, 2.1, 2.2]}, COSTS | {"lomt": COSTS["multi_task"]}
    )
    assert found.sentence.endswith("than the conventional multi-task network, at the same cost.")


def test_networks_are_compared_seed_by_seed():
    found = judged(BASE | {"multi_task": [-5.0, 0.0, 5.0], "lomt": [-4.0, 1.0, 6.0]})
    assert "1.0 points better than the conventional" in found.sentence


def test_one_seed_has_no_spread_and_the_remark_says_so():
    found = judged({"single_task": [0.0], "multi_task": [1.0], "lomt": [2.0]}, COSTS)
    assert "2.0 % better" in found.sentence
    assert any("One seed: no spread is known" in remark for remark in found.remarks)


def test_nothing_is_even():
    found = judged({"single_task": [0.0], "lomt": [0.04]})
    assert "on a par with single-task networks (+0.0 %)" in found.sentence


def test_without_single_task_networks_figures_are_counted():
    tests = {"lomt": {"seg": {"mIoU": 0.4}}, "multi_task": {"seg": {"mIoU": 0.3}}}
    found = judged({"multi_task": [None], "lomt": [None]}, COSTS, tests=tests)
    assert "better than the conventional multi-task network in 1 of 1 figure" in found.sentence
    assert "41 % of the parameters" in found.sentence
    assert "Δm can't be told" in found.sentence
    assert "single_task" in found.remarks[0]


def test_without_the_conventional_network_costs_are_against_single_task():
    costs = {method: COSTS[method] for method in ("single_task", "lomt")}
    found = judged(BASE | {"lomt": [3.0, 3.1, 3.2]}, costs)
    assert found.sentence.endswith(
        "10 % of the parameters and 14 % of the multiply-accumulates of the single-task networks together."
    )
    assert any("conventional multi-task network is missing" in remark for remark in found.remarks)


def test_without_a_tailored_network_the_conventional_one_is_judged():
    found = judged(BASE | {"multi_task": [-1.0, -1.1, -1.2]}, COSTS)
    assert found.sentence.startswith("The conventional multi-task network is 1.1 % worse than single-task networks")
    assert any("tailored (LOMT) network is missing" in remark for remark in found.remarks)


def test_a_method_from_elsewhere_is_judged_by_its_own_name():
    found = judged(BASE | {"soft_sharing": [1.0, 1.1, 1.2]})
    assert found.sentence.startswith("The soft sharing network is 1.1 % better")


def test_single_task_networks_alone_are_no_verdict():
    assert judged(BASE).tone == "open"


def test_tasks_that_lose_are_named():
    gains = {"lomt": {"seg": 4.0, "edges": -2.0, "depth": 0.01}}
    found = judged({"single_task": [0.0], "lomt": [0.67]}, tasks=("seg", "edges", "depth"), gains=gains)
    assert "better in seg (+4.0 %); no different in depth (+0.0 %); worse in edges (−2.0 %)" in found.remarks[0]


@pytest.mark.parametrize("nonsense", [float("nan"), float("inf")])
def test_figures_that_are_not_finite_do_not_count(nonsense):
    found = judged({"single_task": [0.0, 0.0], "lomt": [2.0, nonsense]})
    assert "2.0 % better" in found.sentence
    assert any("One seed" in remark for remark in found.remarks)


def test_a_run_that_has_not_begun():
    assert verdict(Run("run")).sentence == "No stage of this run has begun yet."
