"""A colour for each method: the same everywhere, and no other one's."""

import re
from importlib.resources import files
from itertools import combinations

import pytest

from lomt.report.bench import STYLE
from lomt.report.curves import method_legend, task_legend
from lomt.report.names import METHODS, OTHERS, colour_class
from lomt.report.read import Run, Training

SHEET = files("lomt.report").joinpath("report.css").read_text()
OTHER = tuple(f"method {index}" for index in range(OTHERS))
PENALIZED = ("sparse_multi_task, penalized", "sparse_lomt, penalized")


def colours(by_night):
    """CSS class → what it sets the colour to, variables in full."""
    day, night = re.findall(r":root \{(.*?)\}", SHEET, re.DOTALL)
    variables = dict(re.findall(r"(--[\w-]+): (#\w+)", night if by_night else day))
    found = dict(re.findall(r"\.(of-[\w.-]+) \{ --c: (.*?); \}", SHEET))
    return {name: re.sub(r"var\((.*?)\)", lambda match: variables[match[1]], value) for name, value in found.items()}


def rgb(colour):
    return [int(colour[start : start + 2], 16) for start in (1, 3, 5)]


@pytest.mark.parametrize("by_night", [False, True])
def test_every_method_has_a_colour_that_is_told_from_the_others(by_night):
    every = [*METHODS, *OTHER]
    found = [colours(by_night)[colour_class(method, every)] for method in every]
    for one, other in combinations(found, 2):
        assert sum(abs(a - b) for a, b in zip(rgb(one), rgb(other), strict=True)) > 60


@pytest.mark.parametrize("method", PENALIZED)
def test_a_network_on_its_way_has_another_shade_of_its_methods_colour(method):
    own, base = (colours(False)[colour_class(one, []).replace(" ", ".")] for one in (method, method.split(",")[0]))
    assert own != base
    assert base in own


def test_a_compacted_network_has_the_colour_of_its_method():
    assert colour_class("sparse_lomt, compacted", []).split()[0] == colour_class("sparse_lomt", [])


def test_a_picture_of_its_own_has_the_reports_colours():
    found = dict(re.findall(r"\.(of-other-\d) \{ --c: (#\w+); \}", STYLE))
    assert found == {name: value for name, value in colours(False).items() if "other" in name}


def test_no_method_and_no_task_is_missing_from_a_legend_however_many_there_are():
    many = [f"method {index}" for index in range(OTHERS + 3)]
    tasks = {f"task {index}": "layer4" for index in range(9)}
    run = Run("run", trainings=[Training(name, name, {"taps": tasks}, {}) for name in many])
    assert [name for _, name in method_legend(run)] == many
    assert [name for _, name in task_legend(run)] == list(tasks)
