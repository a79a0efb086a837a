import copy
import sys

import pytest
import torch

from lomt.models import taps, truncate
from lomt.models.stopped import Stopped
from lomt.models.traced import Traced

# backbone, taps, how it has to be cut, what must be gone
CASES = {
    "in a block": ("resnetd18", ["layer2.0.conv2", "layer3.1.conv1"], Traced, ["layer3.1.bn1", "layer3.1.relu"]),
    "containers": ("resnetd18", ["stem", "layer1.0", "layer2"], Traced, ["layer3", "layer4"]),
    "shortcut": ("resnetd26", ["layer3.0.downsample.0"], Traced, ["layer3.0.conv1", "layer3.1", "layer4"]),
    "functional": ("functional", ["norm1", "block.b"], Traced, ["block.c", "fc", "late"]),
    "functional, early": ("functional", ["conv1"], Traced, ["norm1", "scale", "hint", "block", "fc", "late"]),
    "overwritten": ("chain", ["0", "1", "3.0", "3.1"], Traced, ["3.2", "4", "5"]),
    "shared": ("twice", ["conv1", "again"], Traced, ["tail"]),
    "by data": ("by data", ["stem.1", "blocks.1"], Stopped, ["blocks.2", "tail"]),
    "by data, early": ("by data", ["stem.1", "stem"], Stopped, ["dark", "bright", "shift", "blocks", "tail", "late"]),
    "by mode": ("by mode", ["conv1", "norm2"], Stopped, ["tail"]),
    "by mode, before": ("by mode", ["conv1"], Traced, ["noisy", "norm2", "tail"]),
    "by size": ("by size", ["conv2"], Stopped, ["tail"]),
    "made tensor": ("baked", ["conv2"], Stopped, ["tail"]),
    "chance": ("chance", ["conv2"], Stopped, ["tail"]),
    "shared, by data": ("twice by data", ["again"], Stopped, ["tail"]),
}


def reference(backbone, names, image, training):
    """Features of the plain backbone by plain hooks; gradients of their sum; buffers after."""
    plain = copy.deepcopy(backbone).train(training)
    features = {}
    for name in names:
        plain.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: features.update({name: output.clone()})
        )
    torch.manual_seed(3)
    plain(image)
    return features, plain


def run(cut, image, training):
    cut.train(training)
    torch.manual_seed(3)
    return cut(image)


@pytest.fixture(scope="module")
def cuts():
    return {}


@pytest.fixture(params=CASES)
def case(request, make, cuts):
    name, names, kind, gone = CASES[request.param]
    backbone = make(name)
    if request.param not in cuts:
        cuts[request.param] = truncate(backbone, names)
    return backbone, names, kind, gone, copy.deepcopy(cuts[request.param])


def test_a_cut_is_made_the_expected_way(case):
    *_, kind, _, cut = case
    assert type(cut) is kind


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_cut_gives_exactly_the_plain_features_buffers_and_gradients(case, image, training, sign):
    backbone, names, *_, cut = case
    wanted, plain = reference(backbone, names, sign * image, training)
    got = run(cut, sign * image, training)
    assert list(got) == names
    for name in names:
        assert torch.equal(got[name], wanted[name])
    for name, buffer in cut.named_buffers():
        assert torch.equal(buffer, plain.get_buffer(name)), name
    sum(feature.square().sum() for feature in wanted.values()).backward()
    sum(feature.square().sum() for feature in got.values()).backward()
    for name, parameter in cut.named_parameters():
        other = plain.get_parameter(name).grad
        assert (parameter.grad is None) == (other is None), name
        if other is not None:  # several taps' gradients may be added in another order
            torch.testing.assert_close(parameter.grad, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


def test_what_lies_beyond_is_gone_and_the_rest_keeps_its_names(case):
    backbone, _, _, gone, cut = case
    names = [*cut.state_dict(), *(name for name, _ in cut.named_modules())]
    names += [name for name, _ in cut.named_buffers()]
    for part in gone:
        assert any(name == part or name.startswith(f"{part}.") for name, _ in everything(backbone))
        assert not any(name == part or name.startswith(f"{part}.") for name in names), part
    original = backbone.state_dict()
    assert list(cut.state_dict()) == [name for name in original if name in cut.state_dict()]
    for name, value in cut.state_dict().items():
        assert torch.equal(value, original[name])


def everything(module):
    yield from module.named_modules()
    yield from module.named_parameters()
    yield from module.named_buffers()


def test_no_parameter_is_left_that_the_features_do_not_need(case, image):
    *_, cut = case
    needed = set()
    for sign in (1, -1):
        cut.zero_grad()
        for seed in range(4):
            torch.manual_seed(seed)
            sum(feature.sum() for feature in cut.train()(sign * image).values()).backward()
        needed |= {name for name, parameter in cut.named_parameters() if parameter.grad is not None}
    assert needed == {name for name, _ in cut.named_parameters()}


def test_a_subset_of_taps_gives_the_same_and_runs_less(case, image):
    backbone, names, *_, cut = case
    ran = []
    for module in cut.modules():
        if next(module.children(), None) is None:
            module.register_forward_hook(lambda *_: ran.append(1))
    run(cut, image, training=False)
    total = len(ran)
    for name in names:
        ran.clear()
        cut.eval()
        torch.manual_seed(3)
        got = cut(image, [name])
        wanted, _ = reference(backbone, names, image, training=False)
        assert list(got) == [name]
        assert torch.equal(got[name], wanted[name])
        assert len(ran) < total or name == names[-1]


def test_cutting_leaves_backbone_and_random_numbers_alone(make, image):
    backbone = make("by data").train()
    backbone.stem[1].eval()
    before = copy.deepcopy(backbone)
    state = torch.get_rng_state()
    truncate(backbone, ["blocks.1"], image)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in backbone.modules()] == [module.training for module in before.modules()]
    assert backbone.state_dict().keys() == before.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(backbone.buffers(), before.buffers(), strict=True))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in backbone.modules())


def test_a_backbone_that_counts_its_parts_keeps_them_with_a_warning(make, image):
    backbone = make("counting")
    with pytest.warns(UserWarning, match="needs parts beyond its deepest tap"):
        cut = truncate(copy.deepcopy(backbone), ["blocks.1"])
    assert set(cut.state_dict()) == set(backbone.state_dict())
    wanted, _ = reference(backbone, ["blocks.1"], image, training=False)
    ran = []
    cut.get_submodule("blocks.2").register_forward_hook(lambda *_: ran.append(1))
    assert torch.equal(run(cut, image, training=False)["blocks.1"], wanted["blocks.1"])
    assert not ran


class Rare(torch.nn.Module):
    """Has a part for blinding light."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.shade = torch.nn.Conv2d(4, 4, 1)
        self.factor = torch.nn.Parameter(torch.full((1,), 0.5))
        self.tail = torch.nn.ReLU()

    def forward(self, x):
        return self.tail(
            self.shade(self.conv(x)) if x.max() > 1e3 else self.conv(x * self.factor if x.max() > 1e2 else x)
        )


@pytest.mark.parametrize(("light", "part"), [(1e4, "shade"), (5e2, "factor")])
def test_a_way_never_seen_is_one_clear_error(light, part):
    blinding = torch.full((1, 3, 64, 64), light)
    taps_ = ["conv", "tail"]
    cut = copy.deepcopy(truncate(Rare(), taps_))
    with pytest.raises(RuntimeError, match=rf"took a way that no dry run had taken: it needs '{part}'.*example"):
        cut(blinding)
    shown = truncate(Rare(), taps_, blinding)
    assert any(name.startswith(part) for name in shown.state_dict())
    shown(blinding)


def test_a_backbone_that_never_repeats_itself_is_refused():
    class Moody(torch.nn.Conv2d):
        times = 0

        def forward(self, x):
            type(self).times += 1
            return super().forward(x) + self.times

    with pytest.raises(ValueError, match="cut at 0 gives other features when it runs again"):
        truncate(torch.nn.Sequential(Moody(3, 4, 3), torch.nn.ReLU()), ["0"])


def test_every_listed_tap_of_a_resnet_can_be_cut(make, image):
    backbone = make("resnetd18")
    names = [tap.name for tap in taps(backbone, image)]
    wanted, _ = reference(backbone, names, image, training=False)
    cut = truncate(copy.deepcopy(backbone), names).eval()
    for name, feature in cut(image).items():
        assert torch.equal(feature, wanted[name]), name


@pytest.mark.parametrize(("name", "tap", "warned"), [("by data", "stem.1", True), ("by mode", "conv2", False)])
def test_a_backbone_that_no_graph_stands_for_is_said_when_it_is_cut(make, caplog, name, tap, warned):
    sys.modules["lomt.models.truncate"]._say.cache_clear()
    for _ in range(2):
        truncate(make(name), [tap])
    said = [record.message for record in caplog.records]
    assert len(said) == warned
    assert not warned or "not be compacted or exported: can't trace" in said[0]


class Positions(torch.nn.Module):
    """As in a transformer: runs for one size, since it has a value for each place."""

    def __init__(self):
        super().__init__()
        self.patches = torch.nn.Conv2d(3, 8, 8, stride=8, bias=False)
        self.norm = torch.nn.BatchNorm2d(8)
        self.positions = torch.nn.Parameter(torch.randn(1, 8, 8, 12))
        self.tail = torch.nn.Conv2d(8, 8, 1)

    def forward(self, x):
        return self.tail(self.norm(self.patches(x) + self.positions))


@pytest.mark.parametrize("training", [False, True])
def test_a_backbone_for_one_size_is_checked_at_that_size(image, training):
    backbone = Positions()
    cut = truncate(backbone, ["norm"], image)
    wanted, plain = reference(backbone, ["norm"], image, training)
    assert type(cut) is Traced
    assert torch.equal(run(cut, image, training)["norm"], wanted["norm"])
    assert torch.equal(cut.get_buffer("norm.running_mean"), plain.get_buffer("norm.running_mean"))
    assert not hasattr(cut, "tail")
