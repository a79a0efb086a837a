"""Convolutions that read live input channels and write live output channels only, forward and backward."""

from lomt_kernels.conv.function import masked_conv2d, masked_conv2d_readers
from lomt_kernels.conv.gather import gather_channels
from lomt_kernels.conv.shrunk import shrunk_conv2d

__all__ = ["gather_channels", "masked_conv2d", "masked_conv2d_readers", "shrunk_conv2d"]
