import copy
import functools
import io
import pickle

import pytest
import torch
from torch import distributed, nn
from torch.nn.utils import prune
from torch.utils.flop_counter import FlopCounterMode

from lomt.models import DECODERS, DeepLab, Head, Light, Network, decoder
from lomt.models.truncate import truncate
from lomt.tasks import Classification, Depth, Edges, Segmentation

SEG, DEPTH, EDGES, ROOM = Segmentation("seg", 5), Depth("depth"), Edges("edges"), Classification("room", 4)
TASKS = [SEG, DEPTH, EDGES, ROOM]
TAPS = {
    "seg": "layer3.1.conv1",
    "depth": "layer2.0.conv2",
    "edges": ["layer1", "layer2.0.conv2"],
    "room": "layer3.1.conv1",
}


@pytest.fixture(scope="module")
def built(make):
    torch.manual_seed(0)
    deeplab = functools.partial(DeepLab, width=16)
    return Network(make("resnetd18"), TASKS, TAPS, decoders={"seg": deeplab, "depth": "light", "edges": Light}).eval()


@pytest.fixture
def net(built):
    return copy.deepcopy(built)


def flops(run):
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def test_outputs_have_the_image_s_resolution_and_the_tasks_channels(net, image):
    shapes = {name: tuple(output.shape) for name, output in net(image).items()}
    assert shapes == {"seg": (2, 5, 64, 96), "depth": (2, 1, 64, 96), "edges": (2, 1, 64, 96), "room": (2, 4)}
    assert net(torch.zeros(1, 3, 51, 75))["seg"].shape == (1, 5, 51, 75)


def test_the_given_backbone_is_copied_and_stays(make, image):
    given = make("resnetd18").train()
    before = copy.deepcopy(given.state_dict())
    made = Network(given, [DEPTH], {"depth": "layer1"})
    assert made.training
    made(image)["depth"].sum().backward()
    assert {id(p) for p in made.parameters()}.isdisjoint({id(p) for p in given.parameters()})
    assert all(torch.equal(value, before[name]) for name, value in given.state_dict().items())
    assert all(parameter.grad is None for parameter in given.parameters())
    for name, value in made.backbone.named_parameters():
        assert torch.equal(value, before[name])


def test_names_and_attributes(net):
    assert net.taps == {
        "seg": ("layer3.1.conv1",),
        "depth": ("layer2.0.conv2",),
        "edges": ("layer1", "layer2.0.conv2"),
        "room": ("layer3.1.conv1",),
    }
    assert [task.name for task in net.tasks] == [task.name for task in TASKS]
    kinds = {name: type(made) for name, made in net.decoders.items()}
    assert kinds == {"seg": DeepLab, "depth": Light, "edges": Light, "room": Head}
    assert net.decoders["edges"].in_channels == 8 + 16
    names = set(net.state_dict())
    assert "backbone.layer3.1.conv1.weight" in names
    assert not any(
        name.startswith(("backbone.layer3.1.bn1", "backbone.layer3.1.conv2", "backbone.layer4")) for name in names
    )


def test_features_of_several_taps_are_brought_to_the_finest(net, image):
    features = net.backbone(image)
    coarse = nn.functional.interpolate(features["layer2.0.conv2"], size=(16, 24), mode="bilinear", align_corners=False)
    wanted = net.decoders["edges"](torch.cat([features["layer1"], coarse], 1))
    wanted = nn.functional.interpolate(wanted, size=(64, 96), mode="bilinear", align_corners=False)
    torch.testing.assert_close(net(image)["edges"], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("asked", [["depth"], ["edges", "depth"], ["room"], "seg", []])
def test_some_tasks_give_the_same_and_run_no_deeper(net, image, asked):
    everything = net(image)
    ran = set()
    for name, module in net.named_modules():
        module.register_forward_hook(lambda *_, name=name: ran.add(name))
    some = net(image, tasks=asked)
    asked = [asked] if isinstance(asked, str) else asked
    assert set(some) == set(asked)
    assert all(torch.equal(some[name], everything[name]) for name in asked)
    decoders = {name.split(".")[1] for name in ran if name.startswith("decoders.")}
    assert decoders == set(asked)
    if set(asked) <= {"depth", "edges"}:
        assert not any(
            name.startswith(("backbone.layer3", "backbone.layer2.1", "backbone.layer2.0.bn2")) for name in ran
        )


def test_cost_is_that_of_the_cut_backbone_and_the_decoders_counted(make, net, image):
    plain = make("resnetd18").eval()
    # The plain backbone's convolutions up to the deepest tap, counted one by one.
    beyond = ("layer3.1.conv2", "layer4")
    costs = {}
    for name, module in plain.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda m, _i, o, name=name: costs.update(
                    {name: 2 * m.weight.numel() * o.shape[0] * o.shape[2] * o.shape[3]}
                )
            )
    plain(image)
    backbone = sum(cost for name, cost in costs.items() if not name.startswith(beyond))
    features = net.backbone(image)
    sizes = {"seg": features["layer3.1.conv1"], "room": features["layer3.1.conv1"], "depth": features["layer2.0.conv2"]}
    sizes["edges"] = torch.cat([features["layer1"], features["layer1"], features["layer1"]], 1)
    decoders = {name: flops(lambda name=name: net.decoders[name](sizes[name])) for name in sizes}
    assert flops(lambda: net(image)) == backbone + sum(decoders.values())
    upto = ("stem", "layer1", "layer2.0.conv")
    shallow = sum(cost for name, cost in costs.items() if name.startswith(upto))
    assert flops(lambda: net(image, tasks=["depth"])) == shallow + decoders["depth"]


def test_a_stopped_backbone_costs_no_more_than_needed(make, image):
    plain = make("by data")
    made = Network(plain, [DEPTH, EDGES], {"depth": "blocks.0", "edges": "stem"}, "light").eval()
    conv = 2 * 2 * 32 * 48 * 9 * 8
    stem, block = conv * 3, conv * 8
    heads = [flops(lambda name=name: made.decoders[name](torch.zeros(2, 8, 32, 48))) for name in ("depth", "edges")]
    assert flops(lambda: made(image)) == stem + 2 * block + sum(heads)
    assert flops(lambda: made(image, tasks=["edges"])) == stem + heads[1]


@pytest.mark.parametrize("name", ["resnetd18", "by data"])
def test_copies_states_and_types(make, image, name):
    tap = "layer2" if name == "resnetd18" else "blocks.1"
    torch.manual_seed(0)
    made = Network(make(name), [SEG, ROOM], {"seg": tap, "room": tap}, decoder(width=8)).eval()
    wanted = made(image)

    def same(other, **tolerance):
        return all(torch.allclose(value.float(), wanted[key], **tolerance) for key, value in other.items())

    twin = copy.deepcopy(made)
    assert same(twin(image), atol=0, rtol=0)
    with torch.no_grad():
        next(twin.parameters()).add_(1)
    assert same(made(image), atol=0, rtol=0)
    assert not same(twin(image), atol=1e-4)
    buffer = io.BytesIO()
    torch.save(made.state_dict(), buffer)
    buffer.seek(0)
    twin.load_state_dict(torch.load(buffer, weights_only=True))
    assert same(twin(image), atol=0, rtol=0)
    twin.load_state_dict(pickle.loads(pickle.dumps(made.state_dict())), assign=True)
    assert same(twin.double()(image.double()), atol=1e-4)
    twin.float().to(memory_format=torch.channels_last)
    assert same(twin(image.to(memory_format=torch.channels_last)), atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        low = twin(image)
    assert all(value.dtype == torch.float32 for value in low.values())
    assert same(low, atol=0.05, rtol=0.1)
    pickled = pickle.loads(pickle.dumps(made))
    assert same(pickled(image), atol=0, rtol=0)
    assert same(pickled(image, tasks=["seg"]), atol=0, rtol=0)


@pytest.mark.parametrize("name", ["resnetd18", "by data"])
def test_modes_reach_every_part(make, image, name):
    tap = "layer2" if name == "resnetd18" else "blocks.1"
    made = Network(make(name), [ROOM], {"room": tap})
    for training in (True, False, True):
        made.train(training)
        norm = next(module for module in made.backbone.modules() if isinstance(module, nn.BatchNorm2d))
        before = norm.running_mean.clone()
        made(image)
        assert norm.training == training
        assert torch.equal(before, norm.running_mean) != training


@pytest.fixture
def alone(tmp_path):
    """A process group of this process."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("name", ["resnetd18", "by data"])
def test_every_parameter_gets_a_gradient_under_ddp(make, image, name):
    tap = "layer2.0.conv2" if name == "resnetd18" else "stem"
    made = Network(make(name), [DEPTH, ROOM], {"depth": tap, "room": tap}, "light").train()
    wrapped = nn.parallel.DistributedDataParallel(made)
    for _ in range(2):  # a second pass fails if a parameter went without a gradient in the first
        wrapped.zero_grad()
        sum(output.square().sum() for output in wrapped(image).values()).backward()
    assert all(parameter.grad is not None for parameter in made.parameters())


def test_export_keeps_the_outputs(make, image):
    made = Network(make("resnetd18"), [DEPTH, ROOM], {"depth": "layer2.0", "room": "layer2"}, decoder("light")).eval()
    exported = torch.export.export(made, (image,)).module()
    for name, value in made(image).items():
        torch.testing.assert_close(exported(image)[name], value)


def test_decoders_can_be_given_in_every_way(make):
    taps = dict.fromkeys(("seg", "depth", "room"), "conv1")
    tasks = [SEG, DEPTH, ROOM]

    def kinds(decoders):
        made = Network(make("functional"), tasks, taps, decoders)
        return [type(made.decoders[task.name]) for task in tasks]

    assert kinds(None) == [DeepLab, DeepLab, Head]
    assert kinds("light") == [Light, Light, Head]
    assert kinds(decoder("light", width=4)) == [Light, Light, Head]
    ready = nn.Sequential(nn.Conv2d(8, 5, 1))
    assert kinds({"seg": ready, "depth": functools.partial(Light, width=4)}) == [nn.Sequential, Light, Head]
    assert Network(make("functional"), tasks, taps, {"seg": ready}).decoders["seg"] is ready
    assert set(DECODERS) == {"deeplab", "light", "head"}


def test_a_module_known_by_two_names_can_be_tapped_by_both(make, image):
    made = Network(make("twice"), [DEPTH, EDGES], {"depth": "alias", "edges": "again"}, "light").eval()
    assert made.taps == {"depth": ("again",), "edges": ("again",)}
    assert set(made(image)) == {"depth", "edges"}


ONE = {"depth": "layer1"}


@pytest.mark.parametrize(
    ("tasks", "taps", "decoders", "message"),
    [
        (
            [DEPTH],
            {"depth": "layer5"},
            None,
            r"unknown tap 'layer5' – the backbone has stem … layer4; see lomt\.taps",
        ),
        (
            [DEPTH],
            {"depth": "layer3.1.conv3"},
            None,
            r"unknown tap 'layer3\.1\.conv3'.* – did you mean .*'layer3\.1\.conv",
        ),
        ([DEPTH], {"depth": ""}, None, "unknown tap ''"),
        ([DEPTH], {"depth": []}, None, "task 'depth' has an empty list of taps"),
        ([DEPTH], {}, None, "taps has nothing for task 'depth'"),
        (
            [DEPTH],
            {**ONE, "dept": "layer1"},
            None,
            "taps names an unknown task 'dept': the tasks are depth – did you mean",
        ),
        ([DEPTH], ONE, {"seg": "light"}, "decoders names an unknown task 'seg'"),
        ([DEPTH], ONE, "aspp", "unknown decoder 'aspp': choose one of deeplab, light, head"),
        ([DEPTH], ONE, {"depth": "aspp"}, "unknown decoder 'aspp'"),
        ([DEPTH], ONE, {"depth": "head"}, "decoder Head gives a vector, but task 'depth' wants maps"),
        (
            [DEPTH],
            ONE,
            {"depth": nn.Conv2d(9, 1, 1)},
            r"decoder of task 'depth' can't read features of shape \(1, 8, 16, 16\)",
        ),
        (
            [DEPTH],
            ONE,
            {"depth": nn.Conv2d(8, 2, 1)},
            r"decoder of task 'depth' gives \(1, 2, 16, 16\), but .* \(1, 1, h, w\)",
        ),
        (
            [ROOM],
            {"room": "layer1"},
            {"room": nn.Conv2d(8, 4, 1)},
            r"gives \(1, 4, 16, 16\), but the task wants \(1, 4\)",
        ),
        ([], {}, None, "a network needs at least one task"),
        ([DEPTH, Depth("depth")], ONE, None, "2 tasks are called 'depth'"),
    ],
)
def test_bad_input_is_one_clear_error(make, tasks, taps, decoders, message):
    with pytest.raises(ValueError, match=message):
        Network(make("resnetd18"), tasks, taps, decoders)


@pytest.mark.parametrize("decoders", [3, {"depth": 3}, lambda channels, _task: channels])
def test_what_makes_no_decoder_is_refused(make, decoders):
    with pytest.raises(TypeError, match="decoder"):
        Network(make("resnetd18"), [DEPTH], ONE, decoders)


def test_taps_must_name_the_tasks(make):
    with pytest.raises(TypeError, match="give a mapping from task names"):
        Network(make("resnetd18"), [DEPTH], "layer1")


def test_a_tap_without_a_map_is_refused(make):
    with pytest.raises(ValueError, match=r"tap 'fc' \(Linear\) gives no map .* choose one of lomt\.taps"):
        Network(make("functional"), [DEPTH], {"depth": "fc"})
    with pytest.raises(ValueError, match=r"tap 'block' \(ModuleDict\) gives no map"):
        Network(make("functional"), [DEPTH], {"depth": "block"})


def test_an_example_the_backbone_can_t_read_is_refused(make):
    with pytest.raises(ValueError, match=r"can't run an example of shape \(1, 1, 32, 32\).*pass a fitting example"):
        Network(make("resnetd18"), [DEPTH], ONE, example=torch.zeros(1, 1, 32, 32))


def test_an_unknown_task_is_refused_in_a_call(net, image):
    with pytest.raises(ValueError, match="unknown task 'sge': the network has seg, depth, edges, room"):
        net(image, tasks=["sge"])


def test_a_grey_backbone_of_one_fixed_size_can_be_cut():
    backbone = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16 * 16, 2))
    example = torch.zeros(1, 1, 32, 32)
    made = Network(backbone, [DEPTH], {"depth": "1"}, "light", example).eval()
    assert made(example)["depth"].shape == (1, 1, 32, 32)
    assert list(truncate(backbone, ["0"], example).state_dict()) == ["0.weight", "0.bias"]


def test_a_pruned_layer_is_named():
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    prune.l1_unstructured(backbone[0], "weight", 3)
    with pytest.raises(ValueError, match=r"'weight' of '0' is computed by a hook.*prune\.remove"):
        Network(backbone, [Depth("depth")], {"depth": "1"})
    prune.remove(backbone[0], "weight")
    Network(backbone, [Depth("depth")], {"depth": "1"})
