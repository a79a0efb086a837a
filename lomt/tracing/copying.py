"""A private copy of a module with plain parameters for computed weights, and what is put back after its trace."""

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

M = TypeVar("M", bound=nn.Module)

_OWN = vars(nn.Module()).keys()
_CONSTANT = "_tensor_constant"
"""How torch.fx calls a tensor that it finds on the way, and puts on the root."""
_HOOKS: dict[type, Callable[..., Any]] = {
    prune.BasePruningMethod: lambda layer, hook: prune.remove(layer, hook._tensor_name),
    WeightNorm: lambda layer, hook: torch.nn.utils.remove_weight_norm(layer, hook.name),
    SpectralNorm: lambda layer, hook: torch.nn.utils.remove_spectral_norm(layer, hook.name),
}
"""How to make a weight that such a hook computes a parameter."""


def shadow(module: M, copies: Mapping[int, Any] | None = None) -> M:
    """A copy that shares the parameters: runs leave the original's buffers and attributes alone.

    Args:
        module: what is copied.
        copies: by id, what stands for further objects, or for parameters after all.
    """
    made: dict[int, Any] = {id(parameter): parameter for parameter in module.parameters()} | dict(copies or {})
    for part in module.modules():  # a dozen empty dicts of hooks each, most of what a copy would take
        made |= {id(one): type(one)() for one in vars(part).values() if type(one) in (dict, OrderedDict) and not one}
    return copy.deepcopy(module, made)


def plain_copy(module: nn.Module) -> nn.Module:
    """A copy of a module, not compiled, in eval mode, that shares its parameters: they are to be replaced, not changed.

    Weights that hooks compute (``torch.nn.utils.prune``, ``weight_norm``, ``spectral_norm``) are plain parameters, and
    all parameters are the copy's own then.

    Raises:
        TypeError: it is scripted.
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise TypeError(
            "the module is scripted, so that its parts can't be changed: give it as it was before torch.jit"
        )
    computed = {
        id(tensor): tensor.detach().clone()
        for part in module.modules()
        for tensor in vars(part).values()
        if isinstance(tensor, Tensor) and not tensor.is_leaf
    }
    with torch.no_grad():
        if hooked(module) is None:
            return _eager(shadow(module, computed)).eval()
        root = _eager(copy.deepcopy(module, dict(computed)))
        part: Any
        for part in root.eval().modules():
            for hook in list(part._forward_pre_hooks.values()):
                remove = next((how for kind, how in _HOOKS.items() if isinstance(hook, kind)), None)
                if remove is not None:
                    remove(part, hook)
    return root


@contextmanager
def unchanged(root: nn.Module) -> Iterator[None]:
    """Take back what a forward notes on its modules while it is traced: caches of grids, which would hold proxies."""
    before = {part: dict(vars(part)) for part in root.modules()}
    inside = {
        (part, name): copy.copy(value)
        for part, held in before.items()
        for name, value in held.items()
        if type(value) in (list, dict) and name not in _OWN
    }
    try:
        yield
    finally:
        for part, held in before.items():
            for name in [name for name in vars(part) if name not in held and not name.startswith(_CONSTANT)]:
                del vars(part)[name]
            vars(part).update(held)
        for (part, name), value in inside.items():
            now: Any = vars(part)[name]
            now.clear()
            (now.extend if isinstance(now, list) else now.update)(value)


def hooked(module: nn.Module) -> str | None:
    """The first part whose weight a hook computes, by name."""
    for name, part in module.named_modules():
        if any(isinstance(hook, tuple(_HOOKS)) for hook in part._forward_pre_hooks.values()):
            return name or type(module).__name__
    return None


def _eager(module: nn.Module) -> nn.Module:
    """The module without wrappers of ``torch.compile``, in place."""
    plain: nn.Module = getattr(module, "_orig_mod", module)
    if not isinstance(plain, torch.jit.ScriptModule):
        for name, part in list(plain._modules.items()):
            if part is not None:
                plain._modules[name] = _eager(part)
    return plain
