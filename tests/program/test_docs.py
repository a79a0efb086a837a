"""What the guide to saved networks shows can be typed as it stands."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tailor.cli import main

pytest.importorskip("onnxruntime")
GUIDE = Path(__file__).parents[2] / "docs" / "deploy.md"


def test_the_guide_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("pictures").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save("pictures/one.png")
    names = {}
    blocks = re.findall(r"```(\w*)\n(.*?)```", GUIDE.read_text(), re.DOTALL)
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
