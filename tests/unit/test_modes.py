"""Evaluation mode is undone for each module by itself."""

import pytest
from torch import nn

from lomt.modes import evaluating


def test_every_submodule_gets_its_own_mode_back():
    module = nn.Sequential(nn.BatchNorm2d(1), nn.Sequential(nn.Dropout(), nn.BatchNorm2d(1)))
    module[1][1].eval()
    before = [part.training for part in module.modules()]
    assert set(before) == {True, False}
    with evaluating(module) as same:
        assert same is module
        assert not any(part.training for part in module.modules())
    assert [part.training for part in module.modules()] == before
    with pytest.raises(RuntimeError), evaluating(module):
        raise RuntimeError
    assert [part.training for part in module.modules()] == before
