"""Removing what is dead, physically and exactly."""

from tailor.compaction.cuts import Cut
from tailor.compaction.expand import carry_back, expand
from tailor.compaction.inplace import AliasError
from tailor.compaction.module import Compacted
from tailor.compaction.norms import fold_norms
from tailor.compaction.record import Compaction
from tailor.compaction.shrink import as_graph, compact
from tailor.compaction.shrinking import Shrinking
from tailor.compaction.trace import UntraceableError
from tailor.compaction.tracer import OtherSizesError
from tailor.compaction.training import carry_over, compact_in_training, dead_groups, freeze

__all__ = [
    "AliasError",
    "Compacted",
    "Compaction",
    "Cut",
    "OtherSizesError",
    "Shrinking",
    "UntraceableError",
    "as_graph",
    "carry_back",
    "carry_over",
    "compact",
    "compact_in_training",
    "dead_groups",
    "expand",
    "fold_norms",
    "freeze",
]
