"""From sparsity patterns to a tap for each task: one file a rule."""

from tailor.selection.deepest_active import DeepestActive
from tailor.selection.rule import Selection, SelectionRule
from tailor.selection.rules import RULES, rule

__all__ = ["RULES", "DeepestActive", "Selection", "SelectionRule", "rule"]
