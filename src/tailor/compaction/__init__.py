"""Removing what is dead, physically and exactly."""

from tailor.compaction.inplace import AliasError
from tailor.compaction.module import Compacted
from tailor.compaction.record import Compaction
from tailor.compaction.shrink import compact
from tailor.compaction.trace import UntraceableError

__all__ = ["AliasError", "Compacted", "Compaction", "UntraceableError", "compact"]
