"""The examples run as they stand, in as many changed lines as they say, and what they write is what they trained."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ("shared_trunk", "mtan", "deeplab")


@pytest.mark.parametrize("name", NAMES)
def test_five_lines_are_changed(name):
    text = (EXAMPLES / f"{name}.py").read_text()
    assert re.findall(r"  # (\d)(?::|$)", text, re.MULTILINE) == ["1", "2", "3", "4", "5"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs(name, tmp_path, monkeypatch, capsys):
    options = [
        "--steps",
        "6",
        "--size",
        "16",
        "--batch",
        "2",
        "--strength",
        "0.5",
        "--onnx",
        str(tmp_path / "net.onnx"),
    ]
    monkeypatch.setattr(sys, "argv", [name, *options])
    monkeypatch.syspath_prepend(EXAMPLES)
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    heads, *rows = capsys.readouterr().out.strip().splitlines()
    assert heads.split() == ["seg", "depth", "edges", "weights", "step", "forward"]
    found = {line[:16].strip(): line[16:].split() for line in rows}
    assert list(found) == ["as it was", "with lomt", "compacted"]
    was, ours, small = ([float(x.replace(",", "")) for x in row[:4]] for row in found.values())
    assert np.isfinite([*was, *ours]).all()
    assert small[:3] == pytest.approx(ours[:3], abs=2e-3)  # three digits are printed
    assert small[3] < ours[3] == was[3]
    onnx.checker.check_model(tmp_path / "net.onnx")
