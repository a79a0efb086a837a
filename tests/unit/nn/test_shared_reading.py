"""Decoders at a shared tap read it in one call, and nobody can tell but by the time that it takes."""

import contextlib
import copy
import gc
import pickle
import weakref

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import lomt
from lomt.models import Network
from lomt.models import network as networks
from lomt.models.deeplab import DeepLab
from lomt.models.light import Light
from lomt.nn import convert, freeze, shared_reading
from lomt.tasks import Depth, Edges, Normals, Segmentation

TASKS = [Segmentation("seg", 4), Depth("depth"), Normals("normals"), Edges("edges")]
DEEP, SHALLOW = "4", "1"
"""Names of taps."""


def deeplab(channels, task):
    return DeepLab(channels, task, width=6, rates=(8, 60), dropout=0.0)


def network(taps=DEEP, decoders=deeplab, dtype=torch.float64):
    """Half of the inputs of each convolution are dead, others for each."""
    torch.manual_seed(0)
    backbone = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU()),
        *(nn.Conv2d(8, 12, 3, 2, 1), nn.BatchNorm2d(12), nn.ReLU()),
    )
    taps = taps if isinstance(taps, dict) else {task.name: taps for task in TASKS}
    net = Network(backbone, TASKS, taps, decoders, torch.zeros(1, 3, 32, 40)).to(dtype).train()
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d) and layer.in_channels > 3:
                layer.weight[:, torch.randperm(layer.in_channels)[::2]] = 0
    return net


def images(dtype=torch.float64):
    return torch.randn(2, 3, 32, 40, generator=torch.Generator().manual_seed(1), dtype=dtype)


@pytest.fixture
def calls(monkeypatch):
    """How many layers read in each call of several."""
    found, kernel = [], shared_reading.masked_conv2d_readers

    def heard(x, weights, *arguments, **how):
        found.append(len(weights))
        return kernel(x, weights, *arguments, **how)

    monkeypatch.setattr(shared_reading, "masked_conv2d_readers", heard)
    return found


@contextlib.contextmanager
def apart():
    """Each layer reads by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "reading_together", lambda _: contextlib.nullcontext())
        yield


def everything(net, x, tasks=None):
    """Outputs, and gradients of the images and of all parameters."""
    net.zero_grad()
    x = x.clone().requires_grad_()
    outputs = net(x, tasks)
    sum(y.square().mean() for y in outputs.values()).backward()
    return list(outputs.values()), [x.grad, *(p.grad for p in net.parameters())]


def assert_same(found, expected, **how):
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, **how)


def assert_unchanged(net, x, tasks=None):
    """Together it computes what it computes apart, here in float64."""
    with apart():
        expected = everything(copy.deepcopy(net), x, tasks)
    found = everything(net, x, tasks)
    assert_same(found[0], expected[0], rtol=0, atol=0)
    assert_same(found[1], expected[1], rtol=1e-10, atol=1e-12)


def modes():
    return {
        "frozen": lambda net: freeze(convert(net)),
        "revived": convert,
        "revived at times": lambda net: convert(net, revive_every=3),
        "never revived": lambda net: convert(net, revive_every=None),
        "unread outputs skipped": lambda net: freeze(convert(net, images(), skip_outputs=True)),
    }


@pytest.mark.parametrize("mode", modes())
@pytest.mark.parametrize("decoder", [deeplab, Light])
def test_outputs_and_gradients_are_those_of_separate_calls(calls, mode, decoder):
    net = modes()[mode](network(decoders=decoder))
    plain = lomt.nn.plain(copy.deepcopy(net))
    assert_unchanged(net, images())
    assert calls == ([4, 4, 4] if decoder is deeplab else [4])
    assert_same(net(images()).values(), plain(images()).values(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_in_float32_outputs_and_gradients_of_weights_are_the_same_bits(calls, layout):
    decoder = freeze(convert(network(dtype=torch.float32))).decoders.to(memory_format=layout)
    x = torch.randn(2, 12, 9, 10).contiguous(memory_format=layout)
    readers = [reader for each in decoder.values() for reader in each.readers()]
    sides = []
    for context in (shared_reading.reading_together([readers]), contextlib.nullcontext()):
        with context:
            outputs = [reader(x) for reader in readers]
        grads = torch.autograd.grad(sum(y.square().sum() for y in outputs), [reader.weight for reader in readers])
        sides.append([*outputs, *grads])
    assert calls == [4, 4, 4]
    assert all(torch.equal(a, b) for a, b in zip(*sides, strict=True))


def test_only_what_is_asked_for_is_computed(calls):
    net = freeze(convert(network())).eval()
    with torch.no_grad():
        net(images(), ["depth"])
        assert calls == []
        net(images(), ["depth", "edges"])
    assert calls == [2, 2, 2]
    net.decoders["depth"](torch.zeros(1, 12, 8, 8, dtype=torch.float64))
    assert len(calls) == 3, "a decoder by itself is by itself"
    assert_unchanged(net.train(), images(), ["depth", "edges"])


def test_only_readers_of_the_same_map_with_the_same_window_read_together(calls):
    net = freeze(convert(network({"seg": DEEP, "depth": SHALLOW, "normals": DEEP, "edges": SHALLOW})))
    assert_unchanged(net, images())
    assert calls == [2] * 6
    calls.clear()
    several = freeze(
        convert(network({"seg": [SHALLOW, DEEP], "depth": DEEP, "normals": [SHALLOW, DEEP], "edges": DEEP}))
    )
    assert_unchanged(several, images())
    assert calls == [2] * 6
    calls.clear()
    mixed = freeze(convert(network(decoders={"seg": deeplab, "depth": Light, "normals": "light", "edges": deeplab})))
    mixed.decoders["edges"].branches[0][0].stride = 2
    mixed.decoders["edges"].branches[0].append(nn.Upsample(scale_factor=2))
    assert_unchanged(mixed, images())
    assert calls == [3, 2, 2], "the light ones' 1x1, of more outputs, and one of deeplab's: the other has a stride"


def test_layers_in_which_nothing_is_dead_or_that_are_plain_stay_alone(calls, monkeypatch):
    net = convert(network())
    with torch.no_grad():
        for branch in net.decoders["normals"].branches:
            branch[0].weight.fill_(0.1)
    lomt.nn.plain(net.decoders["edges"])
    monkeypatch.setattr("lomt.nn.masked_conv2d.left_to_torch", lambda *_: False)
    assert_unchanged(net, images())
    assert calls == [2, 2, 2]
    calls.clear()
    lomt.nn.plain(net)
    net(images())
    assert calls == []


def test_a_task_out_of_the_loss_gets_no_gradient(calls):
    net = freeze(convert(network()))
    net(images())["depth"].mean().backward(retain_graph=True)
    assert calls == [4, 4, 4]
    assert all(p.grad is None for name in ("seg", "normals", "edges") for p in net.decoders[name].parameters())
    assert all(p.grad is not None for p in net.decoders["depth"].parameters())


def test_each_tasks_gradient_by_itself_from_one_forward():
    net = freeze(convert(network()))
    shared = list(net.backbone.parameters())

    def by_task(outputs):
        return [g for y in outputs.values() for g in torch.autograd.grad(y.square().mean(), shared, retain_graph=True)]

    found = by_task(net(images()))
    with apart():
        assert_same(found, by_task(net(images())), rtol=1e-10, atol=1e-12)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_decoders_are_recomputed_as_they_were_computed(calls, monkeypatch, reentrant):
    class Checkpointed(DeepLab):
        def forward(self, features):
            return checkpoint(super().forward, features, use_reentrant=reentrant)

    def some(channels, task):
        return (Checkpointed if task.name in ("depth", "edges") else DeepLab)(channels, task, width=6, dropout=0.0)

    net = freeze(convert(network(decoders=some)))
    assert_unchanged(net, images())
    assert calls
    calls.clear()
    monkeypatch.setattr(Checkpointed, "readers", lambda _: [])
    assert_unchanged(net, images())
    assert calls == [2] * 4


def test_a_checkpointed_network_is_recomputed_as_it_was_computed():
    net = freeze(convert(network()))
    expected = everything(net, images())[1]
    net.zero_grad()
    x = images().requires_grad_()
    sum(y.square().mean() for y in checkpoint(net, x, use_reentrant=False).values()).backward()
    assert_same([x.grad, *(p.grad for p in net.parameters())], expected)


def test_a_map_that_a_decoder_changes_is_read_as_it_is_then(calls):
    class InPlace(DeepLab):
        def forward(self, features):
            return super().forward(features.mul_(2))

    net = freeze(
        convert(network(decoders=lambda c, task: InPlace(c, task, width=6, rates=(8, 60), dropout=0.0)))
    ).eval()
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            found = net(images())
            with apart():
                expected = net(images())
        assert_same(found.values(), expected.values(), rtol=0, atol=0)
    assert calls[:3] == [4, 4, 4]


def test_what_a_hook_changes_between_two_decoders_is_heeded(calls):
    def halve(layer, _):
        with torch.no_grad():
            layer.weight.mul_(0.5)

    def widen(decoder, _):
        decoder.branches[1][0].rate = 24 - decoder.branches[1][0].rate

    net = convert(network())
    net.decoders["depth"].branches[0][0].register_forward_pre_hook(halve)
    net.decoders["edges"].register_forward_pre_hook(widen)
    assert_unchanged(net, images())
    assert calls == [3, 4, 4]


def test_weights_that_a_decoders_hook_changes_are_read_as_they_are_then():
    net = convert(network()).eval()
    net.decoders["depth"].register_forward_pre_hook(lambda decoder, _: decoder.branches[0][0].weight.mul_(0.5))
    with torch.no_grad():
        other = copy.deepcopy(net)
        found = net(images())
        with apart():
            assert_same(found.values(), other(images()).values(), rtol=0, atol=0)


def test_hooks_on_layers_see_what_they_saw():
    net, seen = freeze(convert(network())), []
    for name in ("seg", "edges"):
        layer = net.decoders[name].branches[1][0]
        layer.register_forward_hook(lambda _, args, output: seen.append((args[0], output)))
    net.decoders["edges"].branches[1].register_forward_pre_hook(lambda _, args: (args[0] + 1,))
    assert_unchanged(net, images())
    assert len(seen) == 4
    for together, separate in zip(seen[2:], seen[:2], strict=True):
        assert_same(together, separate)


def test_hooks_on_weights_never_see_none(calls):
    net, seen = freeze(convert(network())), []
    for decoder in net.decoders.values():
        decoder.branches[0][0].weight.register_hook(seen.append)
    net(images())["depth"].mean().backward()
    assert len(seen) == 1
    assert seen[0].any()
    assert calls == [4, 4]


def test_a_decoder_without_gradients_takes_none_from_the_others():
    class Frozen(DeepLab):
        @torch.no_grad()
        def forward(self, features):
            return super().forward(features)

    def some(channels, task):
        return (Frozen if task.name in ("seg", "normals") else DeepLab)(
            channels, task, width=6, rates=(8,), dropout=0.0
        )

    assert_unchanged(freeze(convert(network(decoders=some))), images())


def test_only_layers_that_revive_at_the_same_steps_read_together(calls):
    net = convert(network())
    for layer in (*net.decoders["seg"].readers(), *net.decoders["edges"].readers()):
        layer.revive_every = None
    assert_unchanged(net, images())
    assert calls == [2] * 6


def test_under_autocast(calls):
    class Own(DeepLab):
        def forward(self, features):
            with torch.autocast("cpu", torch.float16):
                return super().forward(features)

    def some(channels, task):
        return (Own if task.name == "edges" else DeepLab)(channels, task, width=6, rates=(8, 60), dropout=0.0)

    net = freeze(convert(network(decoders=some, dtype=torch.float32)))
    x = images(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = net(x)
        with apart():
            expected = net(x)
    assert_same(found.values(), expected.values(), rtol=0, atol=0)
    assert len(calls) == 3


def test_nothing_outlives_a_forward():
    net = freeze(convert(network()))
    layer = net.decoders["edges"].branches[0][0]
    outputs = []
    layer.register_forward_hook(lambda *given: outputs.append(weakref.ref(given[-1])))
    net(images())
    gc.collect()
    assert outputs[0]() is None

    def fail(*_):
        raise RuntimeError("broken")

    handle = net.decoders["normals"].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="broken"):
        net(images())
    handle.remove()
    assert not any("_shared" in vars(each) for each in net.modules())
    assert_unchanged(net, images())


def replicated(net, weights):
    """A network as ``DataParallel`` makes one for a device: of modules whose weights are plain tensors."""
    made = {module: module._replicate_for_data_parallel() for module in net.modules()}
    for name, module in net.named_modules():
        made[module]._modules = {key: made[child] for key, child in module._modules.items()}
        for key, parameter in module._parameters.items():
            value = None if parameter is None else weights[f"{name}.{key}"]
            (made[module]._parameters.__setitem__ if value is None else made[module].__setattr__)(key, value)
    return made[net]


def test_copies_read_with_their_own_weights(calls):
    net = freeze(convert(network()))
    for one in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        calls.clear()
        with torch.no_grad():
            for parameter in one.decoders.parameters():
                parameter.mul_(2)
        assert_unchanged(one, images())
        assert calls == [4, 4, 4]
    weights = {name: 2 * value.detach() for name, value in net.eval().named_parameters()}
    calls.clear()
    found = torch.func.functional_call(net, weights, (images(),))
    of_replica = replicated(net, weights)(images())
    with apart():
        expected = torch.func.functional_call(net, weights, (images(),))
    assert_same(found.values(), expected.values(), rtol=0, atol=0)
    assert_same(of_replica.values(), expected.values(), rtol=0, atol=0)
    assert calls == [], "computed weights stay alone"


def test_a_decoder_of_two_tasks_is_called_twice(calls):
    both = deeplab(12, Depth("a"))
    tasks = [Depth("a"), Depth("b"), Depth("c")]
    backbone = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1), nn.ReLU())
    net = Network(backbone, tasks, {t.name: "1" for t in tasks}, {"a": both, "b": both, "c": deeplab}).double().train()
    with torch.no_grad():
        for parameter in net.decoders.parameters():
            if parameter.ndim == 4:
                parameter[:, ::2] = 0
    assert_unchanged(freeze(convert(net)), images())
    assert calls == [2, 2, 2]


def test_what_is_counted_is_the_same():
    net = freeze(convert(network())).eval()
    counts = []
    for context in (contextlib.nullcontext(), apart()):
        with context, torch.no_grad(), FlopCounterMode(display=False) as counter:
            net(images())
        counts.append({name: sum(each.values()) for name, each in counter.get_flop_counts().items()})
    assert counts[0] == counts[1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
def test_tracers_see_convolutions(calls):
    net = freeze(convert(network(decoders=Light))).eval()
    x = images()
    expected = [y.detach() for y in net(x).values()]
    calls.clear()
    program = torch.export.export(net, (x,))
    assert not any("masked_conv2d" in str(node.target) for node in program.graph.nodes)
    assert_same(program.module()(x).values(), expected)
    assert_same(torch.jit.trace(net, x, strict=False, check_trace=False)(x).values(), expected)
    assert_same(torch.compile(net, backend="eager", fullgraph=True)(x).values(), expected)
    assert calls == []


def test_compacted_networks_read_together(calls):
    net = network()
    small = lomt.compact(net, images(), gather=False, for_training=True)
    freeze(convert(small))
    x = images()
    torch.testing.assert_close(small(x), net(x))
    assert calls == [4, 4, 4]
    small(x, tasks=["seg", "depth"])
    assert calls[3:] == [2, 2, 2]
    with torch.no_grad():
        torch.testing.assert_close(pickle.loads(pickle.dumps(small))(x), net(x))
