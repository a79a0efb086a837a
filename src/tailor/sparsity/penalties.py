"""The list of penalties: a new one is its own file and a line here."""

from tailor.sparsity.group_lasso import GroupLasso
from tailor.sparsity.group_mcp import GroupMCP
from tailor.sparsity.penalty import Penalty

PENALTIES: dict[str, type[Penalty]] = {kind.name: kind for kind in (GroupLasso, GroupMCP)}
