"""What a network gives, as a flat list of named tensors."""

from collections.abc import Mapping
from typing import Any

from torch import fx

from lomt.tracing.contexts import contexts_of


def tolerance(graph: fx.Graph) -> float:
    """Largest error, relative to an output's largest value, with which a program or a file of a graph passes.

    Files compute in float32 what the network itself does under autocast: they are the more exact ones.
    """
    rough = any(one[0] == "autocast" and one[-1] for those in contexts_of(graph).values() for one in those)
    return 5e-2 if rough else 1e-3


def tensors(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """Names and tensors (or a graph's nodes), depth first; a part's name follows its whole's after a dot.

    Example:
        >>> [name for name, _ in tensors({"seg": [1, 2], "depth": 3})]
        ['seg.0', 'seg.1', 'depth']
        >>> [name for name, _ in tensors([1, {"depth": 2}])], [name for name, _ in tensors(1)]
        (['output0', 'output1.depth'], ['output'])
    """
    if isinstance(value, Mapping):
        return [one for key, part in value.items() for one in tensors(part, f"{name}.{key}" if name else str(key))]
    if isinstance(value, list | tuple):
        stem = f"{name}." if name else "output"
        return [one for place, part in enumerate(value) for one in tensors(part, f"{stem}{place}")]
    return [] if value is None else [(name or "output", value)]
