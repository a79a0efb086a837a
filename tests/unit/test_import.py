"""``import lomt`` costs next to nothing, and yet everything is there."""

import subprocess
import sys

import pytest

import lomt


def test_importing_loads_no_heavy_library():
    code = (
        "import sys, lomt; dir(lomt);"
        "print([name for name in ('torch', 'lightning', 'torchmetrics', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", lomt.__all__)
def test_every_name_is_there(name):
    assert getattr(lomt, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'sew'"):
        lomt.sew  # noqa: B018
