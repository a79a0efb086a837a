"""Backbones, decoders, and networks that attach each decoder where its task needs it."""

from lomt.models.architecture import Architecture
from lomt.models.catalogue import BACKBONES, DECODERS, MakeDecoder, backbone, decoder
from lomt.models.decoder import Decoder
from lomt.models.deeplab import DeepLab
from lomt.models.head import Head
from lomt.models.light import Light
from lomt.models.network import Network
from lomt.models.resnet import ResNetD
from lomt.models.selecting import SelectingNetwork
from lomt.models.taps import Tap, taps
from lomt.models.truncate import truncate

__all__ = [
    "BACKBONES",
    "DECODERS",
    "Architecture",
    "Decoder",
    "DeepLab",
    "Head",
    "Light",
    "MakeDecoder",
    "Network",
    "ResNetD",
    "SelectingNetwork",
    "Tap",
    "backbone",
    "decoder",
    "taps",
    "truncate",
]
