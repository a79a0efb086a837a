"""The figure of how λ was found."""

from tailor.report.paths import paths, picture
from tailor.report.read import read
from tailor.report.render import render


def test_every_path_is_drawn_with_its_choice(run_folder):
    run = read(run_folder)
    found = paths(run)
    assert [one.name for one in found] == run.tasks
    for one in found:
        assert len(one.points) == 4
        assert one.picture.count("<circle") == 3 * 4 + 3  # three strips, and a ring in each
        assert one.points[one.chosen]["strength"] == 5.7e-4


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
