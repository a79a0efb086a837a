"""Linear probes on frozen features: against a closed form, and blind where there is nothing to see."""

import statistics

import numpy as np
import pytest
import torch

from lomt.diagnosis import features, places, probe
from lomt.models import Network

STEPS = 60


@pytest.fixture
def network(patches, chain, linear):
    source = patches(("near", "up"))
    return Network(chain(), source.tasks, {"near": "6", "up": "9"}, linear, torch.zeros(1, 3, 16, 16)).eval()


@pytest.fixture
def draw(patches, batch):
    """seed → batches of eight."""

    def of(names, steps=STEPS):
        whole = batch(patches(names, (1.0,) * len(names)), 96)

        def batches(seed):
            generator = torch.Generator().manual_seed(seed)
            for _ in range(steps):
                rows = torch.randperm(96, generator=generator)[:8]
                yield {key: value[rows] for key, value in whole.items()}

        return batches

    return of


def loader(patches, names):
    source = patches(names, (1.0,) * len(names))
    source.setup()
    return source.val_dataloader()


def test_features_are_those_of_the_plain_backbone(network, batch, patches):
    image = batch(patches(), 4)["image"]
    found = features(network, image, ["0", "3", "6", "9"])
    expected, value = {}, image
    with torch.no_grad():
        for name, module in network.backbone.named_children():
            value = module(value)
            expected[name] = value
    for name, maps in found.items():
        torch.testing.assert_close(maps, expected[name], rtol=0, atol=0)


def test_a_network_is_read_up_to_its_depth(network):
    assert places(network, ["0", "3", "6", "9", "11"]) == ["0", "3", "6", "9"]
    with pytest.raises(ValueError, match=r"'11' gives no map.*lomt\.taps"):
        features(network, torch.zeros(1, 3, 16, 16), ["11"])


def test_a_probe_nears_the_best_linear_map(network, draw, patches, batch):
    (curve,) = probe(network, [patches().tasks[0]], ["9"], draw(("up", "down")), loader(patches, ("up", "down")))
    fit, judge = batch(patches(), 96), next(iter(_whole(patches)))

    def design(images):
        maps = features(network, images, ["9"])["9"].mean((2, 3)).double().numpy()
        return np.hstack([maps, np.ones((len(maps), 1))])

    best = np.linalg.lstsq(design(fit["image"]), fit["up"].double().numpy(), rcond=None)[0]
    residual = design(judge["image"]) @ best - judge["up"].double().numpy()
    exact, blank = float((residual**2).mean()), statistics.fmean(curve.blank)
    assert exact - 1e-3 < statistics.fmean(curve.losses[0]) < exact + 0.1 * (blank - exact)


def _whole(patches):
    source = patches()
    source.setup()
    yield source.split("validation").__getitems__(range(48))


def test_the_blank_probe_is_the_best_constant(network, draw, patches):
    (curve,) = probe(network, [patches().tasks[0]], ["0"], draw(("up", "down")), loader(patches, ("up", "down")))
    whole = next(iter(_whole(patches)))["up"]
    best = float(((whole - whole.mean()) ** 2).mean())
    assert statistics.fmean(curve.blank) == pytest.approx(best, rel=0.1)


def test_noise_can_not_be_read_anywhere(network, draw, patches):
    source = patches(("noise",), (1.0,))
    (curve,) = probe(network, source.tasks, ["0", "9"], draw(("noise",)), loader(patches, ("noise",)))
    assert min(map(statistics.fmean, curve.losses)) > 0.9 * statistics.fmean(curve.blank)


def test_several_tasks_at_once_are_each_as_alone(network, draw, patches):
    names = ("near", "up")
    source = patches(names)
    together = probe(network, source.tasks, ["0", "9"], draw(names, 6), loader(patches, names), seeds=(0,))
    for task, curve in zip(source.tasks, together, strict=True):
        (alone,) = probe(network, [task], ["0", "9"], draw(names, 6), loader(patches, names), seeds=(0,))
        np.testing.assert_allclose(curve.losses, alone.losses, rtol=1e-5)


def test_the_network_and_the_random_numbers_stay(network, draw, patches):
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network.train()
    state = torch.get_rng_state()
    probe(network, [patches().tasks[0]], ["0"], draw(("up", "down"), 3), loader(patches, ("up", "down")), seeds=(0,))
    assert torch.equal(torch.get_rng_state(), state)
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_nothing_to_judge_by_is_said(network, draw, patches):
    task = patches().tasks[0]
    with pytest.raises(ValueError, match="no taps to probe"):
        probe(network, [task], [], draw(("up",), 2), [])
    unlabelled = [{"image": torch.zeros(2, 3, 16, 16)}]
    with pytest.raises(ValueError, match="no validation batch has a label of task 'up'"):
        probe(network, [task], ["0"], draw(("up",), 2), unlabelled, seeds=(0,))
