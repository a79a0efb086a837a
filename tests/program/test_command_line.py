"""The ``lomt`` command as a person uses it, on rooms of a few pixels."""

import errno
import json
import shlex
import shutil
import sys

import pytest
import torch
import yaml
from PIL import Image

from lomt.cli import main
from lomt.cli.main import read
from lomt.diagnosis import Cause, Setting, command, remedies
from lomt.evaluation.formatting import count
from lomt.export import OnnxModel, from_pretrained
from lomt.runs import RunFolder

TINY = [
    *("--data.size=[32,32]", "--data.train=16", "--data.validation=8", "--data.test=8", "--data.batch_size=8"),
    *("--network.width=4", "--network.decoder=light", "--network.decoder_width=8"),
    *("--study.trials=1", "--recipe.epochs=1", "--threads=1", "--tasks=[seg,depth,edges]", "--study.export=false"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that has ended."""
    folder = tmp_path_factory.mktemp("program") / "run"
    assert main(["run", *TINY, f"--out={folder}"]) == 0
    return folder


def error_of(arguments, capsys):
    """What a command that can't work prints; usage errors exit with 2, others return 1."""
    try:
        status = main(arguments)
    except SystemExit as end:
        status = end.code
    assert status in (1, 2)
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def test_a_run_leaves_what_it_promises(run):
    assert {path.name for path in run.iterdir()} >= {"config.yaml", "stages", "report.html"}
    compared = json.loads((run / "stages/compare/result.json").read_text())
    assert {row["method"] for row in compared["rows"]} == {"single_task", "multi_task", "lomt", "sparse_lomt"}
    by_method = {row["method"]: row for row in compared["rows"]}
    assert by_method["single_task"]["delta_m"]["mean"] == 0
    assert set(by_method["lomt"]["taps"]) == {"seg", "depth", "edges"}
    assert compared["methods"]["single_task"]["macs"] > compared["methods"]["multi_task"]["macs"]


def test_the_same_command_again_computes_nothing_anew(run, capsys):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name in ("result.json", "weights.pt")}
    assert main(["run", *TINY, f"--out={run}"]) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    said = capsys.readouterr().out
    assert "report.html" in said
    assert "| lomt |" in said


def test_the_config_of_a_run_makes_the_same_run(run, capsys):
    assert main(["run", "-c", str(run / "config.yaml"), f"--out={run}"]) == 0
    capsys.readouterr()
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["recipe"]["epochs"] == 1
    assert "out" not in config


@pytest.mark.parametrize(
    "wrong",
    [
        "--recipe.balancing=foo",
        "--study.methods=[mtan]",
        "--network.backbone=resnet5",
        "--network.width=0",
        "--network.decoder=unet",
        "--study.taps={seg: nowhere}",
    ],
)
def test_a_command_that_can_not_work_leaves_its_folder_free(tmp_path, wrong, capsys):
    out = tmp_path / "run"
    assert error_of(["run", *TINY, wrong, f"--out={out}"], capsys).count("\n") <= 2
    assert not out.exists()


def test_threads_are_part_of_what_a_run_is(tmp_path, capsys):
    tiny = [*(one for one in TINY if not one.startswith(("--threads", "--tasks"))), "--tasks=[edges]"]
    command = ["run", *tiny, "--study.methods=[single_task]", f"--out={tmp_path / 'run'}"]
    assert main([*command, "--threads=2"]) == 0
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["threads"] == 2
    assert "threads was 2, now 1" in error_of([*command, "--threads=1"], capsys)
    assert torch.get_num_threads() == 1
    assert main(command) == 0  # on the two threads that it began with
    assert torch.get_num_threads() == 1


def test_another_config_is_refused_and_nothing_is_touched(run, capsys):
    before = (run / "config.yaml").read_text()
    said = error_of(["run", *TINY, "--recipe.lr=0.1", f"--out={run}"], capsys)
    assert "recipe.lr was 0.003, now 0.1" in said
    assert (run / "config.yaml").read_text() == before


def test_dry_run_prints_the_plan_and_writes_nothing(tmp_path, capsys):
    assert main(["run", *TINY, "--dry-run", f"--out={tmp_path / 'run'}"]) == 0
    said = capsys.readouterr().out
    for stage in ("single_task/seg/seed-0", "path/edges", "select", "lomt/seed-0", "compare"):
        assert stage in said
    assert "13 stages, about" in said
    assert not (tmp_path / "run").exists()


def test_select_reads_the_run(run, capsys):
    assert main(["select", str(run), "--rule.threshold=0.5"]) == 0
    said = capsys.readouterr().out
    assert {line.split(":")[0] for line in said.splitlines()} == {"seg", "depth", "edges"}


def test_diagnose_says_why_and_what_to_try(run, capsys):
    assert main(["diagnose", str(run), "--threads=1"]) == 0
    said = capsys.readouterr().out
    record = json.loads((run / "diagnosis.json").read_text())
    methods = yaml.safe_load((run / "config.yaml").read_text())["study"]["methods"]
    assert [network["method"] for network in record["networks"]] == [one for one in methods if one != "single_task"]
    for network in record["networks"]:
        assert f"{network['method']}, against single-task networks on validation" in said
        for verdict in network["verdicts"]:
            assert f"why {verdict['task']} loses in {network['method']}" in said
            assert verdict["causes"][0]["evidence"] in said
    assert 'id="diagnosis"' in (run / "report.html").read_text()


def test_diagnose_says_that_it_can_not_write_before_it_measures(run, tmp_path, capsys, monkeypatch):
    shutil.copytree(run, tmp_path / "run")

    def read_only(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("pathlib.Path.touch", read_only)
    monkeypatch.setattr(sys.modules["lomt.runs.diagnose"], "standings", None)
    said = error_of(["diagnose", str(tmp_path / "run"), "--threads=1"], capsys)
    assert f"error: {tmp_path / 'run'} can't be written (Read-only file system): choose another place" in said


@pytest.mark.parametrize("damage", [b"", b"PK", None])
def test_damaged_weights_are_named_with_the_stage_to_repeat(run, tmp_path, damage, capsys):
    shutil.copytree(run, tmp_path / "run")
    file = tmp_path / "run/stages/lomt/seed-0/weights.pt"
    file.write_bytes(file.read_bytes()[:-2000] if damage is None else damage)
    said = error_of(["compact", str(tmp_path / "run"), "--method=lomt", f"--out={tmp_path / 'small'}"], capsys)
    assert said.startswith(f"error: {file} is damaged (")
    assert f"remove {file.parent} and run again to repeat that stage" in said
    assert said.count("\n") == 1


def test_diagnose_of_some_methods(run, capsys):
    assert main(["diagnose", str(run), "--threads=1", "--methods=lomt"]) == 0
    assert "multi_task, against" not in capsys.readouterr().out
    assert [one["method"] for one in json.loads((run / "diagnosis.json").read_text())["networks"]] == ["lomt"]
    said = error_of(["diagnose", str(run), "--methods=lomt,other"], capsys)
    assert "no multi-task network of 'other' has ended in this run: multi_task, lomt" in said


def test_diagnose_refuses_a_device_that_is_not_there(run, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    said = error_of(["diagnose", str(run), "--accelerator=gpu"], capsys)
    assert "device 'gpu' is asked for, and torch finds no GPU here: use auto or cpu" in said
    assert "unknown device 'abacus'" in error_of(["diagnose", str(run), "--accelerator=abacus"], capsys)


@pytest.mark.parametrize("balancing", ["uncertainty", "geometric"])
@pytest.mark.parametrize("backbone", ["resnetd18", "my.module:make"])
@pytest.mark.parametrize("kind", ["conflict", "imbalance", "too deep", "capacity", "generalization", "unknown"])
def test_what_a_diagnosis_says_to_try_is_a_command(run, kind, backbone, balancing):
    setting = Setting(("seg", "depth", "edges"), {"seg": "layer4"}, balancing, backbone, 4, 8, 0.01, (0,))
    for remedy in remedies("seg", Cause(kind, 1.0, "", tap="layer2.0.conv2"), setting):
        words = shlex.split(command(run, remedy))
        assert words[0] == "lomt"
        _, options = read(words[1], words[2:])
        assert options.out != str(run)
        for key, value in remedy.options.items():
            found = options.identity
            for name in key.split("."):
                found = found[name]
            assert found == yaml.safe_load(value)


@pytest.fixture
def part(run, tmp_path):
    """Copies some stages of a run, with another study."""

    def copy(methods, *stages):
        folder = tmp_path / "part"
        folder.mkdir()
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["study"]["methods"] = methods
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        for stage in stages:
            shutil.copytree(run / "stages" / stage, folder / "stages" / stage)
        return folder

    return copy


def test_diagnose_without_baselines_says_what_to_add(part, capsys):
    folder = part(["multi_task"], "multi_task")
    said = error_of(["diagnose", str(folder)], capsys)
    assert "no dense single-task networks" in said
    assert f"lomt run -c {folder}/config.yaml --study.methods '[single_task, multi_task]'" in said


def test_diagnose_without_multi_task_says_what_to_add(part, capsys):
    said = error_of(["diagnose", str(part(["single_task"], "single_task"))], capsys)
    assert "no multi-task network" in said
    assert "--study.methods '[single_task, multi_task]'" in said


def test_diagnose_of_a_run_that_has_not_ended_says_to_go_on(part, capsys):
    folder = part(["single_task", "multi_task"], "single_task/seg", "multi_task")
    said = error_of(["diagnose", str(folder)], capsys)
    assert "no dense single-task network for depth, edges that has ended" in said
    assert f"'lomt run -c {folder}/config.yaml --out {folder}'" in said


def test_diagnose_of_a_run_from_python_says_how(part, capsys):
    folder = part(["single_task", "multi_task"], "single_task", "multi_task")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"data": {"source": "Mine"}}))
    assert "lomt.runs.diagnose(folder, setup)" in error_of(["diagnose", str(folder)], capsys)


def test_report_writes_one_file_without_the_data(run, capsys):
    (run / "report.html").unlink()
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").read_text().lstrip().lower().startswith("<!doctype html>")
    assert "report.html" in capsys.readouterr().out


def test_taps_lists_candidates(capsys):
    assert main(["taps", "--backbone=resnetd18", "--width=4"]) == 0
    said = capsys.readouterr().out
    assert "layer3.0.conv2" in said
    assert "stride" in said.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--tasks=[colour]"], ["unknown task 'colour'", "seg, depth, normals, edges, room"]),
        (["run", *TINY, "--network.backbone=resnet5"], ["unknown backbone 'resnet5'", "resnetd18"]),
        (["run", *TINY, "--network.decoder=unet"], ["unknown decoder 'unet'", "deeplab"]),
        (["run", *TINY, "--network.backbone=nowhere:make"], ["nowhere:make", "package.module:callable"]),
        (["run", *TINY, "--study.methods=[mtan]"], ["unknown method 'mtan'", "lomt"]),
        (["run", *TINY, "--recipe.balancing=gradnorm"], ["unknown balancing 'gradnorm'", "uncertainty"]),
        (["run", *TINY, "--study.rule=Deepest"], ["Deepest", "DeepestActive"]),
        (["run", "--data=Kitti"], ["Kitti", "NYUv2"]),
        (["run", "--data=NYUv2", "--data.root=/nowhere"], ["/nowhere"]),
        (["run", "--recipe.epochs=0"], ["recipe.epochs is 0"]),
        (["run", "--recipe.speed=1"], ["recipe.speed"]),
        (["run", "--data.train=0"], ["the size of the train split is 0"]),
        (["select", "/nowhere"], ["/nowhere is no run folder"]),
        (["diagnose", "/nowhere"], ["/nowhere is no run folder"]),
        (["report", "/nowhere"], ["/nowhere is no run folder"]),
        (["taps", "--backbone=vgg"], ["unknown backbone 'vgg'"]),
        (["dance"], ["dance"]),
    ],
)
def test_what_can_not_work_is_said_in_words(arguments, words, tmp_path, capsys):
    extra = [f"--out={tmp_path / 'run'}"] if arguments[0] == "run" else []
    said = error_of([*arguments, *extra], capsys)
    assert all(word in said for word in words), said


def test_debug_shows_where_an_error_came_from(capsys):
    assert main(["report", "/nowhere", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_diverged_training_keeps_what_ended(tmp_path, capsys):
    arguments = ["run", *TINY, "--tasks=[edges]", "--study.methods=[single_task]", "--recipe.schedule=constant"]
    said = error_of([*arguments, "--recipe.lr=1e30", "--recipe.epochs=3", f"--out={tmp_path / 'run'}"], capsys)
    assert "the loss of task 'edges' became" in said
    assert "lower learning rate" in said
    assert (tmp_path / "run/config.yaml").exists()


def test_a_full_disk_is_said_and_ended_stages_are_kept(tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RunFolder, "write_result", full)
    said = error_of(["run", *TINY, "--tasks=[edges]", f"--out={tmp_path / 'run'}"], capsys)
    assert f"{tmp_path / 'run'} can't be written, its disk is full" in said
    assert "make room" in said


@pytest.mark.parametrize("command", ["", "run", "select", "diagnose", "compact", "export", "report", "taps"])
def test_help_explains(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([*command.split(), "--help"])
    assert end.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 8


def test_no_task_worse_than_changes_taps_and_weights_on_validation(tmp_path, capsys):
    out = tmp_path / "run"
    tiny = [*TINY, "--study.methods=[single_task,lomt]", "--study.taps={seg: layer1.0.conv2, depth: layer2.0.conv2}"]
    assert (
        main(["run", *tiny, "--study.taps.edges=layer1.0.conv2", f"--out={out}", "--no-task-worse-than", "0.01%"]) == 0
    )
    capsys.readouterr()
    assert yaml.safe_load((out / "config.yaml").read_text())["study"]["no_task_worse_than"] == "0.01%"
    rounds = [json.loads(file.read_text()) for file in sorted(out.glob("stages/lomt/seed-0/**/result.json"))]
    assert all(one["method"] == "lomt" for one in rounds)
    (row,) = [
        row for row in json.loads((out / "stages/compare/result.json").read_text())["rows"] if row["method"] == "lomt"
    ]
    assert row["stages"][0] in {one["stage"] for one in rounds}
    assert "use a share such as" in error_of(["run", *TINY, f"--out={out}2", "--no-task-worse-than", "a lot"], capsys)


def test_a_run_ends_with_a_small_network_that_runs_without_it(run, tmp_path, capsys):
    out = tmp_path / "run"
    methods = "[single_task,lomt,sparse_lomt]"
    tiny = [one for one in TINY if not one.startswith("--study.export")]
    strong = ["--study.penalty=GroupLasso", "--study.penalty.weight=0.3", "--study.taps={seg: layer2.0.conv2}"]
    taps = ["--study.taps.depth=layer1.0.conv2", "--study.taps.edges=layer1.0.conv2"]
    assert main(["run", *tiny, *strong, *taps, f"--study.methods={methods}", f"--out={out}"]) == 0
    said = capsys.readouterr()
    assert "nothing is dead" not in said.out + said.err
    networks = json.loads((out / "stages/compact/result.json").read_text())["networks"]
    compacted = networks["sparse_lomt"]
    assert compacted["network"] == "sparse_lomt/seed-0"
    assert networks["lomt"] == {"network": "lomt/seed-0", "seed": 0, "said": networks["lomt"]["said"], "changed": False}
    before, after = (one["parameters"] for one in compacted["costs"].values())
    assert after < before
    assert max(compacted["difference"]["float64"].values()) < 1e-10
    assert max(compacted["difference"]["float32"].values()) < 1e-5
    rows = [line.split(" | ") for line in said.out.splitlines() if line.startswith("|")]
    rows = {row[0].removeprefix("| "): row[1:] for row in rows}
    assert list(rows)[2:] == ["single_task", "lomt", "sparse_lomt", "sparse_lomt, compacted"]
    as_trained, small = rows["sparse_lomt"], rows["sparse_lomt, compacted"]
    assert small[:-3] == as_trained[:-3]  # one measurement
    assert (as_trained[-3], small[-3]) == (count(before), count(after))
    exported = json.loads((out / "stages/export/result.json").read_text())
    assert max(exported["onnx"]["errors"].values()) < 1e-3
    assert list(exported["models"]) == ["lomt", "sparse_lomt"]
    small = from_pretrained(out / "stages" / exported["models"]["sparse_lomt"])
    assert sum(parameter.numel() for parameter in small.parameters()) == after
    of_run = from_pretrained(out)
    example = torch.rand(1, 3, 32, 32)
    assert all(torch.equal(value, small(example)[name]) for name, value in of_run(example).items())
    with pytest.raises(ValueError, match="is a run that has exported nothing"):
        from_pretrained(run)
    assert "Made small" in (out / "report.html").read_text()
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    assert main(["predict", str(tmp_path / "red.png"), f"--model={out}", f"--out={tmp_path / 'seen'}"]) == 0
    assert list((tmp_path / "seen").rglob("*.png"))
    how = ["--backends", "eager", "--batches", "1", "--threads", "1", "--repeats=5", f"--out={tmp_path / 'bench'}"]
    assert main(["bench", str(out), *how]) == 0
    measured = json.loads((tmp_path / "bench/bench.json").read_text())["models"]
    assert list(measured) == ["lomt", "sparse_lomt"]
    assert measured["sparse_lomt"]["parameters"] == after
    assert "exported nothing" in error_of(["bench", str(run)], capsys)
    # Made small anew, in multiples of 4, and written as ONNX.
    assert main(["compact", str(out), "--round-to=4", f"--out={tmp_path / 'fours'}"]) == 0
    assert "narrowed" in capsys.readouterr().out
    fours = from_pretrained(tmp_path / "fours")
    widths = [
        layer.out_channels for layer in fours.get_submodule("backbone").modules() if hasattr(layer, "out_channels")
    ]
    assert after < sum(parameter.numel() for parameter in fours.parameters()) < before
    assert all(width % 4 == 0 for width in widths if width > 4)
    assert fours.delta_m == small.delta_m is not None
    assert "exists already" in error_of(["compact", str(out), f"--out={tmp_path / 'fours'}"], capsys)
    assert "no network of 'mtan'" in error_of(["compact", str(out), "--method=mtan"], capsys)
    assert main(["export", str(out), "--int8", f"--out={tmp_path / 'onnx'}"]) == 0
    names = [f"{method}{kind}.onnx" for method in ("lomt", "sparse_lomt") for kind in ("-int8", "")]
    assert sorted(file.name for file in (tmp_path / "onnx").iterdir()) == sorted(names)
    assert OnnxModel(tmp_path / "onnx/sparse_lomt.onnx").delta_m == small.delta_m
    assert "quality against the file before: seg" in capsys.readouterr().out
    before = (tmp_path / "onnx/lomt.onnx").read_bytes()
    assert "onnx/lomt.onnx exists already" in error_of(["export", str(out), f"--out={tmp_path / 'onnx'}"], capsys)
    assert (tmp_path / "onnx/lomt.onnx").read_bytes() == before
    assert "bench.json exists already" in error_of(["bench", str(out), *how], capsys)
    assert "wants one run" in error_of(["export", str(out), str(tmp_path / "fours"), "--int8"], capsys)


@pytest.mark.parametrize(
    "change",
    [
        {"network": {"backbone": "os:abort"}},
        {"network": {"backbone": "lomt.cli.main:main"}},
        {"study": {"rule": {"class_path": "evil.Rule"}}},
        {"study": {"rule": "evil.Rule"}},
        {"data": {"class_path": "evil.Source"}},
        {"data": {"class_path": "lomt.data.Scenes", "init_args": {"augment": {"class_path": "evil.Augmentation"}}}},
    ],
)
@pytest.mark.parametrize("command", [["diagnose"], ["compact"], ["export", "--int8"]])
def test_code_that_a_received_run_names_wants_the_users_word(run, tmp_path, change, command, capsys, monkeypatch):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    received = tmp_path / "received"
    shutil.copytree(run, received)
    config = yaml.safe_load((run / "config.yaml").read_text())
    for key, value in change.items():
        config[key] = config[key] | value if isinstance(value, dict) else value
    (received / "config.yaml").write_text(yaml.safe_dump(config))
    said = error_of([*command, str(received)], capsys)
    assert "names code outside lomt, " in said
    assert "give --trust" in said
    assert not (tmp_path / "ran").exists()


def test_with_the_users_word_the_code_runs(run, tmp_path, monkeypatch):
    (tmp_path / "own_backbone.py").write_text(
        "from lomt.models.resnet import resnetd18\ndef make():\n    return resnetd18(width=4, output_stride=16)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    received = tmp_path / "received"
    shutil.copytree(run, received)
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["network"]["backbone"] = "own_backbone:make"
    (received / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["compact", str(received), "--trust", "--method=lomt", f"--out={tmp_path / 'small'}"]) == 0
    assert (tmp_path / "small").is_dir()
