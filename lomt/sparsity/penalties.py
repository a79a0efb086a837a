"""The list of penalties: a new one is its own file and a line here."""

from lomt.sparsity.group_lasso import GroupLasso
from lomt.sparsity.group_mcp import GroupMCP
from lomt.sparsity.penalty import Penalty
from lomt.sparsity.sparse_group_lasso import SparseGroupLasso

PENALTIES: dict[str, type[Penalty]] = {kind.name: kind for kind in (GroupLasso, GroupMCP, SparseGroupLasso)}
