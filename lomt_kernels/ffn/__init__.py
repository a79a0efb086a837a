"""Feed-forward networks that read the weights of active blocks of neurons only."""

from lomt_kernels.ffn.function import sparse_ffn
from lomt_kernels.ffn.packing import pack_ffn, unpack_ffn

__all__ = ["pack_ffn", "sparse_ffn", "unpack_ffn"]
