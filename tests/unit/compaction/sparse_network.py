"""Networks of ours as a sparse training leaves them: residual stages, pyramids, several decoders on shared taps."""

import random

import torch
from torch import nn

from lomt.models import Network, backbone, decoder
from lomt.tasks import Classification, Depth, Edges, Segmentation

TASKS = [Segmentation("seg", 3), Depth("depth"), Edges("edges"), Classification("room", 2)]
PLACES = ["layer1", "layer2.0.conv1", "layer2", "layer3.1.conv2", "layer3.0.bn1", "layer4.0.conv1", "layer4"]


@torch.no_grad()
def sparse_network(seed):
    """A network in eval mode, float64, that depends on the seed alone."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    tasks = rng.sample(TASKS, rng.randint(1, 4))
    taps = {task.name: rng.choice([*PLACES, tuple(rng.sample(PLACES, 2))]) for task in tasks}
    stem = backbone(rng.choice(["resnetd18", "resnetd26"]), width=8, output_stride=rng.choice([8, 16]))
    network = Network(stem, tasks, taps, decoder(rng.choice(["deeplab", "light"]), width=8))
    most = rng.choice([0.3, 0.6, 1.2])
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
            layer.weight.uniform_(0.5, 1.5)
            layer.bias.normal_()
        elif isinstance(layer, nn.Conv2d | nn.Linear) and len(layer.weight) > 3:
            layer.weight[:, torch.rand(layer.weight.shape[1]) < most * rng.random()] = 0
    return network.double().eval()
