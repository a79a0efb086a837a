"""The way back: what a compacted network has learned, in the shape of the network that it was made of."""

import torch
from torch import nn

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
