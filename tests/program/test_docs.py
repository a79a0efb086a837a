"""What the guides show can be typed as it stands."""

import importlib.util
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.kernels.table import convolutions, networks, table
from benchmarks.llm import decode, quality_table
from benchmarks.selection_table import SHOWN
from lomt.cli import main
from lomt.cli.main import COMMANDS, EXAMPLES, WINGS
from lomt.files import read_record
from lomt.llm import ADAPTERS
from lomt.llm.cli import parser as llm_parser

pytest.importorskip("onnxruntime")
DOCS = Path(__file__).parents[2] / "docs"


def blocks_of(guide):
    """(language, text) of its code."""
    return re.findall(r"```(\w*)\n(.*?)```", (DOCS / guide).read_text(), re.DOTALL)


def test_the_guide_to_compaction_runs(capsys):
    ((kind, block),) = blocks_of("compaction.md")
    assert kind == "python"
    exec(block, {})
    assert capsys.readouterr().out.splitlines()[-1] == "(8, 2)"


def test_the_guide_to_existing_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ((kind, block),) = [each for each in blocks_of("dropin.md") if each[0]]
    assert kind == "python"
    names = {}
    torch.manual_seed(0)
    exec(block, names)
    count = [sum(p.numel() for p in names[name].parameters()) for name in ("model", "small")]
    assert count[1] < count[0]
    assert Path("small.onnx").exists()


def test_the_guide_to_deployment_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("pictures").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save("pictures/one.png")
    names = {}
    blocks = blocks_of("deploy.md")
    assert [kind for kind, _ in blocks] == ["python", "python", "", ""]
    for kind, block in blocks:
        if kind == "python":
            exec(block, names)
        else:
            for line in block.strip().splitlines():
                assert main(shlex.split(line)[1:]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "relative error against ONNX Runtime: seg" in said
    assert "calibrated on 64 images; quality against the file before: seg" in said
    assert "1 of 1 pictures predicted: one" in said
    assert "| net.onnx | onnxruntime | +12.1 |" in said
    assert "| net-int8.onnx | onnxruntime | – |" in said
    assert Path("bench/bench.svg").exists()


def test_the_first_page_runs(capsys):
    blocks = [block for kind, block in blocks_of("../README.md") if kind == "python"]
    own, operation, whole = blocks
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3), torch.nn.Flatten())
    batch = (torch.randn(4, 3, 8, 8), torch.zeros(4, 64))
    names = {"their_model": lambda: model, "loader": [batch] * 40, "loss": torch.nn.functional.mse_loss}
    exec(own, names)
    said = capsys.readouterr().out
    assert re.fullmatch(r"[1-9]\d*% of the groups are dead\n", said), said
    before, after = (sum(p.numel() for p in one.parameters()) for one in (model, names["small"]))
    assert after < before
    torch.testing.assert_close(names["small"](batch[0]), model(batch[0]))
    exec(operation, {})
    assert capsys.readouterr().out.startswith("tensor(")
    assert "lomt.run(data.tasks, data" in whole


def test_what_is_shown_of_run_works_after_the_demo():
    """A command that is not the demo's names a folder of its own."""
    texts = [EXAMPLES, *((DOCS / guide).read_text() for guide in ("../README.md", "lomt.md", "diagnose.md"))]
    shown = [line for text in texts for line in re.findall(r"lomt run[^`\n]*", text)]
    changed = [line for line in shown if re.search(r"lomt run (-c|--(?!dry-run|quick))", line)]
    assert len(changed) > 3
    assert all("--out" in line for line in changed), changed


def test_what_a_command_calls_is_there():
    text = (DOCS / "architecture.md").read_text()
    rows = re.findall(r"^\| `lomt (\w+)` \| `([\w.]+)\.(\w+)` \| (.+) \|$", text, re.MULTILINE)
    assert {row[0] for row in rows} == set(COMMANDS | WINGS)
    assert all(callable(getattr(importlib.import_module(module), name)) for _, module, name, _ in rows)
    files = [file for row in rows for file in re.findall(r"`([\w/.]+)`", row[3])]
    assert files
    assert all((DOCS.parent / "lomt" / file).exists() for file in files)


def test_the_guide_to_the_kernels_runs():
    for kind, block in blocks_of("kernels.md"):
        if kind == "python":
            exec(block, {})


def test_the_guide_to_language_models_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for kind, block in blocks_of("llm.md"):
        if kind == "python":
            exec(block, names)
    assert Path("efficient/lte.safetensors").exists()
    ADAPTERS.pop("my_llama")


def test_commands_of_the_guide_to_language_models_are_read():
    shown = [line.split("#")[0] for _, block in blocks_of("llm.md") for line in block.splitlines()]
    commands = [shlex.split(line)[2:] for line in shown if line.startswith("lomt llm")]
    assert {words[0] for words in commands} == {"train", "eval", "bench", "generate"}
    for words in commands:
        assert llm_parser().parse_args(words).command == words[0]


def test_the_picture_of_the_house_is_as_the_code_is():
    spec = importlib.util.spec_from_file_location("architecture", DOCS / "architecture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.picture() == (DOCS / "images/architecture.svg").read_text()


def test_figures_of_the_kernels_are_those_of_the_results():
    text = (DOCS / "kernels.md").read_text()
    for name, said in (("cpu", table), ("conv", convolutions), ("ffn", networks)):
        results = json.loads((DOCS.parent / f"benchmarks/results/kernels/{name}.json").read_text())
        for line in said(results).splitlines():
            assert line in text, line


def test_the_guide_to_selection_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for kind, block in blocks_of("selection.md"):
        if kind == "python":
            exec(block, names)
    said = capsys.readouterr().out
    assert "{'depth':" in said


def test_figures_of_selections_are_those_of_the_results():
    text = (DOCS / "selection.md").read_text()
    shown = [(DOCS.parent / f"benchmarks/results/selection/{name}.json", tables) for name, tables in SHOWN.items()]
    there = [(file, tables) for file, tables in shown if file.exists()]
    assert there
    for file, tables in there:
        for said in tables:
            for line in said(json.loads(file.read_text())).splitlines():
                assert line in text, line


def test_figures_of_language_models_are_those_of_the_results():
    text = (DOCS / "llm.md").read_text()
    found = quality_table.read()
    tables = quality_table.table(found), decode.table(read_record(decode.RESULTS, "measure anew"))
    for line in "\n".join(tables).splitlines():
        assert line in text, line
    for line in (quality_table.dense_line(found), quality_table.measured_line(found)):
        assert line in text, line
