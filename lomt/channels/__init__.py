"""The channel graph: for each value of a traced module, which of its channels come from where, and who reads them."""

from lomt.channels.readers import Outputs, Reader, output_readers

__all__ = ["Outputs", "Reader", "output_readers"]
