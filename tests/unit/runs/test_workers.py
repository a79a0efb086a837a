"""Methods at the same time in several processes: the figures of one after the other."""

import json
import os
import time

import pytest

from lomt.methods import Study
from lomt.runs.workers import ahead, possible
from lomt.sparsity import GroupLasso
from tests.unit.runs.test_run import run


def write(place, number, seconds=0.0):
    """A method that leaves a file with the number of its process."""
    time.sleep(seconds)
    (place / str(number)).write_text(str(os.getpid()))
    yield


def finish(method, note):
    list(method)
    note(2.0)


def test_each_runs_in_a_process_of_its_own(tmp_path):
    heard = []
    methods = [write(tmp_path, number) for number in range(5)]
    assert ahead(methods, 2, finish, heard.append) is None
    processes = {int(file.read_text()) for file in tmp_path.iterdir()}
    assert len(processes) == 5
    assert os.getpid() not in processes
    assert heard[-1] == 10
    assert len(list(methods[0])) == 1, "here, nobody has asked it for anything"


def test_where_one_fails_the_others_are_stopped(tmp_path):
    def fail():
        raise ValueError
        yield

    begin = time.monotonic()
    methods = [write(tmp_path, 0, 60), fail(), write(tmp_path, 2)]
    assert ahead(methods, 2, finish, lambda _: None) == 1
    assert time.monotonic() - begin < 30
    assert not list(tmp_path.iterdir())


def test_two_workers_give_the_figures_of_one(shapes, tmp_path, monkeypatch):
    monkeypatch.setattr("os.fork", counted := Counted(os.fork))
    for workers in (1, 2):
        study = Study(methods=("single_task", "multi_task", "lomt"), trials=2, penalty=GroupLasso(1e-2), export=False)
        run(shapes, tmp_path / str(workers), workers=workers, threads=1, study=study)
        assert (counted.calls > 0) == (workers > 1)
    one, two = (figures(tmp_path / str(workers)) for workers in (1, 2))
    assert one == two
    assert len(one) > 10


def test_an_error_of_a_worker_is_told_as_if_there_were_none(shapes, tmp_path, monkeypatch):
    def lost(*_, **__):
        raise ValueError("no depth today")

    monkeypatch.setattr(shapes.tasks[1], "loss", lost)
    with pytest.raises(ValueError, match="no depth today"):
        run(shapes, tmp_path / "run", workers=2)


@pytest.mark.parametrize(
    ("workers", "device", "threads", "said"),
    [
        (2, "gpu", 1, "several processes can't share a gpu"),
        (3, "cpu", 2, "several processes have one thread each, and threads is 2"),
    ],
)
def test_where_several_can_not_work_one_does(workers, device, threads, said, caplog):
    assert possible(workers, device, threads) == 1
    assert said in caplog.text
    assert possible(1, device, threads) == 1
    assert possible(workers, "cpu", 1) == workers


class Counted:
    def __init__(self, function):
        self.function, self.calls = function, 0

    def __call__(self):
        self.calls += 1
        return self.function()


def figures(out):
    """All that a run has found, but for what a clock says."""
    found = {}
    for file in sorted(out.rglob("result.json")):
        found[str(file.relative_to(out))] = timeless(json.loads(file.read_text()))
    return found


def timeless(value):
    volatile = ("seconds", "processor", "latency", "environment", "table", "sha256")
    if isinstance(value, dict):
        return {key: timeless(one) for key, one in value.items() if key not in volatile}
    return [timeless(one) for one in value] if isinstance(value, list) else value
