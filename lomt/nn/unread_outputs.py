"""Outputs that nobody reads need not be computed: what tells a network's layers so, for the time of one forward."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from lomt.channels.readers import Outputs
from lomt.nn.masked_conv2d import captured


class _Tell:
    """A hook before a network's forward: tells each layer which of its outputs a weight reads now, or anything else.

    All layers' channels are numbered in one row, so that it is a few operations for all of them.
    """

    def __init__(self, outputs: Mapping[str, Outputs], widths: Mapping[str, int]) -> None:
        self.layers = list(outputs)
        self.counts = [len(each.always) for each in outputs.values()]
        self.readers = sorted({reader.name for each in outputs.values() for reader in each.readers})
        starts, at = {}, 0
        for name in self.readers:
            starts[name], at = at, at + widths[name]
        theirs, mine, first = [], [], 0
        for each in outputs.values():
            theirs += [starts[reader.name] + reader.theirs for reader in each.readers]
            mine += [first + reader.mine for reader in each.readers]
            first += len(each.always)
        none = [torch.zeros(0, dtype=torch.long)]
        self.tensors = [torch.cat(part) for part in (none + theirs, none + mine)]
        self.tensors.append(torch.cat([each.always for each in outputs.values()]).int())

    def __call__(self, module: nn.Module, args: Any) -> None:
        del args
        layers: list[Any] = [module.get_submodule(name) for name in self.layers]
        weight = layers[0].weight
        if captured(weight):
            return
        if self.tensors[0].device != weight.device:
            self.tensors = [tensor.to(weight.device) for tensor in self.tensors]
        theirs, mine, always = self.tensors
        readers: list[Any] = [module.get_submodule(name) for name in self.readers]
        if readers:
            read = torch.cat([reader.read().to(weight.device) for reader in readers]).int()
            always = always.index_add(0, mine, read[theirs])
        for layer, needed in zip(layers, (always > 0).split(self.counts), strict=True):
            layer.__dict__["_needed"] = needed.to(layer.weight.device)  # a network may lie on several


class _Forget:
    """A hook after it: whoever calls a layer by itself may read anything."""

    def __init__(self, layers: list[str]) -> None:
        self.layers = layers

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        del args, output
        for name in self.layers:
            module.get_submodule(name).__dict__.pop("_needed", None)


def skip_unread(module: nn.Module, outputs: Mapping[str, Outputs]) -> None:
    """From now on, calls of the module skip what nobody reads."""
    compute_all(module)
    if outputs:
        widths = {name: layer.in_channels for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d)}
        tell = _Tell(outputs, widths)
        module.register_forward_pre_hook(tell)
        module.register_forward_hook(_Forget(tell.layers), always_call=True)


def compute_all(module: nn.Module) -> None:
    """Take that back."""
    for hooks in (module._forward_pre_hooks, module._forward_hooks, module._forward_hooks_always_called):
        for key in [key for key, hook in hooks.items() if isinstance(hook, _Tell | _Forget)]:
            del hooks[key]
