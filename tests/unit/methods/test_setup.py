"""What a setup refuses before anything is trained."""

from pathlib import Path

import pytest

from lomt.methods import Setup
from lomt.models import backbone, decoder
from lomt.tasks import Depth
from lomt.training import Recipe


def setup(source, tasks, accelerator="cpu"):
    return Setup(source, tasks, lambda: backbone("resnetd18", 4, 16), decoder("light"), Recipe(), Path(), accelerator)


def test_tasks_are_some_of_the_data_each_once(shapes_once):
    seg, depth, *_ = shapes_once.tasks
    assert setup(shapes_once, [depth, seg]).task_names == ["depth", "seg"]
    with pytest.raises(ValueError, match="unknown task 'far' – the data has seg, depth, edges, many"):
        setup(shapes_once, [seg, Depth("far")])
    with pytest.raises(ValueError, match="task 'seg' is there 2 times"):
        setup(shapes_once, [seg, depth, seg])
    with pytest.raises(ValueError, match="no tasks to learn: name some of the data's, seg, depth"):
        setup(shapes_once, [])


def test_an_accelerator_that_is_none_is_named(shapes_once):
    with pytest.raises(ValueError, match="unknown device 'tpu': use auto, cpu"):
        setup(shapes_once, shapes_once.tasks, "tpu")
