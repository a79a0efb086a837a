"""From sparsity patterns to a tap for each task: one file a rule."""

from lomt.selection.deepest_active import DeepestActive
from lomt.selection.rule import Selection, SelectionRule
from lomt.selection.rules import RULES, rule

__all__ = ["RULES", "DeepestActive", "Selection", "SelectionRule", "rule"]
