"""Removing every channel, layer and branch that is dead for all of its readers, exactly."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from lomt.channels.analysis import drop_checks_of_channels, wire_graph
from lomt.channels.wire import Wiring
from lomt.compaction.agreement import verify
from lomt.compaction.aliasing import AliasError, make_writes_visible, remove_dead_code
from lomt.compaction.constants import constants
from lomt.compaction.couplings import keep
from lomt.compaction.folding import cut_dead_branch, fold_constants
from lomt.compaction.graph import dress, own, plain_trace
from lomt.compaction.liveness import liveness
from lomt.compaction.module import Compacted
from lomt.compaction.record import Compaction, widths
from lomt.compaction.slices import cut_graph, cut_layers, gathers, insert_gathers
from lomt.tracing.copying import hooked
from lomt.tracing.operations import UntraceableError
from lomt.tracing.trace import Example, Traced

_LOG = logging.getLogger("lomt")


def compact(
    module: nn.Module,
    example: Example,
    round_to: int = 1,
    *,
    gather: bool = True,
    for_training: bool = False,
    opaque: Sequence[str] = (),
) -> Compacted:
    """A smaller module with the same outputs in eval mode.

    A channel goes if nobody reads it: every convolution or linear layer behind it has only zeros for it, and nothing
    but channel-wise operations (activations, batch norm, pooling, sums, concatenations …) lies between. Its filter,
    norm entries and buffers go with it, and with them what only they have read. Whatever is not known to be
    channel-wise (layer norm, softmax, the outputs …) reads all of its input. A channel that is a constant,
    since nothing but zeros and biases makes it, goes into its readers' biases where that is exact up to the border of
    the map; a branch that is constant becomes a bias of the sum it ends in, or nothing.

    Args:
        module: any module that :mod:`torch.fx` can trace; stays as it is.
        example: one input, ``(N, C, H, W)`` as a rule, or a tuple of the arguments of ``forward``.
        round_to: channel counts are kept at multiples of this, by keeping dead channels.
        gather: a layer that reads at most three quarters of a stream's channels, of which other layers read the
            rest, gets its channels picked out first; that was measured to be faster.
        for_training: remove only what stays dead in training while zero weights are frozen: constants, which norms
            and biases go on learning, are neither folded nor cut.
        opaque: names of submodules not to look into; they stay whole, and so does what they read.

    Returns:
        A module with the same names for the layers that are left; what was removed is in its ``record``.

    Raises:
        UntraceableError: the forward of the module, or of a submodule that is named, branches on values; or, for
            training, it does other operations there than in eval mode, or masks or norms its weights by hooks.
        TypeError: the module is scripted.
        ValueError: the module does not run on the example, or ``round_to`` is not positive.
        RuntimeError: the result does not agree with the module on the example.

    >>> import torch
    >>> conv = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3))
    >>> _ = conv[2].weight.data[:, 3:].zero_()
    >>> compact(conv, torch.zeros(1, 3, 8, 8)).get_submodule("0")
    Conv2d(3, 3, kernel_size=(3, 3), stride=(1, 1))
    """
    if round_to < 1:
        raise ValueError(f"round_to is {round_to}: give 1, or the multiple that channel counts are to have, such as 8")
    if for_training and (layer := hooked(module)) is not None:
        raise UntraceableError(
            f"a hook computes the weight of {layer!r}, which a compacted network could not go on with: make it a "
            "parameter first, as with torch.nn.utils.prune.remove, or compact after training",
            layer,
        )
    traced = plain_trace(module, example, opaque)
    if for_training and traced.only_eval is not None:
        raise UntraceableError(
            f"the forward of {traced.only_eval} does other operations in training than in eval mode, which a compacted "
            "network could not go on with: name it in opaque=[...], or compact after training",
            traced.only_eval,
        )
    before = widths(traced.root)
    notes = [f"{name!r} stays whole: its forward loops over a size of its input" for name in traced.whole]
    try:
        make_writes_visible(traced.graph, traced.root)
        remove_dead_code(traced.graph)
        used = Compacted(traced.root, traced.graph).state_dict().keys()
        record = replace(_shrink(traced, round_to, gather, for_training), notes=notes)
    except AliasError as error:
        traced = plain_trace(module, example, opaque)
        used, record = {}.keys(), Compaction(notes=[*notes, f"left as it is: {error}"])
    small = own(Compacted(traced.root, traced.graph), module)
    record = record.between(before, widths(small), module, small)
    record = replace(record, gone=tuple(sorted(used - small.state_dict().keys())))
    small.record = record
    dress(small, module)
    verify(small, traced.output, example)
    _LOG.info("%s: %s", type(module).__name__, record)
    return small


def _shrink(traced: Traced, round_to: int, gather: bool, for_training: bool) -> Compaction:
    wiring: Wiring | None = None
    while True:
        wiring = wire_graph(traced.root, traced.graph, wiring)
        drop_checks_of_channels(wiring)
        known = None if for_training else constants(wiring)
        wanted = liveness(wiring, known)
        if known is None or not cut_dead_branch(wiring, known, wanted):
            break
    if known is not None:
        fold_constants(wiring, known, wanted)
    kept = keep(wiring, wanted, round_to)
    chosen = gathers(wiring, known, wanted, kept, round_to) if gather else {}
    cuts = cut_layers(wiring, kept, chosen)
    insert_gathers(wiring, kept, chosen)
    cut_graph(wiring, kept)
    return Compaction(cuts=cuts)
