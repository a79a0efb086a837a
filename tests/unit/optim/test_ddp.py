"""Two processes under DDP end with the same weights, and with those of one process on both batches."""

import socket
from pathlib import Path

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from lomt.optim import ProxAdamW, parameter_groups
from lomt.sparsity import GroupLasso

STEPS = 12


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(64, 3))


def batch(step):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(8, 3, 8, 8, generator=generator), torch.randn(8, 3, generator=generator)


def train(net, optimizer, halves):
    for step in range(STEPS):
        x, y = batch(step)
        optimizer.zero_grad()
        nn.functional.mse_loss(net(x[halves]), y[halves]).backward()
        optimizer.step()


def one_of_two(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    net = network()
    optimizer = ProxAdamW(parameter_groups(net, GroupLasso(0.01)), lr=0.02)
    train(DistributedDataParallel(net), optimizer, slice(4 * rank, 4 * rank + 4))
    torch.save(net.state_dict(), Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


def test_both_ranks_end_as_one_process_on_both_batches(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.start_processes(one_of_two, (port, str(tmp_path)), nprocs=2, start_method="fork")
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    single = network()
    train(single, ProxAdamW(parameter_groups(single, GroupLasso(0.01)), lr=0.02), slice(None))
    for name, weight in single.state_dict().items():
        assert torch.equal(first[name], second[name])
        assert torch.equal(first[name] == 0, weight == 0)
        torch.testing.assert_close(first[name], weight, rtol=1e-3, atol=1e-4)
    assert (single[2].weight == 0).all(0).flatten(1).all(1).any()
