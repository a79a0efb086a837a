"""Removing what is dead, physically and exactly."""

from lomt.compaction.aliasing import AliasError
from lomt.compaction.expand import expand
from lomt.compaction.graph import as_graph
from lomt.compaction.module import Compacted
from lomt.compaction.norms import fold_norms
from lomt.compaction.record import Compaction, Cut
from lomt.compaction.shrink import compact
from lomt.compaction.training import carry_over, compact_in_training, dead_groups, freeze
from lomt.tracing.operations import UntraceableError
from lomt.tracing.proxies import OtherSizesError

__all__ = [
    "AliasError",
    "Compacted",
    "Compaction",
    "Cut",
    "OtherSizesError",
    "UntraceableError",
    "as_graph",
    "carry_over",
    "compact",
    "compact_in_training",
    "dead_groups",
    "expand",
    "fold_norms",
    "freeze",
]
