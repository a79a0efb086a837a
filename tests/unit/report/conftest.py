"""Run folders for the report's tests."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="session")
def example():
    """The functions that write run folders."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("example_run.py"))))


@pytest.fixture(scope="session")
def run_folder(example, tmp_path_factory):
    """A run that has ended; not to be changed."""
    return example.write_run(tmp_path_factory.mktemp("runs") / "demo")
