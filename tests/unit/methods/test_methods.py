"""Methods as generators: which stages they ask for, in which order, and what they do with the answers."""

from dataclasses import dataclass

import pytest

from lomt.methods import METHODS, Parallel, Path, Refit, Sparsify, Study, Train, choose, experiment, follow
from lomt.methods.path import networks_of
from lomt.selection import DeepestActive
from lomt.sparsity import GroupLasso, LayerPattern, Pattern


@dataclass
class Bench:
    """Stands in for a setup: methods ask it for names alone."""

    task_names = ("seg", "edges")
    end = "layer4"


def alive(*layers):
    """A pattern of layers a, b, c, of which the named ones are alive."""
    return Pattern(tuple(LayerPattern(name, (name in layers,) * 10) for name in "abc")).to_dict()


def drive(method, answer):
    """Run a generator of stages; returns the stages and what the method returns."""
    stages = []

    def one(asked):
        if isinstance(asked, Parallel):
            return [follow(each, one) for each in asked.methods]
        stages.append(asked)
        return answer(asked)

    returned = follow(method, one)
    return stages, returned


def patterns_by_task(stage):
    if not isinstance(stage, Train | Sparsify | Path | Refit):
        return choose(stage.rule, stage.trials)
    taps = stage.dense["taps"] if isinstance(stage, Path) else stage.taps
    layers = alive("a") if list(taps) == ["edges"] else alive("a", "b")
    left = {"stage": stage.name, "method": stage.method, "taps": taps, "pattern": layers}
    if isinstance(stage, Path):
        points = [{"strength": 1e-4, "start": 0, "deepest": "a"}, {"strength": 5e-4, "start": 1, "deepest": "a"}]
        reference = dict.fromkeys(taps, 1.0)
        walked = {"points": points, "strengths": [0.0, 1e-4], "epochs": 21, "reference": reference}
        return left | walked | {"seed": stage.dense["seed"]}
    left |= {"seed": stage.seed}
    if isinstance(stage, Sparsify):
        return left | {"strengths": [one.weight if one else 0.0 for one in stage.penalties], "since_dense": 21}
    return left | ({"strengths": stage.candidates[0]["strengths"]} if isinstance(stage, Refit) else {})


def test_lomt_trains_sparsely_selects_and_builds_on_the_selected_taps():
    study = Study(trials=2, seeds=(0, 7), penalty=GroupLasso(1e-3), strength={"edges": 3e-4})
    stages, networks = drive(METHODS["lomt"](Bench(), study), patterns_by_task)
    assert [stage.name for stage in stages] == [
        *("sparse/seg/trial-0", "sparse/seg/trial-1", "sparse/edges/trial-0", "sparse/edges/trial-1"),
        *("select", "lomt/seed-0", "lomt/seed-7"),
    ]
    assert [stage.penalty.weight for stage in stages[:4]] == [1e-3, 1e-3, 3e-4, 3e-4]
    assert stages[-1].taps == {"seg": "b", "edges": "a"}
    assert stages[-1].penalty is None
    assert [network["stage"] for network in networks] == ["lomt/seed-0", "lomt/seed-7"]


def test_trials_have_different_seeds():
    stages, _ = drive(METHODS["lomt"](Bench(), Study(trials=3, penalty=GroupLasso(1e-3))), patterns_by_task)
    assert [stage.seed for stage in stages[:3]] == [0, 1, 2]


def test_lambda_is_found_on_a_path_and_other_trials_walk_its_steps():
    study = Study(trials=3, seeds=(4,), strength={"edges": 3e-4})
    stages, _ = drive(METHODS["lomt"](Bench(), study), patterns_by_task)
    assert [stage.name for stage in stages[:7]] == [
        *("single_task/seg/seed-4", "path/seg"),
        *("single_task/seg/seed-0", "sparse/seg/trial-1", "single_task/seg/seed-1", "sparse/seg/trial-2"),
        "sparse/edges/trial-0",  # its λ is given: from scratch
    ]
    assert stages[1].dense["stage"] == "single_task/seg/seed-4"
    assert [stages[index].start for index in (3, 5)] == ["single_task/seg/seed-0", "single_task/seg/seed-1"]
    assert stages[3].penalties == (None, GroupLasso(1e-4))
    assert stages[6].penalty == GroupLasso(3e-4)
    select = next(stage for stage in stages if stage.name == "select")
    assert [one["stage"] for one in select.trials["seg"]] == ["path/seg", "sparse/seg/trial-1", "sparse/seg/trial-2"]
    assert {one["method"] for ones in select.trials.values() for one in ones} == {"sparse"}


def test_trials_begin_with_the_dense_networks_of_the_table():
    assert Study(seeds=(2, 0), trials=4).trial_seeds == [2, 0, 1, 3]
    assert Study(seeds=(2, 0), trials=1).trial_seeds == [2]


@pytest.mark.parametrize(("method", "taps"), [("multi_task", ("layer4", "layer4")), ("lomt", ("b", "a"))])
def test_a_sparse_shared_backbone_has_its_own_lambda(method, taps):
    stages, networks = drive(METHODS[f"sparse_{method}"](Bench(), Study(trials=1, seeds=(0, 1))), patterns_by_task)
    assert [stage.name for stage in stages[-6:]] == [
        *(f"{method}/seed-0", f"path/{method}", f"sparse_{method}/seed-0"),
        *(f"{method}/seed-1", f"penalized/{method}/seed-1", f"sparse_{method}/seed-1"),
    ]
    path, first, _, penalized, last = stages[-5:]
    assert {one.method for one in (path, penalized)} == {f"sparse_{method}, penalized"}
    assert {one.method for one in (first, last)} == {f"sparse_{method}"}
    assert [one["stage"] for one in first.candidates] == [f"path/{method}/step-{number}" for number in (2, 1, 0)]
    assert penalized.start == f"{method}/seed-1"
    assert penalized.penalties == (None, GroupLasso(1e-4), GroupLasso(5e-4))
    assert penalized.search == last.search == Study().path
    assert [one["stage"] for one in last.candidates] == [penalized.name]
    assert tuple(last.taps.values()) == taps
    fixed, _ = drive(METHODS[f"sparse_{method}"](Bench(), Study(trials=1, penalty=GroupLasso(2e-3))), patterns_by_task)
    assert fixed[-2].penalties == (GroupLasso(2e-3),)
    assert fixed[-2].search is None
    assert [one["stage"] for one in fixed[-1].candidates] == [fixed[-2].name]
    assert [network["stage"] for network in networks] == [f"sparse_{method}/seed-0", f"sparse_{method}/seed-1"]


def test_the_networks_of_a_path_are_described_by_the_steps_that_led_to_them():
    steps = [(1e-3, 0, "a"), (4e-3, 1, "b"), (2e-3, 1, "a"), (8e-3, 2, None)]
    points = [{"strength": strength, "start": start, "deepest": deepest} for strength, start, deepest in steps]
    path = {"stage": "path/lomt", "taps": {"seg": "a"}, "seed": 3, "epochs": 35, "reference": {"seg": 2.0}}
    found = networks_of(path | {"points": points})
    # Nothing is left of the last one; the reference is nobody's candidate but its own.
    assert [one["stage"] for one in found] == [f"path/lomt/step-{number}" for number in (2, 3, 1, 0)]
    assert [one["strengths"] for one in found] == [[0.0, 1e-3, 4e-3], [0.0, 1e-3, 2e-3], [0.0, 1e-3], [0.0]]
    assert [one["since_dense"] for one in found] == [21, 21, 14, 7]
    assert ["reference" in one for one in found] == [True, True, True, False]


def test_baselines_attach_every_decoder_to_the_end():
    single, _ = drive(METHODS["single_task"](Bench(), Study(seeds=(0, 1))), patterns_by_task)
    assert [dict(stage.taps) for stage in single] == [{"seg": "layer4"}] * 2 + [{"edges": "layer4"}] * 2
    joint, _ = drive(METHODS["multi_task"](Bench(), Study(seeds=(0,))), patterns_by_task)
    assert dict(joint[0].taps) == {"seg": "layer4", "edges": "layer4"}
    assert all(stage.penalty is None for stage in [*single, *joint])


def test_the_whole_ends_with_a_comparison_of_everything_that_enters_the_table():
    stages, _ = drive(
        experiment(Bench(), Study(trials=1)),
        lambda stage: {} if stage.name in ("compare", "compact", "export") else patterns_by_task(stage),
    )
    assert [stage.name for stage in stages[-3:]] == ["compact", "compare", "export"]
    assert [network["stage"] for network in stages[-2].networks] == [
        *("single_task/seg/seed-0", "single_task/edges/seed-0", "multi_task/seed-0", "lomt/seed-0")
    ]


def test_the_first_network_of_every_method_but_the_baseline_is_compacted_before_the_comparison():
    methods = ("single_task", "lomt", "multi_task")
    left = {"networks": {"lomt": {"changed": True}}}
    stages, _ = drive(
        experiment(Bench(), Study(methods=methods, trials=1, seeds=(4, 5), round_to=8, export=False)),
        lambda stage: left if stage.name in ("compare", "compact") else patterns_by_task(stage),
    )
    small, compared = stages[-2:]
    assert [network["stage"] for network in small.networks] == ["lomt/seed-4", "multi_task/seed-4"]
    assert small.round_to == 8
    assert compared.compaction is left
    alone, _ = drive(
        experiment(Bench(), Study(methods=("single_task",))),
        lambda stage: {} if stage.name == "compare" else patterns_by_task(stage),
    )
    assert "compact" not in [stage.name for stage in alone]
    assert alone[-1].compaction == {"networks": {}}


def test_choose_says_where_nothing_is_left():
    selected = choose(DeepestActive(), {"seg": [{"pattern": alive()}]})
    assert selected["taps"] == {"seg": None}
    assert "lower λ" in selected["selections"]["seg"]["reason"]


def test_unknown_method_names_what_there_is():
    with pytest.raises(ValueError, match="unknown method 'mtan' – there are single_task, multi_task, lomt"):
        next(experiment(Bench(), Study(methods=["mtan"])))


def test_a_strength_names_a_task_or_a_shared_backbone():
    next(experiment(Bench(), Study(strength={"seg": 1e-3, "lomt": 1e-4})))
    for name in ("foo", "single_task", "sparse_lomt"):
        with pytest.raises(
            ValueError, match=f"λ to '{name}', no task and no shared backbone – there are seg, edges, mu"
        ):
            next(experiment(Bench(), Study(strength={name: 1e-3})))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trials": 0}, "trials is 0"),
        ({"trials": 1.5}, "trials is 1.5: use a whole number"),
        ({"round_to": 2.0}, "round_to is 2.0: use a whole number"),
        ({"seeds": ()}, "seeds is"),
        ({"seeds": (1, 1)}, "each once"),
        ({"seeds": (0, 0.5)}, "study.seeds is 0.5: use a whole number"),
        ({"methods": ()}, r"study.methods is \[\]"),
        ({"methods": ("lomt", "lomt")}, "each once"),
    ],
)
def test_a_study_refuses_what_can_not_be(settings, message):
    with pytest.raises(ValueError, match=message):
        Study(**settings)
