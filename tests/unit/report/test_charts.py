import math
import re

import pytest

from lomt.report.chart import LEFT, Axes, Curve, chart, decade_ticks, ticks
from lomt.report.curves import learning, sparsity, weights
from lomt.report.gains import gains
from lomt.report.read import read
from lomt.report.scatter import scatter

METHODS = ("single_task", "multi_task", "lomt", "sparse_lomt")


def test_no_figure_is_no_chart():
    assert "nothing measured" in chart([Curve([(1, math.nan)], "a", "c")], "label")


def test_gaps_break_the_line_and_lone_points_are_dots():
    picture = chart([Curve([(1, 1.0), (2, 2.0), (3, math.nan), (4, 3.0)], "a", "c")], "label")
    assert picture.count("<path") == 1
    assert picture.count("<circle") == 1
    assert "nan" not in picture


@pytest.mark.parametrize(("low", "high"), [(0.0, 1e-9), (1.0, 1.0), (-3.0, 7.0), (0.0, 12345.0)])
def test_ticks_lie_within(low, high):
    found = ticks(low, high, 4)
    assert 1 <= len(found) <= 8
    assert all(low - 1e-6 * abs(low) <= value <= high * (1 + 1e-6) for value in found)


@pytest.mark.parametrize(("low", "high"), [(-3.1, -2.1), (-4.0, 0.5), (-2.8, -2.5), (0.0, 6.0), (1.0, 1.3)])
def test_ticks_of_a_logarithmic_axis_are_round_and_lie_within(low, high):
    found = decade_ticks(low, high, most=5)
    assert 1 <= len(found) <= 8
    for value in found:
        assert low - 1e-9 <= math.log10(value) <= high + 1e-9
        assert float(f"{value:.1e}") == value


def test_axes_turn_up_and_right():
    axes = Axes(0, 10, 0, 1)
    assert axes.x(10) > axes.x(0)
    assert axes.y(1) < axes.y(0)


def test_one_epoch_and_one_value_are_enough():
    assert "<circle" in chart([Curve([(1, 0.5)], "a", "c")], "label")


def test_every_task_has_loss_and_headline_curves(run_folder):
    blocks = learning(read(run_folder))
    titles = {block.title: [figure.title for figure in block.figures] for block in blocks}
    assert titles["depth"] == ["loss ↓", "RMSE [m] ↓", "AbsRel ↓"]
    assert titles["normals"][1:] == ["mean angle [°] ↓", "within 11.25° [%] ↑"]
    loss = blocks[0].figures[0].picture
    assert loss.count('class="curve') == 8  # four methods, training and validation
    assert loss.count('class="band') == 4


def test_sparsity_has_a_line_a_trial_and_weights_one_a_task(run_folder):
    run = read(run_folder)
    assert sparsity(run).picture.count('class="curve') == 10
    assert [figure.picture.count('class="curve') for figure in weights(run)] == [5, 5]


def test_scatter_and_gains_show_every_method(run_folder):
    found = read(run_folder).comparison
    assert scatter(found).count('class="mean"') == 3
    assert gains(found).count('class="mean"') == 2 * 5


def test_a_compacted_network_stands_where_it_is_cheaper(example, tmp_path):
    folder = example.write_run(tmp_path / "run", tasks=("seg",), methods=METHODS, trials=1, seeds=2)
    picture = scatter(read(folder).comparison)
    (ring,) = place(picture, "compacted")
    (dot,) = [at for at in place(picture, "mean") if at[1] == ring[1]]
    assert (ring[0] - LEFT) / (dot[0] - LEFT) == pytest.approx(1 / 4, abs=1e-3)
    assert "tailored, sparse, compacted: Δm" in picture
    assert picture.count('class="way"') == 1


def place(picture, kind):
    return [
        tuple(map(float, at)) for at in re.findall(rf'<circle cx="([\d.]+)" cy="([\d.]+)"[^>]*class="{kind}"', picture)
    ]


def test_labels_of_dots_do_not_cover_each_other(example, tmp_path):
    methods = ("single_task", "multi_task", "lomt", "third", "fourth")
    folder = example.write_run(tmp_path / "run", tasks=("seg",), methods=methods, seeds=1, trials=1)
    picture = scatter(read(folder).comparison)
    places = re.findall(r'<text x="([\d.]+)" y="([\d.]+)"[^>]*class="name"', picture)
    assert len(places) == len(set(places)) == 5


def test_a_single_method_makes_no_scatter(example, tmp_path):
    folder = example.write_run(tmp_path / "run", tasks=("seg",), methods=("lomt",), seeds=1, trials=1)
    found = read(folder).comparison
    assert scatter(found) is None
    assert gains(found) is None
