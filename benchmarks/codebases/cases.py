"""The codebases: each one's own network, loss, optimizer and step, on images and labels at random."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from benchmarks.codebases.clones import definitions, imported, torchvision_beside_cpu_torch, without

Step = Callable[[], float]


class Case(NamedTuple):
    """A network, the optimizer that the codebase makes for it, and a step as its loop takes it, giving a loss."""

    network: nn.Module
    optimizer: Callable[[nn.Module], Optimizer]
    step: Callable[[nn.Module, Optimizer, Tensor], Step]


class Codebase(NamedTuple):
    """Where a codebase is found, what of it is tried, and how it is built for a batch of images of a size.

    Losses are compared, and steps timed, with these batches and sizes; where a norm has but two values to normalize,
    a rounding error decides about the loss, in whatever network. At ``strength``, a penalty kills channels within a
    few steps.
    ``places`` are a script's file, the numbers of the lines after which a user writes the imports, the conversion and
    the optimizer, what the network and the optimizer are called there, and the learning rate.
    """

    url: str
    commit: str
    what: str
    compared: tuple[int, int]
    timed: tuple[int, int]
    strength: float
    places: tuple[str, int, int, int, str, str, str]
    build: Callable[[Path, int, int], Case]

    @property
    def changes(self) -> list[tuple[str, int, str]]:
        """The lines that its user adds: file, number of the line before, text without indentation."""
        file, imports, convert, optimizer, network, named, rate = self.places
        inner = network.removesuffix(".module")
        return [
            (file, imports, "from lomt.nn import convert"),
            (file, imports, "from lomt.optim import ProxAdamW, parameter_groups"),
            (file, imports, "from lomt.sparsity import GroupLasso"),
            (file, convert, f"convert({inner})"),
            (file, optimizer, f"{named} = ProxAdamW(parameter_groups({network}, GroupLasso(3e-4)), lr={rate})"),
        ]


def labels(batch: int, size: int, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Segmentation ``(N, H, W)``, depth ``(N, 1, H, W)`` and unit normals ``(N, 3, H, W)``."""
    normals = F.normalize(torch.randn(batch, 3, size, size), dim=1)
    return torch.randint(classes, (batch, size, size)), torch.rand(batch, 1, size, size) + 0.5, normals


def libmtl(root: Path, batch: int, size: int) -> Case:
    """Its NYUv2 example, DeepLab heads, on its ResNet-18 (the 50 takes too long here), by PCGrad."""
    without("torch_geometric", "cvxpy", "qpsolvers")
    torchvision_beside_cpu_torch()
    library, heads = imported(root, "LibMTL"), imported(root / "examples/nyu", "aspp")
    losses = imported(root / "examples/nyu", "utils")
    channels = {"segmentation": 13, "depth": 1, "normal": 3}

    class Model(library.architecture.HPS, library.weighting.PCGrad):  # as its trainer makes it
        pass

    def encoder() -> nn.Module:
        return library.model.resnet_dilated("resnet18", pretrained=False)

    decoders = nn.ModuleDict({task: heads.DeepLabHead(512, number) for task, number in channels.items()})
    network = Model(list(channels), encoder, decoders, False, False, torch.device("cpu"))
    targets = dict(zip(channels, labels(batch, size, 13), strict=True))
    criteria = {"segmentation": losses.SegLoss(), "depth": losses.DepthLoss(), "normal": losses.NormalLoss()}

    def step(model: nn.Module, optimizer: Optimizer, images: Tensor) -> Step:
        def run() -> float:
            outputs = model(images)
            found = torch.zeros(len(channels))
            for i, (task, loss) in enumerate(criteria.items()):
                output = F.interpolate(outputs[task], (size, size), mode="bilinear", align_corners=True)
                found[i] = loss.compute_loss(output, targets[task])
            optimizer.zero_grad(set_to_none=False)
            model.backward(found)
            optimizer.step()
            return found.sum().item()

        return run

    return Case(network, lambda model: Adam(model.parameters(), lr=1e-4, weight_decay=1e-5), step)


def segnet_losses(model: nn.Module, images: Tensor, targets: tuple[Tensor, ...], fit: Any) -> list[Tensor]:
    """Of a SegNet for three tasks."""
    outputs, _ = model(images)
    kinds = ("semantic", "depth", "normal")
    return [fit(output, target, kind) for output, target, kind in zip(outputs, targets, kinds, strict=True)]


def mtan(root: Path, batch: int, size: int) -> Case:
    """Its SegNet with attention, equal weights."""
    folder, names = root / "im2im_pred", {"torch": torch, "nn": nn, "F": F, "np": np}
    network = definitions(folder / "model_segnet_mtan.py", "SegNet", **names)["SegNet"]()
    fit = definitions(folder / "utils.py", "model_fit", **names)["model_fit"]
    targets = labels(batch, size, 13)

    def step(model: nn.Module, optimizer: Optimizer, images: Tensor) -> Step:
        def run() -> float:
            loss = sum(segnet_losses(model, images, targets, fit))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.item()

        return run

    return Case(network, lambda model: Adam(model.parameters(), lr=1e-4), step)


def cagrad(root: Path, batch: int, size: int) -> Case:
    """Its SegNet with attention, by CAGrad."""
    from scipy.optimize import minimize

    names = {"torch": torch, "nn": nn, "F": F, "np": np, "minimize": minimize}
    network = definitions(root / "nyuv2/model_segnet_mt.py", "SegNet", **names)["SegNet"]()
    wanted = ("model_fit", "cagrad", "grad2vec", "overwrite_grad")
    theirs = definitions(root / "nyuv2/utils.py", *wanted, **names)
    targets = labels(batch, size, 13)

    def step(model: nn.Module, optimizer: Optimizer, images: Tensor) -> Step:
        sizes = [parameter.numel() for module in model.shared_modules() for parameter in module.parameters()]
        gradients = torch.zeros(sum(sizes), 3)

        def run() -> float:
            losses = segnet_losses(model, images, targets, theirs["model_fit"])
            optimizer.zero_grad()
            for i, loss in enumerate(losses):
                loss.backward(retain_graph=True)
                theirs["grad2vec"](model, gradients, sizes, i)
                model.zero_grad_shared_modules()
            theirs["overwrite_grad"](model, theirs["cagrad"](gradients), sizes)
            optimizer.step()
            return sum(losses).item()

        return run

    return Case(network, lambda model: Adam(model.parameters(), lr=1e-4), step)


def auto_lambda(root: Path, batch: int, size: int) -> Case:
    """Its ResNet-50 with DeepLab heads, by Auto-Lambda: a deep copy, and weights that are moved and put back."""
    torchvision_beside_cpu_torch()
    networks, theirs, weighting = (imported(root, name) for name in ("create_network", "utils", "auto_lambda"))
    tasks = theirs.create_task_flags("all", "nyuv2")
    network = networks.MTLDeepLabv3(tasks)
    targets = dict(zip(tasks, labels(batch, size, 13), strict=True))

    def step(model: nn.Module, optimizer: Optimizer, images: Tensor) -> Step:
        weights = weighting.AutoLambda(model, torch.device("cpu"), tasks, tasks)
        of_weights = Adam([weights.meta_weights], lr=1e-4)

        def run() -> float:
            of_weights.zero_grad()
            weights.unrolled_backward(images, targets, images.flip(3), targets, 1e-2, optimizer)
            of_weights.step()
            optimizer.zero_grad()
            outputs = model(images)
            losses = [theirs.compute_loss(outputs[i], targets[task], task) for i, task in enumerate(tasks)]
            sum(weight * loss for weight, loss in zip(weights.meta_weights, losses, strict=True)).backward()
            optimizer.step()
            return sum(losses).item()

        return run

    return Case(
        network, lambda model: torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=1e-4, momentum=0.9), step
    )


def mti_net(root: Path, batch: int, size: int) -> Case:
    """Its MTI-Net on HRNet-18, NYUD, segmentation and depth."""
    without("cv2", "torchvision", "imageio", "torch._six")
    torchvision_beside_cpu_torch()
    configuration, common = imported(root, "utils.config"), imported(root, "utils.common_config")
    with tempfile.TemporaryDirectory() as results:
        environment = Path(results) / "env.yml"
        environment.write_text(f"root_dir: {results}\n")
        settings = configuration.create_config(environment, root / "configs/nyud/hrnet18/mti_net.yml")
    settings["backbone_kwargs"]["pretrained"] = False
    back = Path.cwd()
    os.chdir(root)  # where it looks for its description of HRNet
    np.__dict__.setdefault("int", int)  # which its HRNet names
    network = common.get_model(settings)
    os.chdir(back)
    criterion = common.get_criterion(settings)
    segmentation, depth, _ = labels(batch, size, 40)
    targets = {"semseg": segmentation[:, None].to(depth.dtype), "depth": depth}

    def step(model: nn.Module, optimizer: Optimizer, images: Tensor) -> Step:
        def run() -> float:
            loss = criterion(model(images), targets)["total"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.item()

        return run

    return Case(network, lambda model: common.get_optimizer(settings, model), step)


def yolop(root: Path, batch: int, size: int) -> Case:
    """Its network for traffic objects, drivable area and lanes."""
    without("cv2", "torchvision", "prefetch_generator", "tensorboardX", "yacs")
    torchvision_beside_cpu_torch()
    settings = imported(root, "lib.config").cfg
    network, losses, theirs = (
        imported(root, "lib.models").get_net(settings),
        imported(root, "lib.core.loss"),
        imported(root, "lib.utils.utils"),
    )
    network.gr, network.nc = 1.0, 1
    mended = (" - 1)", ".long() - 1)")  # whole numbers are no longer clamped by others
    losses.build_targets = definitions(
        root / "lib/core/postprocess.py", "build_targets", mended=mended, torch=torch, is_parallel=lambda _: False
    )["build_targets"]
    criterion = losses.get_loss(settings, device="cpu")
    boxes = torch.tensor([[i, 0, 0.5, 0.5, 0.3 + 0.1 * i, 0.4] for i in range(batch)])
    areas, lanes = (
        F.one_hot(torch.randint(2, (batch, size, size)), 2).movedim(3, 1).to(boxes.dtype).contiguous() for _ in range(2)
    )
    shapes = [[(size, size), ((1.0, 1.0), (0.0, 0.0))]]

    def step(model: nn.Module, optimizer: Optimizer, images: Tensor) -> Step:
        def run() -> float:
            loss, _ = criterion(model(images), [boxes, areas, lanes], shapes, model)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.item()

        return run

    return Case(network, lambda model: theirs.get_optimizer(settings, model), step)


CODEBASES = {
    "LibMTL": Codebase(
        "https://github.com/median-research-group/LibMTL",
        "4336804847eaa5e0b924b743d76beec7ac3fdc97",
        "examples/nyu: dilated ResNet-18, three DeepLab heads, PCGrad",
        (4, 32),
        (2, 96),
        2e-2,
        ("examples/nyu/main.py", 3, 97, 97, "NYUmodel.model", "NYUmodel.optimizer", "1e-4"),
        libmtl,
    ),
    "mtan": Codebase(
        "https://github.com/lorenmt/mtan",
        "c36c30baa18968dec74fe9039abcfd4f132edfa1",
        "im2im_pred: SegNet with attention, three tasks",
        (4, 32),
        (2, 96),
        2e-2,
        ("im2im_pred/model_segnet_mtan.py", 5, 184, 185, "SegNet_MTAN", "optimizer", "1e-4"),
        mtan,
    ),
    "auto-lambda": Codebase(
        "https://github.com/lorenmt/auto-lambda",
        "bdba6365953f7ebb3a8ae33fabfecd3f933ecc27",
        "dense prediction: dilated ResNet-50, three DeepLab heads, Auto-Lambda",
        (4, 32),
        (2, 64),
        2e-2,
        ("trainer_dense.py", 4, 55, 76, "model", "optimizer", "1e-3"),
        auto_lambda,
    ),
    "Multi-Task-Learning-PyTorch": Codebase(
        "https://github.com/SimonVandenhende/Multi-Task-Learning-PyTorch",
        "ed3d9ac1c35493d8d22c4e33574919c326d77b6d",
        "configs/nyud/hrnet18/mti_net.yml: MTI-Net on HRNet-18, two tasks",
        (2, 64),
        (2, 256),
        1.0,
        ("main.py", 11, 40, 56, "model.module", "optimizer", "p['optimizer_kwargs']['lr']"),
        mti_net,
    ),
    "YOLOP": Codebase(
        "https://github.com/hustvl/YOLOP",
        "8d8f68df318c71f01d6f813c024df646c7d1978f",
        "YOLOP: detection, drivable area and lanes",
        (2, 64),
        (2, 320),
        5e-3,
        ("tools/train.py", 19, 121, 129, "model", "optimizer", "cfg.TRAIN.LR0"),
        yolop,
    ),
    "CAGrad": Codebase(
        "https://github.com/Cranial-XIX/CAGrad",
        "dc3d48152b6196945cfd56144879b9d42353b095",
        "nyuv2: SegNet with attention, three tasks, CAGrad",
        (4, 32),
        (2, 64),
        2e-2,
        ("nyuv2/model_segnet_mt.py", 7, 317, 318, "SegNet_MTAN", "optimizer", "opt.lr"),
        cagrad,
    ),
}
