"""``benchmarks/nyuv2.py`` with tiny networks and data: every method ends, and the table has them all."""

import json
import re
import runpy
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from lomt.methods import Setup, Study
from lomt.models import Architecture
from lomt.runs import RunFolder, RunFolderError
from lomt.sparsity import StrengthPath
from lomt.training import Recipe

pytest.importorskip("torch_pruning")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
METHODS = (
    *("single_task", "multi_task", "lomt", "sparse_multi_task", "sparse_lomt"),
    *("group_pruner 90%", "multi_task, trained on", "lomt, geometric"),
)


@pytest.fixture
def protocol(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    found = runpy.run_path(str(BENCHMARKS / "nyuv2.py"))
    settings = found["lines"].__globals__
    monkeypatch.setitem(settings, "SEEDS", (0, 1))
    monkeypatch.setitem(settings, "MORE_SEEDS", (2,))
    monkeypatch.setitem(settings, "KEPT", (0.9,))
    monkeypatch.setitem(settings, "Study", partial(Study, path=StrengthPath(steps=2, epochs=0.5)))
    yield SimpleNamespace(**found)
    for name in ("nyuv2_table", "group_pruner"):
        sys.modules.pop(name, None)


@pytest.fixture
def setup(shapes, tmp_path):
    design = Architecture("resnetd18", 4, 8, "deeplab", 8)
    shapes.setup()
    tasks = shapes.tasks[:2]
    recipe, stages = Recipe(epochs=2, balancing="uncertainty"), RunFolder(tmp_path / "out").stages
    return Setup(shapes, tasks, design.make_backbone, design.make_decoder(), recipe, stages, "cpu")


def test_the_whole_protocol(protocol, setup, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["nyuv2.py"])
    given = SimpleNamespace(only="", trials=2)
    results, heavy = RunFolder(tmp_path / "results"), RunFolder(tmp_path / "out")
    heavy.claim(protocol.protocol(protocol.options()))
    protocol.work(setup, given, results)
    found = results.results()
    for stage in ("single_task/seg/seed-1", "sparse/depth/trial-1", "lomt/seed-1", "sparse_lomt/seed-1", "path/lomt"):
        assert set(found[stage]["test"]) == set(found[stage]["taps"])
        assert found[stage]["environment"]["torch"]
    ours, pruned = found["sparse_lomt/seed-0"], found["group_pruner/seed-0/0.90"]
    assert pruned["macs"] <= 0.9 * found["multi_task/seed-0"]["macs"]
    assert pruned["epochs"] == ours["since_dense"] == len(ours["strengths"]) + 2
    assert all(found[f"control/multi_task/seed-{seed}"]["since_dense"] == ours["since_dense"] for seed in (0, 1))
    protocol.deploy(setup, results)
    text = protocol.table(results, setup.tasks, protocol.RULE)
    for method in METHODS:
        assert f"| {method} " in text
    mean, each = re.search(r"Δm of lomt minus multi_task: (\S+) points.*\(3 pairs of one seed: (.+)\)", text).groups()
    assert float(mean) == pytest.approx(sum(map(float, each.split(", "))) / 3, abs=0.01)
    assert re.search(r"\| seg \+ depth \|.*\n\| all \|", text)
    assert "tap of depth: " in text
    assert found["geometric/lomt/seed-1"]["validation"] != found["lomt/seed-1"]["validation"]
    deployed = json.loads((results.path / "deployed.json").read_text())["networks"]
    assert set(deployed) >= set(METHODS[1:])
    assert max(error for one in deployed.values() for error in one["outputs_differ"].values()) < 1e-4
    protocol.judge(setup, heavy, results)
    judged = (results.path / "diagnosis.txt").read_text()
    for method in METHODS[1:3]:
        assert f"{method}, against single-task networks on validation" in judged
    # Again: nothing is left to do. After other taps, what was trained with these is refused.
    protocol.work(setup, given, results)
    changed = results.result("lomt/seed-1") | {"taps": {"seg": "elsewhere", "depth": "elsewhere"}}
    results.write_result("lomt/seed-1", changed)
    with pytest.raises(SystemExit, match=r"lomt/seed-1 was trained with the taps .*elsewhere.*move it away"):
        protocol.work(setup, given, results)


def test_results_of_another_protocol_are_refused(protocol, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["nyuv2.py", "--table", "--results", str(tmp_path / "results")])
    results = RunFolder(tmp_path / "results")
    given = protocol.options()
    results.claim(protocol.protocol(given))
    given.epochs = 100
    with pytest.raises(RunFolderError, match=r"recipe\.epochs was 30, now 100"):
        results.claim(protocol.protocol(given))
