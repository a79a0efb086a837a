"""The method that selects in one training: its stages, what it leaves, and that it goes on where it was broken off."""

import json

import pytest
import torch

import lomt
from lomt.methods import Setup, Study
from lomt.methods.probing import Probing
from lomt.methods.selector import Search
from lomt.methods.train import Train
from lomt.models import SelectingNetwork, backbone, decoder
from lomt.runs import RunFolder, RunFolderError, select
from lomt.selection import Fixed, Mass, Probe, TapSearch
from lomt.sparsity import GroupLasso
from lomt.training import Recipe

TAPS = ("layer1.0", "layer2.0", "layer3.0", "layer4.1")
SEARCH = TapSearch(TAPS, width=4, begin=0.2, end=0.9)
RECIPE = Recipe(epochs=3, lr=5e-3)


class StoppedError(Exception):
    pass


def setup(source, folder, recipe=RECIPE):
    made = Setup(
        source, source.tasks, lambda: backbone("resnetd18", 4, 16), decoder("light", width=4), recipe, folder, "cpu"
    )
    folder.mkdir(parents=True, exist_ok=True)
    return made


def run(source, out, **study):
    return lomt.run(
        source.tasks,
        source,
        lambda: backbone("resnetd18", 4, 16),
        out=out,
        decoder=decoder("light", width=4),
        study=Study(export=False, **study),
        recipe=RECIPE,
        accelerator="cpu",
        show_progress=False,
    )


def test_a_search_leaves_one_tap_a_task_and_the_network_that_found_it(shapes, tmp_path):
    bench = setup(shapes, tmp_path)
    result = Search("selector/search", 0, SEARCH).run(bench, tmp_path / "selector/search", lambda *_: None)
    assert sorted(result["taps"]) == sorted(bench.task_names)
    assert set(result["taps"].values()) <= set(TAPS)
    assert result["candidates"] == list(TAPS)
    assert json.loads(json.dumps(result)) == result, "JSON can't hold it"
    for task, selection in result["selections"].items():
        assert selection["ranking"][0][0] == result["taps"][task]
        assert len(selection["ranking"]) == len(TAPS)
    last = result["path"][-1]["tasks"]
    assert all(sum(count > 0 for count in last[task]["channels"]) == 1 for task in last)
    network = bench.trained("selector/search", result["taps"])
    assert network.taps == {task: (tap,) for task, tap in result["taps"].items()}
    assert sum(parameter.numel() for parameter in network.parameters()) == result["parameters"]


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_broken_off_search_ends_with_the_same_numbers(shapes, tmp_path, epochs):
    def stop(done, _):
        if done > epochs / RECIPE.epochs:
            raise StoppedError

    stage = Search("selector/search", 0, SEARCH)
    whole = stage.run(setup(shapes, tmp_path / "whole"), tmp_path / "whole/selector/search", lambda *_: None)
    broken = setup(shapes, tmp_path / "broken")
    with pytest.raises(StoppedError):
        stage.run(broken, tmp_path / "broken/selector/search", stop)
    again = stage.run(broken, tmp_path / "broken/selector/search", lambda *_: None)
    assert again["path"] == whole["path"]
    assert again["selections"] == whole["selections"]
    for one, other in zip(
        broken.trained(stage.name, again["taps"]).state_dict().values(),
        setup(shapes, tmp_path / "whole").trained(stage.name, whole["taps"]).state_dict().values(),
        strict=True,
    ):
        assert torch.equal(one, other)


@pytest.mark.filterwarnings("ignore:All samples:UserWarning")
def test_a_task_without_labels_gets_a_tap_that_is_said_to_say_nothing(shapes, tmp_path, caplog):
    for split in ("train", "validation"):
        shapes.split(split).samples.arrays["depth"][:] = float("nan")
    with caplog.at_level("WARNING", logger="lomt"):
        found = Search("search", 0, SEARCH).run(setup(shapes, tmp_path), tmp_path / "search", lambda *_: None)
    assert "no label of task 'depth' was seen" in caplog.text
    assert "any tap would have done" in found["selections"]["depth"]["reason"]
    assert found["taps"]["depth"] in TAPS
    assert "any tap" not in found["selections"]["seg"]["reason"]


@pytest.mark.parametrize("finish", ["restart", "harden"])
def test_a_run_has_its_network_compacted_compared_and_reported(shapes, tmp_path, finish):
    search = TapSearch(TAPS, width=4, begin=0.2, end=0.9, finish=finish)
    done = run(shapes, tmp_path / "run", methods=("single_task", "selector"), selector=search)
    names = sorted(RunFolder(tmp_path / "run").results())
    assert ("selector/search" in names) == (finish == "restart")
    assert "selector/seed-0" in names
    assert "selector" in done.table
    assert done.network is not None
    assert set(done.taps) == set(done.network.taps)
    assert "What each task let go" in done.report.read_text()
    again = run(shapes, tmp_path / "run", methods=("single_task", "selector"), selector=search)
    assert again.table == done.table


def test_candidates_are_the_blocks_and_no_more_than_sixteen():
    from lomt.selection.tap_search import MOST, spread

    names = [f"layer{number}" for number in range(33)]
    assert spread(names)[-1] == "layer32"
    assert len(set(spread(names))) == MOST
    assert spread(names[:5]) == names[:5]


@pytest.mark.parametrize(
    ("rule", "needed"),
    [(Fixed(0.5), set()), (Mass(at="block"), {"sparse"}), (Probe(), {"probe", "single_task"})],
    ids=["fixed", "mass", "probe"],
)
def test_a_run_trains_what_its_rule_needs(shapes, tmp_path, rule, needed):
    done = run(shapes, tmp_path / "run", methods=("lomt",), trials=1, rule=rule, penalty=GroupLasso(1e-4))
    kinds = {name.split("/")[0] for name in RunFolder(tmp_path / "run").results()}
    assert kinds & {"sparse", "probe", "single_task"} == needed
    assert sorted(done.taps) == sorted(task.name for task in shapes.tasks)
    if isinstance(rule, Fixed):
        assert set(done.taps.values()) == {"layer2.1"}
        with pytest.raises(RunFolderError, match="no sparse training"):
            select(RunFolder(tmp_path / "run"), rule)
        with pytest.raises(RunFolderError, match=r"no probe that has ended: .* with study\.rule 'probe'"):
            select(RunFolder(tmp_path / "run"), Probe())
    else:
        again = select(RunFolder(tmp_path / "run"), rule)
        assert {task: selection["tap"] for task, selection in again.items()} == done.taps


def test_a_probing_says_how_each_block_does(shapes, tmp_path):
    bench = setup(shapes, tmp_path)
    dense = Train("single_task/seg/seed-0", "single_task", {"seg": bench.end}, 0)
    result = dense.run(bench, tmp_path / dense.name, lambda *_: None)
    probing = Probing("probe/seg/seed-0", result)
    found = probing.run(bench, tmp_path / probing.name, lambda *_: None)
    assert list(found["losses"]) == bench.blocks
    assert all(0 < loss < 1 for loss in found["losses"].values())
    assert probing.run(bench, tmp_path / probing.name, lambda *_: None)["losses"] == found["losses"]
    trained = bench.trained(dense.name, dense.taps)
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    assert all(
        torch.equal(one, before[name]) for name, one in bench.trained(dense.name, dense.taps).state_dict().items()
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"begin": 0.9, "end": 0.2}, "two shares of the training"),
        ({"width": 0}, "study.selector.width"),
        ({"mix": -0.1}, "study.selector.mix"),
        ({"depth_price": float("nan")}, "study.selector.depth_price"),
        ({"finish": "soft"}, "'restart' or 'harden'"),
        ({"stride": "4"}, "'finest' or 'last'"),
    ],
)
def test_impossible_searches_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        TapSearch(**options)


def test_an_unknown_candidate_is_named(shapes, tmp_path):
    with pytest.raises(ValueError, match=r"unknown tap 'layer9'"):
        setup(shapes, tmp_path).selecting(TapSearch(("layer1.0", "layer9")), 0)
    assert isinstance(setup(shapes, tmp_path).selecting(SEARCH, 0), SelectingNetwork)
