"""``lomt.run`` from Python: any module, any source, any penalty, rule or decoder of one's own."""

import json

import pytest
import torch
from torch import nn

import lomt
from lomt.export.saved import saved
from lomt.methods import Setup, Study
from lomt.methods.compact import Compact
from lomt.models import Architecture
from lomt.runs import RunFolder, RunFolderError, summary
from lomt.selection import DeepestActive
from lomt.sparsity import GroupLasso
from lomt.training import Recipe


class Chain(nn.Sequential):
    """Four plain convolutions."""

    def __init__(self):
        layers = []
        for inputs, outputs in ((3, 8), (8, 8), (8, 8), (8, 8)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
        super().__init__(*layers)


class Half(GroupLasso):
    """A penalty of one's own."""

    name = "half"

    def __init__(self, weight):
        super().__init__(weight / 2)


class Second(DeepestActive):
    """A rule of one's own: always the second convolution."""

    name = "second"

    def choose(self, patterns):
        return type(super().choose(patterns)).among("2", ["2"] * len(patterns), "because")


def tiny_decoder(channels, task):
    if task.dense:
        return nn.Conv2d(channels, task.channels, 1)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, task.channels))


NAMES = ("seg", "depth", "edges", "many")


def run(source, out, **changed):
    arguments = {
        "decoder": tiny_decoder,
        "study": Study(trials=2, penalty=Half(1e-3), rule=Second(), export=False),
        "recipe": Recipe(epochs=1),
        "show_progress": False,
    }
    return lomt.run(source.tasks, source, changed.pop("backbone", Chain), out=out, **(arguments | changed))


def test_everything_of_ones_own_is_accepted(shapes, tmp_path):
    done = run(shapes, tmp_path / "run")
    assert done.taps == {"seg": "2", "depth": "2", "edges": "2", "many": "2"}
    assert done.report.exists()
    assert "lomt" in done.table
    compared = json.loads((tmp_path / "run/stages/compare/result.json").read_text())
    conv = 9 * 32 * 32 * (3 * 8 + 8 * 8)
    heads = 32 * 32 * 8 * (2 + 1 + 1) + 8 * 2
    assert compared["methods"]["lomt"]["macs"] == conv + heads
    assert (
        json.loads((tmp_path / "run/stages/select/result.json").read_text())["selections"]["seg"]["reason"] == "because"
    )


def test_a_module_is_copied_with_its_weights(shapes, tmp_path):
    backbone = Chain()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    study = Study(methods=("multi_task",), export=False)
    lomt.run(
        shapes.tasks,
        shapes,
        backbone,
        out=tmp_path / "run",
        decoder=tiny_decoder,
        study=study,
        recipe=Recipe(epochs=1, lr=1e-12, weight_decay=0.0),
        show_progress=False,
    )
    weights = torch.load(tmp_path / "run/stages/multi_task/seed-0/weights.pt", weights_only=True)
    for key, value in before.items():
        assert torch.equal(backbone.state_dict()[key], value)
        torch.testing.assert_close(weights[f"backbone.{key}"], value)


def test_the_result_has_the_network_that_the_run_was_made_for(shapes, tmp_path):
    study = Study(methods=("lomt", "multi_task"), seeds=(3, 1), taps=dict.fromkeys(NAMES, "2"), export=False)
    for _ in range(2):  # a run that has ended gives it, too
        network = run(shapes, tmp_path / "run", study=study).network
        assert not network.training
        weights = torch.load(tmp_path / "run/stages/multi_task/seed-3/weights.pt", weights_only=True)
        assert all(torch.equal(network.state_dict()[key], value) for key, value in weights.items())
        outputs = network(torch.zeros(2, 3, 32, 32))
        assert outputs["seg"].shape == (2, 2, 32, 32)
    small = lomt.compact(network, torch.zeros(1, 3, 32, 32))
    torch.testing.assert_close(small(torch.zeros(2, 3, 32, 32))["seg"], outputs["seg"])
    assert summary(RunFolder(tmp_path / "run")).network is None


def test_single_task_networks_are_no_network_of_the_run(shapes, tmp_path):
    assert run(shapes, tmp_path / "run", study=Study(methods=("single_task",), export=False)).network is None


def test_lambda_by_itself(shapes, tmp_path):
    out = tmp_path / "run"
    study = Study(trials=2, seeds=(3,), strength={"many": 1e-4}, methods=("lomt",), export=False)
    run(shapes, out, penalty="auto", study=study, recipe=Recipe(epochs=4))
    assert not (out / "stages/path/many").exists()  # its λ is given
    for task in ("seg", "depth", "edges"):
        dense = json.loads((out / f"stages/single_task/{task}/seed-3/result.json").read_text())
        control = json.loads((out / f"stages/path/{task}/step-0/point.json").read_text())
        path = json.loads((out / f"stages/path/{task}/result.json").read_text())
        other = json.loads((out / f"stages/sparse/{task}/trial-1/result.json").read_text())
        assert path["epochs"] <= 2 * 4
        assert path["dense"][task] == dense["validation"][f"val_loss/{task}"]
        assert control["strength"] == control["sparsity"] == 0
        reference = control["val_loss"][task]
        for point in path["points"]:
            assert point["excess"] == pytest.approx(point["val_loss"][task] / reference - 1)
        bearable = [point["strength"] for point in path["points"] if point["excess"] <= 0.02 and point["deepest"]]
        assert path["strength"] == max(bearable, default=0.0)
        # The path's own network is the first trial, the other one has walked the same steps.
        assert (path["method"], path["seed"], other["method"], other["seed"]) == ("sparse", 3, "sparse", 0)
        assert path["strengths"][-1] == path["strength"]
        assert other["penalty"] == [repr(GroupLasso(one)) if one else None for one in path["strengths"]]
        assert not (out / f"stages/sparse/{task}/trial-0").exists()
        weights = [out / f"stages/path/{task}" / part / "weights.pt" for part in ("", f"step-{_step(path)}")]
        whole, step = (torch.load(file, weights_only=True) for file in weights)
        assert all(torch.equal(whole[name], step[name]) for name in step)
        rows = (out / f"stages/path/{task}/metrics.csv").read_text().splitlines()[1:]
        assert [row.split(",")[0] for row in rows] == [str(1 + n) for n in range(len(path["strengths"]))]
        # Each network of the path goes on from a weaker one: its weights are not the dense ones.
        steps = sorted((out / f"stages/path/{task}").glob("step-*/weights.pt"))
        assert len(steps) == len(path["points"]) + 1
        assert not list(out.rglob("*.ckpt"))


def _step(path):
    return 0 if path["chosen"] is None else path["chosen"] + 1


def test_a_part_of_the_tasks_is_enough(shapes, tmp_path):
    done = lomt.run(
        shapes.tasks[:2],
        shapes,
        Chain,
        out=tmp_path / "run",
        decoder=tiny_decoder,
        study=Study(trials=1, rule=Second(), penalty=GroupLasso(1e-3), export=False),
        recipe=Recipe(epochs=1),
        show_progress=False,
    )
    assert set(done.taps) == {"seg", "depth"}


def test_other_arguments_are_another_run(shapes, tmp_path):
    only = Study(methods=("single_task",), rule=Second())
    run(shapes, tmp_path / "run", study=only)
    with pytest.raises(RunFolderError, match=r"recipe\.epochs was 1, now 2"):
        run(shapes, tmp_path / "run", study=only, recipe=Recipe(epochs=2))


def test_without_a_baseline_there_is_a_table_without_delta_m(shapes, tmp_path):
    done = run(shapes, tmp_path / "run", study=Study(methods=("multi_task",), export=False))
    (row,) = json.loads((tmp_path / "run/stages/compare/result.json").read_text())["rows"]
    assert row["delta_m"] is None
    assert done.taps == {}


def test_where_everything_dies_the_task_is_named_and_the_trainings_are_kept(shapes, tmp_path):
    study = Study(methods=("lomt",), trials=1, penalty=GroupLasso(1e3))
    with pytest.raises(ValueError, match=r"task 'seg' has no tap: everything died.*--study\.strength\.seg"):
        run(shapes, tmp_path / "run", study=study)
    assert (tmp_path / "run/stages/sparse/many/trial-0/result.json").exists()


def test_unknown_names_are_said_before_anything_is_trained(shapes, tmp_path):
    with pytest.raises(ValueError, match="unknown backbone 'resnet'"):
        lomt.run(shapes.tasks, shapes, "resnet", out=tmp_path / "run", network=Architecture(width=4))
    assert not (tmp_path / "run/stages").exists()


class Noisy(Chain):
    """Other operations in training, and a size that it insists on."""

    def forward(self, x):
        assert x.shape[-1] % 2 == 0
        x = super().forward(x)
        return x * (1 + 0.1 * torch.randn_like(x)) if self.training else x


class Moody(Chain):
    """A way that depends on what it sees, which no graph can follow."""

    def forward(self, x):
        return super().forward(x if x.mean() > -1e6 else -x)


def results_of(out, *stages):
    return [json.loads((out / f"stages/{stage}/result.json").read_text()) for stage in stages]


def test_a_backbone_that_behaves_otherwise_in_training_is_compacted_and_exported(shapes, tmp_path):
    study = Study(methods=("multi_task",))
    done = lomt.run(
        shapes.tasks,
        shapes,
        Noisy,
        out=tmp_path / "run",
        decoder=tiny_decoder,
        study=study,
        recipe=Recipe(epochs=1),
        show_progress=False,
    )
    small, exported = results_of(tmp_path / "run", "compact", "export")
    assert small["networks"]["multi_task"]["said"] == "nothing is dead, unchanged"
    assert max(exported["onnx"]["errors"].values()) < 1e-3
    assert "notes" not in small | exported
    assert "multi_task" in done.table


def test_a_network_that_compaction_makes_smaller_has_a_second_row_with_costs_of_its_own(shapes, tmp_path):
    backbone = Chain().requires_grad_(False)
    backbone[2].weight.data[3:] = 0
    study = Study(methods=("single_task", "multi_task"), export=False)
    done = run(shapes, tmp_path / "run", backbone=backbone, study=study)
    small, compared = results_of(tmp_path / "run", "compact", "compare")
    assert list(small["networks"]) == ["multi_task"]
    assert list(compared["methods"]) == ["single_task", "multi_task", "multi_task, compacted"]
    before, after = (compared["methods"][name] for name in ("multi_task", "multi_task, compacted"))
    assert [before["macs"], after["macs"]] == [one["macs"] for one in small["networks"]["multi_task"]["costs"].values()]
    assert after["macs"] < before["macs"]
    assert after["latency"]["repeats"] == before["latency"]["repeats"]
    *_, trained, compacted = (line.split(" | ") for line in done.table.splitlines())
    assert compacted[0] == "| multi_task, compacted"
    assert compacted[1:-3] == trained[1:-3]
    assert [row["method"] for row in compared["rows"]] == ["single_task", "multi_task"]


def test_a_single_task_has_small_networks_too(shapes, tmp_path):
    backbone = Chain().requires_grad_(False)
    backbone[2].weight.data[3:] = 0
    study = Study(methods=("single_task", "multi_task"), export=False)
    arguments = {"decoder": tiny_decoder, "study": study, "recipe": Recipe(epochs=1), "show_progress": False}
    done = lomt.run(shapes.tasks[:1], shapes, backbone, out=tmp_path / "run", **arguments)
    assert "| multi_task, compacted" in done.table


def test_what_can_not_be_compacted_is_said_first_and_noted_last_and_the_table_stays(shapes, tmp_path, caplog):
    study = Study(methods=("multi_task",))
    arguments = {"decoder": tiny_decoder, "study": study, "recipe": Recipe(epochs=1), "show_progress": False}
    done = lomt.run(shapes.tasks, shapes, Moody, out=tmp_path / "run", **arguments)
    said = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert "Moody runs as it is, stopped behind" in said[0]
    assert said[-3].startswith("networks on this backbone can't be compacted or exported: can't trace 'backbone'")
    small, exported = results_of(tmp_path / "run", "compact", "export")
    assert small["notes"][0].startswith("multi_task/seed-0 could not be compacted: can't trace 'backbone'")
    assert exported["models"] == {}
    assert "multi_task" in done.table
    assert "could not be compacted" in done.report.read_text()
    with pytest.raises(ValueError, match="networks could not be exported: multi_task/seed-0 could not be written"):
        saved([tmp_path / "run"])
    lomt.run(shapes.tasks, shapes, Moody, out=tmp_path / "run", **arguments)  # again is no error, either


@pytest.mark.parametrize(("backbone", "said"), [(Noisy, "remove dead channels"), (Moody, "can't be compacted or exp")])
def test_the_plan_says_what_can_not_be_compacted(shapes, tmp_path, backbone, said):
    shapes.setup()
    setup = Setup(shapes, shapes.tasks, backbone, tiny_decoder, Recipe(), tmp_path)
    preview = Compact("compact", (), 1).preview(setup)
    assert said in preview.what
