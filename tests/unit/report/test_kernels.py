"""The section on what training skipped."""

import csv
import re

import pytest

from lomt.report.kernels import lanes
from lomt.report.read import read
from lomt.report.render import render

METHODS = ("single_task", "lomt", "sparse_lomt")


def timed(folder, stage, seconds, computed):
    """A ``metrics.csv`` as training leaves it; empty cells where something is None."""
    place = folder / "stages" / stage
    place.mkdir(parents=True, exist_ok=True)
    with (place / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "train_loss/seg", "sparsity", "seconds", "computed"])
        for epoch, (time, share) in enumerate(zip(seconds, computed, strict=True), start=1):
            writer.writerow([epoch, 0.5, 0.0, time, share])


@pytest.fixture
def run(example, tmp_path):
    """seg's network became sparse on a path, and the tailored network on one of its own, with a training after it."""
    folder = example.write_run(tmp_path / "run", tasks=("seg",), methods=METHODS, seeds=1, trials=1)
    timed(folder, "single_task/seg/seed-0", [9.0, 2.0, 2.0], [1, 1, 1])  # the first epoch warms up
    timed(folder, "path/seg/step-0", [2.0, 2.2], [1.0, 1.0])
    timed(folder, "path/seg/step-1", [1.6, 1.0], [0.8, 0.4])
    timed(folder, "lomt/seed-0", [4.0, 4.0], [1.0, 1.0])
    timed(folder, "path/lomt/step-0", [4.0], [1.0])
    timed(folder, "path/lomt/step-1", [3.0], [0.5])
    timed(folder, "sparse_lomt/seed-0/step-0", [1.0], [0.2])
    return folder


def test_epochs_follow_each_other_and_their_time_is_relative_to_a_dense_one(run):
    seg, tailored = lanes(read(run))
    assert [(epoch.computed, epoch.time) for epoch in seg.epochs] == [(1.0, 1.0), (1.0, 1.1), (0.8, 0.8), (0.4, 0.5)]
    assert [(epoch.computed, epoch.time) for epoch in tailored.epochs] == [(1.0, 1.0), (0.5, 0.75), (0.2, 0.25)]
    assert seg.skipped == pytest.approx(0.2)
    assert tailored.time == pytest.approx(2 / 3)
    assert (seg.name, tailored.name) == ("seg", "tailored, sparse")


def test_what_compaction_gave_is_said_of_the_network_that_was_compacted(run):
    seg, tailored = lanes(read(run))
    assert (seg.macs, seg.latency) == (None, None)
    assert (tailored.macs, tailored.latency) == (pytest.approx(0.25), pytest.approx(4.1 / 10.2))


def test_dots_are_where_their_figures_are(run):
    tailored = lanes(read(run))[1].picture
    dots = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', tailored)]
    ends = re.search(r'<line x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)" class="zero"', tailored)
    left, bottom, right, top = map(float, ends.groups())
    found = [((x - left) / (right - left), (y - bottom) / (top - bottom)) for x, y in dots]
    assert [one for dot in found for one in dot] == pytest.approx([1, 1, 0.5, 0.75, 0.2, 0.25], abs=1e-3)
    assert "epoch 2: 50 % computed, in 75 % of a dense epoch&#39;s time" in tailored


def test_the_section_is_there_with_its_table(run):
    page = render(run)
    assert 'href="#kernels"' in page
    assert "What training skipped" in page
    row = re.search(r'<tr><th scope="row">tailored, sparse</th>(<td>3</td>.*?)</tr>', page)[1]
    assert re.findall(r"<td>(.*?)</td>", row) == ["3", "43 %", "67 %", "20 %", "25 %", "25 %", "40 %"]


def test_runs_without_these_figures_have_no_such_section(run_folder):
    assert lanes(read(run_folder)) == []
    assert "kernels" not in render(run_folder)


def test_epochs_that_were_not_timed_are_left_out(run):
    timed(run, "path/seg/step-1", ["", 1.0], [0.8, 0.4])
    assert [epoch.computed for epoch in lanes(read(run))[0].epochs] == [1.0, 1.0, 0.4]


def test_without_a_dense_training_the_dense_epochs_of_the_path_are_the_measure(run):
    (run / "stages/single_task/seg/seed-0/metrics.csv").unlink()
    assert [epoch.time for epoch in lanes(read(run))[0].epochs] == pytest.approx(
        [2 / 2.1, 2.2 / 2.1, 1.6 / 2.1, 1 / 2.1]
    )
    timed(run, "path/seg/step-0", [2.0], [0.9])
    assert [lane.name for lane in lanes(read(run))] == ["tailored, sparse"]


def test_a_given_strength_has_trials_and_a_training_of_its_own(run):
    for step in ("path/seg/step-0", "path/seg/step-1", "path/lomt/step-0", "path/lomt/step-1"):
        (run / f"stages/{step}/metrics.csv").unlink()
        (run / f"stages/{step}/point.json").unlink(missing_ok=True)
    timed(run, "sparse/seg/trial-0", [2.0, 1.0], [1.0, 0.5])
    timed(run, "penalized/lomt/seed-0/step-0", [2.0, 1.0], [0.6, 0.4])
    (run / "stages/path/seg/result.json").unlink()
    seg, tailored = lanes(read(run))
    assert [epoch.time for epoch in seg.epochs] == [1.0, 0.5]
    assert [epoch.computed for epoch in tailored.epochs] == [0.6, 0.4, 0.2]
