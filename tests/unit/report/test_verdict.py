import json

import pytest

from lomt.report.comparison import Comparison
from lomt.report.read import Run, Training
from lomt.report.verdict import verdict


def judged(deltas, costs=None, tasks=("seg", "depth"), gains=None, tests=None, trained=(), compaction=None):
    """The verdict on Δm by method and seed; trained: (stage, what its result says)."""
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
    trainings = [Training(stage, stage.split("/")[0], result, {}) for stage, result in trained]
    comparison = Comparison.from_dict(json.loads(json.dumps(stored)))
    return verdict(Run("run", trainings=trainings, comparison=comparison, compaction=compaction))


COSTS = {
    "single_task": {"parameters": 4000, "macs": 4000},
    "multi_task": {"parameters": 1000, "macs": 1000},
    "lomt": {"parameters": 410, "macs": 550},
}
BASE = {"single_task": [0.0, 0.0, 0.0]}


SPARSE = COSTS | {
    "sparse_lomt": {"parameters": 410, "macs": 550},
    "sparse_lomt, compacted": {"parameters": 95, "macs": 210},
}
DELTAS = BASE | {"multi_task": [1.8, 1.9, 2.0], "lomt": [2.9, 3.1, 3.3]}


def test_winning():
    found = judged(DELTAS, COSTS)
    assert found.sentence == (
        "The tailored network is the best of 2 multi-task networks: 3.1 % better than single-task networks and 1.2 "
        "points better than the conventional one. It has 41 % of the conventional one's parameters and 55 % of its "
        "multiply-accumulates."
    )
    assert (found.tone, found.network) == ("better", "lomt")
    assert "+3.1 ± 0.2 %" in found.remarks[0]
    assert "chance" not in found.remarks[0]
    assert "picked by these very figures" in found.remarks[0]


def test_the_best_network_is_judged_as_it_is_once_compacted():
    found = judged(DELTAS | {"sparse_lomt": [4.0, 4.1, 4.2]}, SPARSE)
    assert found.sentence == (
        "The sparse tailored network is the best of 3 multi-task networks: 4.1 % better than single-task networks and "
        "2.2 points better than the conventional one. Compacted, it has 9.5 % of the conventional one's parameters and "
        "21 % of its multiply-accumulates."
    )
    assert found.network == "sparse_lomt, compacted"


def test_a_smaller_network_that_is_not_the_best_is_named():
    found = judged(DELTAS | {"sparse_lomt": [2.8, 2.9, 3.0]}, SPARSE)
    assert found.network == "lomt"
    assert found.remarks[0] == (
        "The smallest is the sparse tailored network, compacted: 38 % of the best one's multiply-accumulates, and 0.2 "
        "points worse in Δm."
    )


def test_of_equally_good_networks_the_cheaper_one_is_the_best():
    assert judged(DELTAS | {"sparse_lomt": DELTAS["lomt"]}, SPARSE).network == "sparse_lomt, compacted"


def test_longer_training_is_owned_up_to():
    deltas = DELTAS | {"sparse_lomt": [4.0, 4.1, 4.2]}
    dense = [(f"{name}/seed-{seed}", {"epochs": 8}) for name in (*COSTS, "sparse_multi_task") for seed in range(3)]
    sparse = [(f"sparse_lomt/seed-{seed}", {"epochs": 4, "since_dense": 9 + seed}) for seed in range(3)]
    assert judged(deltas, SPARSE, trained=[*dense, *sparse]).remarks[0] == (
        "It was trained longer: for 19 epochs in all, those that it is compared with for 8. Any difference may come "
        "from that. To tell, train those as long: --recipe.epochs 19, with another --out."
    )
    others = [(name, {"epochs": 10} if name.startswith("multi") else result) for name, result in dense]
    assert (
        "for 19 epochs in all, the conventional network for 10 and the single-task networks for 8."
        in (judged(deltas, SPARSE, trained=[*others, *sparse]).remarks[0])
    )
    for known in (dense, [*dense[:-6], *sparse], [*dense, ("sparse_lomt/seed-0", {"epochs": 8, "since_dense": 0})]):
        assert "longer" not in " ".join(judged(DELTAS, SPARSE, trained=known).remarks)


def test_a_sparse_network_in_which_nothing_died_is_not_called_compacted():
    costs = {method: cost for method, cost in SPARSE.items() if not method.endswith("compacted")}
    found = judged(
        DELTAS | {"sparse_lomt": [4.0, 4.1, 4.2]}, costs, compaction={"sparse_lomt": {"changed": False}, "lomt": {}}
    )
    assert "Compacted" not in found.sentence
    assert "no channel of it has died" in found.remarks[0]


def test_the_conventional_network_may_be_the_best():
    found = judged(BASE | {"multi_task": [1.8, 1.9, 2.0], "lomt": [1.1, 1.3, 1.2]}, COSTS)
    assert found.sentence == (
        "The conventional multi-task network is the best of 2 multi-task networks: 1.9 % better than single-task "
        "networks and 0.7 points better than the tailored network. It has 25 % of all single-task networks' parameters "
        "and 25 % of their multiply-accumulates."
    )
    assert "The smallest is the tailored network: 55 % of the best one's" in found.remarks[0]
    assert any("Against the tailored network, seed by seed" in remark for remark in found.remarks)


def test_losing():
    found = judged(BASE | {"multi_task": [-2.8, -2.9, -3.0], "lomt": [-2.0, -2.1, -2.2]}, COSTS)
    assert "2.1 % worse than single-task networks and 0.8 points better than the conventional one" in found.sentence
    assert found.tone == "worse"


def test_one_task_has_nothing_to_share():
    found = judged(DELTAS, COSTS, tasks=("seg",))
    assert found.sentence.startswith("The tailored network is the best of 2 networks: 3.1 % better than single-task")
    assert found.remarks[-1].startswith("There is one task, seg: nothing is shared")


def test_a_difference_within_the_spread_is_no_difference():
    found = judged(BASE | {"multi_task": [0.0, -1.0, 1.5], "lomt": [-2.0, 0.5, 2.4]}, COSTS)
    assert "on a par with single-task networks (+0.3 %)" in found.sentence
    assert "on a par with the conventional one (+0.1 points)" in found.sentence
    assert found.tone == "even"


def test_more_than_the_spread_may_still_be_chance_and_the_remark_says_so():
    found = judged(BASE | {"lomt": [0.5, 2.0, 1.1]})
    assert "1.2 % better" in found.sentence
    assert "3 seeds don't exclude chance" in found.remarks[0]


def test_networks_are_compared_seed_by_seed():
    found = judged(BASE | {"multi_task": [-5.0, 0.0, 5.0], "lomt": [-4.0, 1.0, 6.0]})
    assert "1.0 points better than the conventional one" in found.sentence


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
    assert "41 % of the conventional one's parameters" in found.sentence
    assert "Δm can't be told" in found.sentence
    assert "single_task" in found.remarks[0]


def test_without_the_conventional_network_costs_are_against_single_task():
    costs = {method: COSTS[method] for method in ("single_task", "lomt")}
    found = judged(BASE | {"lomt": [3.0, 3.1, 3.2]}, costs)
    assert found.sentence.endswith(
        "It has 10 % of all single-task networks' parameters and 14 % of their multiply-accumulates."
    )
    assert any("conventional multi-task network is missing" in remark for remark in found.remarks)


def test_without_a_tailored_network_the_conventional_one_is_judged():
    found = judged(BASE | {"multi_task": [-1.0, -1.1, -1.2]}, COSTS)
    assert found.sentence.startswith("The conventional multi-task network is 1.1 % worse than single-task networks")
    assert any("tailored network is missing" in remark for remark in found.remarks)


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
