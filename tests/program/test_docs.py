"""What the guides show can be typed as it stands."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lomt.cli import main

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
