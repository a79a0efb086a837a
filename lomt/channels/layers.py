"""Which layers of ``torch.nn`` work within channels, and which read across them."""

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.instancenorm import _InstanceNorm

from lomt.channels.own_convolution import is_convolution
from lomt.channels.reshaping import flatten
from lomt.channels.wire import Kind, Wire, Wiring
from lomt.tracing.trace import shape_of

_ACTIVATIONS = {
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Tanh),
    *(nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Softplus, nn.Softsign, nn.LogSigmoid, nn.Tanhshrink),
    *(nn.Hardshrink, nn.Softshrink, nn.Threshold),
}
_SAME = {nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout}
_SPATIAL = {
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d),
    *(nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d),
    *(nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d),
}
_AVERAGES = {nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d}
_ZERO_PADS = {nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d, nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d}
_CONVOLUTIONS = {
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
}
_NORMS = {
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
}


def layer_wire(wiring: Wiring, node: fx.Node) -> Wire | None:
    """The wire of a ``call_module`` node; None where the layer must be taken to read everything.

    A subclass counts as its parent while it inherits ``forward`` and holds its tensors as plain parameters; a hook
    may do anything, so that a layer with one is left alone.
    """
    layer = wiring.module(node)
    kind = _known_type(layer, node)
    if kind is None or len(node.all_input_nodes) != 1 or layer._forward_hooks or layer._forward_pre_hooks:
        return None
    source = node.all_input_nodes[0]
    before, after = shape_of(source), shape_of(node)
    if before is None or after is None:
        return None
    if kind in _CONVOLUTIONS or kind is nn.Linear:
        return _reader(wiring, node, layer, source)
    if kind is nn.Flatten:
        return flatten(wiring, node, source, layer.start_dim, layer.end_dim)
    if source not in wiring:
        return None
    if kind in _ACTIVATIONS:
        return wiring.through(node, source, Kind.POINTWISE)
    if kind in _SAME:
        return wiring.through(node, source, Kind.SPATIAL)
    if wiring[source].axis != 1 or len(before) != len(after):
        return None
    return _within_channels(wiring, node, layer, kind)


def _known_type(layer: nn.Module, node: fx.Node) -> type[nn.Module] | None:
    """The class of ``torch.nn`` whose computation the layer does, if it is in one of the tables."""
    known = _ACTIVATIONS | _SAME | _SPATIAL | _AVERAGES | _ZERO_PADS | _CONVOLUTIONS | _NORMS
    known = known | {nn.Linear, nn.Flatten, nn.PReLU}
    plain = type(layer)
    if isinstance(layer, _ConvNd) and plain not in known and "forward" in vars(plain):
        shape = shape_of(node.all_input_nodes[0])
        return plain.__base__ if shape is not None and is_convolution(layer, shape) else None
    while plain not in known:
        if plain.__base__ is None or "forward" in vars(plain):
            return None
        plain = plain.__base__
    if plain in _CONVOLUTIONS | {nn.Linear} and layer._parameters.get("weight") is None:
        return None  # parametrized, or pruned by masks
    return plain


def _reader(wiring: Wiring, node: fx.Node, layer: nn.Module, source: fx.Node) -> Wire | None:
    before, after = shape_of(source) or (), shape_of(node) or ()
    axis = len(after) - 1 if isinstance(layer, nn.Linear) else 1
    if isinstance(layer, _ConvNd) and len(before) != len(layer.kernel_size) + 2:
        return None
    if source in wiring and wiring[source].axis != axis:
        return None
    return Wire(Kind.READER, axis, after[axis])


def _within_channels(wiring: Wiring, node: fx.Node, layer: nn.Module, kind: type[nn.Module]) -> Wire | None:
    source = node.all_input_nodes[0]
    batched = len(shape_of(node) or ()) > 1
    if kind in _NORMS:
        kept = isinstance(layer, _BatchNorm) and layer.running_mean is not None
        alike = isinstance(layer, _BatchNorm) or (isinstance(layer, _InstanceNorm) and not layer.track_running_stats)
        return wiring.through(node, source, Kind.POINTWISE if kept else Kind.OWN) if alike and batched else None
    if kind is nn.PReLU:
        return wiring.through(node, source, Kind.POINTWISE)
    if kind in _SPATIAL:
        return wiring.through(node, source, Kind.SPATIAL)
    if kind in _AVERAGES:
        padding = layer.padding if isinstance(layer.padding, tuple) else (layer.padding,)
        counts = any(padding) and layer.count_include_pad
        other_mean = counts or getattr(layer, "divisor_override", None) is not None
        return wiring.through(node, source, Kind.PADDED if other_mean else Kind.SPATIAL)
    if kind in _ZERO_PADS:
        return wiring.through(node, source, Kind.PADDED if layer.value == 0 else Kind.OWN)
    return None


def pads_with_zeros(layer: nn.Module) -> bool:
    """Whether a constant channel looks different to the layer at the border of the map."""
    if isinstance(layer, _ConvTransposeNd):
        return True
    if isinstance(layer, _ConvNd):
        padding = layer.padding
        if type(layer) not in _CONVOLUTIONS and "forward" in vars(type(layer)):
            return True  # who knows
        some = padding == "same" if isinstance(padding, str) else any(padding)
        return layer.padding_mode == "zeros" and some
    return False
