"""Which layers are no candidates for a tap: stems, shortcuts' projections, gates."""

import re
from itertools import takewhile

from lomt.sparsity.dataflow import Dataflow

NAMES = re.compile(r"(^|[._])(downsample|shortcut|skip|stem)([._]|\d|$)", re.IGNORECASE)


def side_branches(flow: Dataflow, chains: list[list[str]]) -> set[str]:
    """The layers that are not on the main branch of a network.

    A layer is beside it if one of these holds:

    * its name says so: ``stem``, ``downsample``, ``shortcut``, ``skip``;
    * it reads the image, or continues such a layer in the same submodule (``conv1.0``, ``conv1.3``, …);
    * it runs beside a longer chain of layers, from the same place to the same place: a projection;
    * its output is a single pixel although larger maps follow: a gate, as in squeeze-and-excitation.

    Args:
        flow: how the layers hang together.
        chains: its :meth:`Dataflow.series`.
    """
    aside = {name for name in flow.order if NAMES.search(name)}
    for chain in chains:
        if None in flow.sources[chain[0]]:
            aside |= _stem(flow, chain)
        if any(_beside(flow, chain, other) for other in chains):
            aside |= set(chain)
    for place, name in enumerate(flow.order):
        if flow.pixels[name] == 1 and any(flow.pixels[later] > 1 for later in flow.order[place:]):
            aside.add(name)
    return aside


def _stem(flow: Dataflow, chain: list[str]) -> set[str]:
    parent = chain[0].rpartition(".")[0]
    # A submodule that holds everything (a plain network's "features") is no stem.
    if not parent or all(name.startswith(f"{parent}.") for name in flow.order):
        return {chain[0]}
    return set(takewhile(lambda name: name.startswith(f"{parent}."), chain))


def _beside(flow: Dataflow, chain: list[str], other: list[str]) -> bool:
    return (
        len(chain) < len(other)
        and flow.sources[chain[0]] == flow.sources[other[0]]
        and flow.readers(chain[-1]) == flow.readers(other[-1])
    )
