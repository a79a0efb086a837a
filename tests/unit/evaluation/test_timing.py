"""Interleaved timing: who is called when, on a clock that only the calls move."""

from itertools import pairwise
from types import SimpleNamespace

import pytest

from lomt.evaluation.timing import FEWEST, interleaved


class Clock:
    """Calls that take as long as they say."""

    def __init__(self):
        self.now, self.called = 0.0, []

    def perf_counter(self):
        return self.now

    def call(self, name, seconds):
        def run():
            self.called.append(name)
            self.now += seconds

        return run


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("lomt.evaluation.timing.time", SimpleNamespace(perf_counter=clock.perf_counter))
    return clock


def test_every_round_begins_with_another_one(clock):
    calls = {name: clock.call(name, seconds) for name, seconds in (("a", 1.0), ("b", 2.0), ("c", 3.0))}
    found = interleaved(calls, repeats=3, warmup=1)
    assert ["".join(clock.called[i : i + 3]) for i in range(0, 12, 3)] == ["abc", "bca", "cab", "abc"]
    assert found == {"a": pytest.approx([1.0] * 3), "b": pytest.approx([2.0] * 3), "c": pytest.approx([3.0] * 3)}


def test_slow_calls_sit_out_evenly_and_warm_up_once(clock):
    calls = {"fast": clock.call("fast", 0.01), "slow": clock.call("slow", 1.0), "slowest": clock.call("slowest", 99.0)}
    found = interleaved(calls, repeats=40, warmup=3, seconds=10.0)
    assert {name: len(times) for name, times in found.items()} == {"fast": 40, "slow": 10, "slowest": FEWEST}
    assert clock.called.count("slow") == 11
    assert clock.called.count("fast") == 43
    timed = [name for name in clock.called if name != "slowest"]
    places = [index for index, name in enumerate(timed) if name == "slow"][1:]
    assert max(b - a for a, b in pairwise(places)) <= 6


def test_few_repeats_stay_few(clock):
    assert len(interleaved({"slow": clock.call("slow", 9.0)}, repeats=3, warmup=1, seconds=1.0)["slow"]) == 3
