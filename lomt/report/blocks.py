"""A backbone as a chain of blocks, made from its candidates for taps."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lomt.report.comparison import Candidate


@dataclass(frozen=True)
class Block:
    """A link of the chain.

    Attributes:
        name: the module's name.
        channels: that come out.
        stride: image pixels a step of what comes out.
        parts: names of everything inside and of the block itself, in order of completion.
        plain: whether it has no convolution of its own, such as a pooling.
    """

    name: str
    channels: int
    stride: float
    parts: Sequence[str]
    plain: bool = False


def chain(candidates: Sequence[Candidate], grouped: Collection[str] = ()) -> list[Block]:
    """Cut a backbone into blocks.

    Top-level modules are blocks; one that is a numbered sequence of containers (``layer3.0``, ``layer3.1``, …) gives
    each of these as a block, however deep such sequences are nested.

    Args:
        candidates: in order of completion, containers included.
        grouped: names of the layers with prunable groups; a block with none of them is plain. Empty: not known.

    Example:
        >>> names = ["stem.conv1", "stem", "layer1.0.conv1", "layer1.0", "layer1.1.conv1", "layer1.1", "layer1"]
        >>> [block.name for block in chain([Candidate(name, 8, 4) for name in names])]
        ['stem', 'layer1.0', 'layer1.1']
    """
    named = [candidate for candidate in candidates if candidate.name]
    by_name = {candidate.name: candidate for candidate in named}
    children: dict[str, list[str]] = {}
    for name in by_name:
        words = name.split(".")
        for depth in range(len(words)):
            parent, child = ".".join(words[:depth]), ".".join(words[: depth + 1])
            if child not in children.setdefault(parent, []):
                children[parent].append(child)

    def cut(name: str) -> list[str]:
        inside = children.get(name, [])
        numbered = bool(inside) and all(child.rsplit(".", 1)[-1].isdecimal() for child in inside)
        if name == "" or (numbered and any(child in children for child in inside)):
            return [block for child in inside for block in cut(child)]
        return [name]

    blocks = []
    for name in cut(""):
        parts = [one.name for one in named if one.name == name or one.name.startswith(f"{name}.")]
        if parts:
            last = by_name[parts[-1]]
            plain = bool(grouped) and not any(part in grouped for part in parts)
            blocks.append(Block(name, last.channels, last.stride, parts, plain))
    return blocks


def place(blocks: Sequence[Block], tap: str) -> tuple[int, float] | None:
    """Where in the chain a tap is.

    Returns:
        Index of the block, and the share of it that must be computed for the tap, in (0, 1]; none for an unknown
        name. A container of several blocks ends with its last one; the empty name is the whole backbone.
    """
    for index, block in enumerate(blocks):
        if tap in block.parts:
            return index, (block.parts.index(tap) + 1) / len(block.parts)
    inside = [index for index, block in enumerate(blocks) if not tap or block.name.startswith(f"{tap}.")]
    return (inside[-1], 1.0) if inside else None
