"""Layers that drop into other people's networks: they skip channels that are dead, and compute the same."""

from lomt.nn.converting import convert, freeze, plain, thaw
from lomt.nn.masked_conv2d import MaskedConv2d
from lomt.nn.tap_selector import TapSelector

__all__ = ["MaskedConv2d", "TapSelector", "convert", "freeze", "plain", "thaw"]
