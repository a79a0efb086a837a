"""The channel graph: a module as a graph of operations, and for each value which channels come from where."""

from lomt.channels.operations import UntraceableError
from lomt.channels.readers import Outputs, Reader, output_readers
from lomt.channels.trace import Traced, trace

__all__ = ["Outputs", "Reader", "Traced", "UntraceableError", "output_readers", "trace"]
