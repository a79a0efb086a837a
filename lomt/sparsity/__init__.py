"""Groups of weights, penalties with their proximal operators, and the sparsity pattern."""

from lomt.sparsity.group_lasso import GroupLasso
from lomt.sparsity.group_mcp import GroupMCP
from lomt.sparsity.groups import Axis, GroupView, channel_groups
from lomt.sparsity.pattern import LayerPattern, Pattern, pattern
from lomt.sparsity.penalties import PENALTIES
from lomt.sparsity.penalty import Penalty
from lomt.sparsity.sparse_group_lasso import SparseGroupLasso
from lomt.sparsity.stabilized import Stabilized
from lomt.sparsity.strength import Choice, Point, Step, StrengthPath, excess

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
    "SparseGroupLasso",
    "Stabilized",
    "Step",
    "StrengthPath",
    "channel_groups",
    "excess",
    "pattern",
]
