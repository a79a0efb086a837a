"""Groups of weights, penalties with their proximal operators, proximal optimizers, and the sparsity pattern."""

from tailor.sparsity.group_lasso import GroupLasso
from tailor.sparsity.group_mcp import GroupMCP
from tailor.sparsity.groups import Axis, GroupView, channel_groups
from tailor.sparsity.parameter_groups import parameter_groups
from tailor.sparsity.pattern import LayerPattern, Pattern, pattern
from tailor.sparsity.penalties import PENALTIES
from tailor.sparsity.penalty import Penalty
from tailor.sparsity.prox_adamw import ProxAdamW
from tailor.sparsity.prox_sgd import ProxSGD
from tailor.sparsity.stabilized import Stabilized
from tailor.sparsity.strength import Choice, Point, Step, StrengthPath, excess

__all__ = [
    "PENALTIES",
    "Axis",
    "Choice",
    "GroupLasso",
    "GroupMCP",
    "GroupView",
    "LayerPattern",
    "Pattern",
    "Penalty",
    "Point",
    "ProxAdamW",
    "ProxSGD",
    "Stabilized",
    "Step",
    "StrengthPath",
    "channel_groups",
    "excess",
    "parameter_groups",
    "pattern",
]
