"""Backbones, decoders, and networks that attach each decoder where its task needs it."""

from tailor.models.architecture import Architecture
from tailor.models.catalogue import BACKBONES, DECODERS, MakeDecoder, backbone, decoder
from tailor.models.decoder import Decoder
from tailor.models.deeplab import DeepLab
from tailor.models.head import Head
from tailor.models.light import Light
from tailor.models.network import Network
from tailor.models.resnet import ResNetD
from tailor.models.taps import Tap, taps
from tailor.models.truncate import truncate

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
    "Tap",
    "backbone",
    "decoder",
    "taps",
    "truncate",
]
