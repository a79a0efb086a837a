"""The figure of how λ was found."""

import json
import re
import shutil
from pathlib import Path

import pytest

from lomt.report.paths import paths, picture
from lomt.report.read import read
from lomt.report.render import render


def test_every_path_is_drawn_with_its_choice(run_folder):
    run = read(run_folder)
    found = paths(run)
    assert [one.name for one in found] == run.tasks
    for one in found:
        assert len(one.points) == 4
        assert one.picture.count("<circle") == 3 * 4 - 1 + 3  # three strips, a loss off the scale, and a ring in each
        assert one.picture.count(">+31.0 %</text>") == 1
        assert one.points[one.chosen]["strength"] == 5.7e-4


def test_of_a_shared_network_the_choice_is_what_was_refitted(example, run_folder, tmp_path):
    folder = Path(shutil.copytree(run_folder, tmp_path / "run"))
    result = json.loads((folder / "stages/path/seg/result.json").read_text())
    example.write_json(folder / "stages/path/lomt/result.json", result)
    taps = {"seg": "layer4", "depth": "layer4"}
    refits = [{"strengths": [0.0, 8e-4], "excess": 0.031}, {"strengths": [0.0, 4e-4], "excess": -0.004}]
    refit = {"method": "sparse_lomt", "taps": taps, "seed": 0, "start": "path/lomt/step-2", "refits": refits}
    example.write_json(folder / "stages/sparse_lomt/seed-0/result.json", refit | {"pattern": {"layers": []}})
    shared = paths(read(folder))[-1]
    assert shared.name == "lomt"
    assert shared.points[shared.chosen]["strength"] == 4e-4
    assert shared.reason.endswith("+3.1% with λ 8.0e-04, -0.4% with λ 4.0e-04")


def at(drawn, label, axis):
    """Where a tick's label stands, in CSS pixels."""
    return float(
        re.search(rf'<text x="([\d.]+)" y="([\d.]+)"[^>]*>{re.escape(label)}</text>', drawn)["xy".index(axis) + 1]
    )


def test_ticks_stand_where_their_numbers_are():
    points = [
        {"strength": strength, "excess": excess, "sparsity": 0.25, "deepest": "layer1.conv1"}
        for strength, excess in ((1e-3, -0.03), (2e-3, 0.01), (4e-3, 0.04))
    ]
    drawn = picture("seg", {"points": points, "chosen": 1, "tolerance": 0.02}, [])
    dots = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="3.2"', drawn)]
    assert at(drawn, "1e-3", "x") == pytest.approx(dots[0][0], abs=0.02)
    assert at(drawn, "2e-3", "x") == pytest.approx(dots[1][0], abs=0.02)
    # A point's loss lies between the ticks that its number lies between; the text's base is 3 pixels lower.
    losses = [y + 3 for _, y in dots[:3]]
    assert losses[0] > at(drawn, "−2 %", "y") > at(drawn, "0 %", "y") > losses[1] > at(drawn, "2 %", "y")
    assert losses[2] == pytest.approx(at(drawn, "4 %", "y"), abs=0.02)
    assert drawn.count('class="zero"') == 1


def test_layers_are_ordered_by_depth():
    points = [
        {"strength": 10.0**-n, "excess": 0.0, "sparsity": 0.5, "deepest": name}
        for n, name in ((4, "layer10.conv1"), (3, "layer9.conv1"), (2, None))
    ]
    drawn = picture("seg", {"points": points, "chosen": None, "tolerance": 0.02}, ["layer9.conv1", "layer10.conv1"])
    # From the bottom to the top: everything dead, the shallow layer, the deep one.
    assert drawn.index(">none<") < drawn.index(">l9.c1<") < drawn.index(">l10.c1<")


def test_steps_of_a_path_are_no_networks_of_the_run(run_folder):
    assert "path" not in {training.method for training in read(run_folder).trainings}
    assert "step-0" not in render(run_folder)


def test_a_single_point_can_be_drawn():
    point = {"strength": 1e-3, "excess": 0.5, "sparsity": 1.0, "deepest": None}
    assert "<circle" in picture("seg", {"points": [point], "chosen": None, "tolerance": 0.02}, [])
