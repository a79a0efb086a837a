"""``lomt predict`` and ``lomt bench`` as a person uses them, on a tiny network."""

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch
from PIL import Image

from lomt.cli import main
from lomt.export import from_pretrained, onnx, save_pretrained
from lomt.models import Light, Network, backbone
from lomt.tasks import Classification, Depth, Edges, Normals, Segmentation

pytest.importorskip("onnxruntime")
EXAMPLE = torch.zeros(1, 3, 32, 32)
NORMALIZATION = ([0.5] * 3, [0.25] * 3)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder and an ONNX file of one network, and a folder of pictures."""
    torch.manual_seed(0)
    tasks = [
        Segmentation("seg", ["wall", "floor"]), Depth("depth"), Normals("normals"), Edges("edges"),
        Classification("room", ["kitchen", "office"]),
    ]  # fmt: skip
    taps = {task.name: "layer1.0.conv2" for task in tasks}
    decoders = {task.name: (lambda channels, task: Light(channels, task, width=4)) for task in tasks if task.dense}
    network = Network(backbone("resnetd18", width=4), tasks, taps, decoders).eval()
    root = tmp_path_factory.mktemp("deployment")
    save_pretrained(network, root / "net", EXAMPLE, NORMALIZATION, delta_m=2.5)
    onnx(from_pretrained(root / "net"), root / "net.onnx", EXAMPLE, NORMALIZATION)
    (root / "pictures").mkdir()
    draw = np.random.default_rng(0)
    for name, size in (("wide.png", (20, 70)), ("tall.jpg", (60, 40)), ("one.png", (1, 1))):
        Image.fromarray(draw.integers(0, 256, (*size, 3), dtype=np.uint8)).save(root / "pictures" / name)
    return root


def pixels(folder):
    return {
        path.relative_to(folder).as_posix(): np.asarray(Image.open(path)).astype(int)
        for path in sorted(folder.rglob("*.png"))
    }


def test_torch_and_onnx_predict_the_same(saved, tmp_path, capsys):
    for model, out in (("net", "torch"), ("net.onnx", "onnx")):
        assert main(["predict", str(saved / "pictures"), f"--model={saved / model}", f"--out={tmp_path / out}"]) == 0
        assert f"3 of 3 pictures predicted: {tmp_path / out}" in capsys.readouterr().out
    found, other = pixels(tmp_path / "torch"), pixels(tmp_path / "onnx")
    kinds = ("seg", "depth", "depth-view", "normals", "edges")
    assert set(found) == {f"{kind}/{name}.png" for kind in kinds for name in ("wide", "tall", "one")} | {
        "seg-legend.png"
    }
    assert found.keys() == other.keys()
    for name, values in found.items():
        assert np.mean(np.abs(values - other[name]) > 2) < 0.01, name
    assert found["depth/wide.png"].shape == (20, 70)
    for out in ("torch", "onnx"):
        values = json.loads((tmp_path / out / "values.json").read_text())
        assert values.keys() == {"wide", "tall", "one"}
        assert values["wide"]["room"]["class"] in ("kitchen", "office")


def test_a_bad_picture_is_said_at_the_end(saved, tmp_path, capsys):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "bad.png").write_bytes(b"\x89PNG")
    Image.new("RGB", (9, 9)).save(folder / "good.png")
    arguments = ["predict", str(folder), f"--model={saved / 'net'}", f"--out={tmp_path / 'out'}"]
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert "1 of 2 pictures predicted" in said
    assert "bad.png can't be read" in said
    assert "1 of 2 pictures were left out" in said
    assert (tmp_path / "out/seg/good.png").exists()
    assert main(arguments) == 1
    assert "exists already: choose another folder with --out" in capsys.readouterr().err


def test_bench_prints_and_writes(saved, tmp_path, capsys):
    how = ["--repeats=2", "--batches", "1", "2", "--threads", "1", "--backends", "eager", "onnxruntime"]
    assert main(["bench", str(saved / "net"), str(saved / "net.onnx"), f"--out={tmp_path / 'bench'}", *how]) == 0
    said = capsys.readouterr().out
    table = (tmp_path / "bench/bench.md").read_text()
    assert table.strip() in said
    assert [line.split("|")[1:3] for line in table.splitlines()[2:]] == [
        [" net ", " eager "],
        [" net ", " onnxruntime "],
        [" net.onnx ", " onnxruntime "],
    ]
    stored = json.loads((tmp_path / "bench/bench.json").read_text())
    assert stored["models"]["net"]["delta_m"] == stored["models"]["net.onnx"]["delta_m"] == 2.5
    assert len(stored["timings"]) == 6
    root = ET.parse(tmp_path / "bench/bench.svg").getroot()
    marks = [mark for mark in root.iter("{http://www.w3.org/2000/svg}path") if mark.get("class") == "mean"]
    assert len(marks) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "nowhere", "--model={net}"], "nowhere is missing"),
        (["predict", "{pictures}", "--model=nowhere"], "config.json is missing"),
        (["predict", "{pictures}"], "model"),
        (["predict", "{pictures}", "--model={net}", "--device=abacus"], "abacus"),
        (["predict", "{pictures}", "--model={net}", "--device=cuda"], "device 'cuda' is asked for, and torch finds no"),
        (["bench", "nowhere.onnx"], "there is no file nowhere.onnx"),
        (["bench", "{net}", "--backends=tensorrt"], "unknown backend 'tensorrt'"),
        (["bench", "{net}", "--repeats=0"], "use 1 or more"),
        (["bench"], "models"),
    ],
)
def test_what_can_not_work_is_said_in_words(saved, arguments, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    places = {"net": saved / "net", "pictures": saved / "pictures"}
    try:
        status = main([argument.format(**places) for argument in arguments])
    except SystemExit as end:
        status = end.code
    assert status in (1, 2)
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["predict", "bench"])
def test_help_explains(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 12
