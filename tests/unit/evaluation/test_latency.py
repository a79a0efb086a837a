import pytest
import torch
from torch import nn

from lomt.evaluation import latency


class Recorder(nn.Module):
    """Writes down each call."""

    def __init__(self, name, calls):
        super().__init__()
        self.name, self.calls = name, calls

    def forward(self, x):
        self.calls.append((self.name, tuple(x.shape), self.training, torch.is_inference_mode_enabled()))
        return x


def test_networks_take_turns_at_batch_one():
    calls = []
    networks = {name: Recorder(name, calls) for name in "abc"}
    found = latency(networks, torch.zeros(4, 3, 5, 6), repeats=4, warmup=1)
    assert {call[1:] for call in calls} == {((1, 3, 5, 6), False, True)}
    rounds = ["".join(call[0] for call in calls[i : i + 3]) for i in range(0, len(calls), 3)]
    assert rounds == ["abc", "bca", "cab", "abc", "bca"]
    assert all(network.training for network in networks.values())
    for time in found.values():
        assert 0 < time.low <= time.median <= time.high
        assert (time.repeats, time.threads, time.device) == (4, 1, "cpu")


def test_threads_are_as_before():
    before = torch.get_num_threads()
    seen = []

    class Counter(nn.Module):
        def forward(self, x):
            seen.append(torch.get_num_threads())
            return x

    latency({"one": Counter()}, torch.zeros(1), repeats=2, warmup=0, threads=2)
    assert set(seen) == {2}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("arguments", [{"repeats": 1}, {"warmup": -1}, {"threads": 0}])
def test_nonsense_is_refused(arguments):
    with pytest.raises(ValueError, match=str(next(iter(arguments.values())))):
        latency({"one": nn.Identity()}, torch.zeros(1), **arguments)
    with pytest.raises(ValueError, match="no networks"):
        latency({}, torch.zeros(1))
