"""The way back: what a compacted network has learned, in the shape of the network that it was made of."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lomt.compaction.module import Compacted


@torch.no_grad()
def expand(small: Compacted, module: nn.Module) -> None:
    """Write what ``small`` has learned back into the module that it was made of, in place.

    What was removed becomes 0: filters that nobody read, weights of channels that were dead, and all that a norm
    has for them (but their running variance, which becomes 1). In eval mode the module then gives what ``small`` gives:
    nobody reads the channels that these zeros make.

    Args:
        small: what :func:`compact` with ``for_training`` made of the module, trained on since or not.
        module: what it was made of.

    Raises:
        ValueError: ``small`` has folded constants, which have no place in the module, or is another module's.
    """
    whole, left, record = module.state_dict(), small.state_dict(), small.record
    strange = [name for name in left if name not in whole and not name.startswith("gathered.")]
    if strange:
        raise ValueError(
            f"the compacted module has {strange[0]!r}, for which {type(module).__name__} has no place: give the module "
            "that it was made of, compacted with for_training=True"
        )
    for name, tensor in whole.items():
        if name in left:
            cut = record.cuts.get(name)
            tensor.copy_(left[name] if cut is None else cut.back(left[name], tensor.shape))
            if cut is not None and name.endswith("running_var"):
                tensor += cut.back(torch.ones_like(left[name]), tensor.shape).eq(0).to(tensor)
        elif name in record.gone:
            tensor.fill_(name.endswith("running_var"))


@torch.no_grad()
def carry_back(
    optimizer: Optimizer, small: Compacted, module: nn.Module, parameters: Sequence[Sequence[Tensor]]
) -> None:
    """Give an optimizer the parameters of the module instead of the compacted one's, in place.

    The reverse of :func:`carry_over`. State of a parameter's shape is 0 where the parameter was removed.

    Args:
        optimizer: holds the parameters of ``small``.
        small: what :func:`compact` made of the module.
        module: what it was made of.
        parameters: of each of the optimizer's parameter groups, the parameters that it had before.
    """
    left, state = dict(small.named_parameters()), dict(optimizer.state)
    optimizer.state.clear()
    names: dict[Tensor, str] = {parameter: name for name, parameter in module.named_parameters()}
    for group, olds in zip(optimizer.param_groups, parameters, strict=True):
        group["params"] = list(olds)
        for old in olds:
            new = left.get(names[old]) if old in names else old
            if new not in state:
                continue
            cut = small.record.cuts.get(names.get(old, ""))
            optimizer.state[old] = {
                key: torch.zeros_like(old).copy_(cut.back(value, old.shape))
                if cut is not None and isinstance(value, Tensor) and value.shape == new.shape
                else value
                for key, value in state[new].items()
            }
