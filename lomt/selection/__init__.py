"""From sparsity patterns to a tap for each task, one file a rule; and the path on which a network selects by itself."""

from lomt.selection.deepest_active import DeepestActive
from lomt.selection.fixed import Fixed
from lomt.selection.mass import Mass
from lomt.selection.probe import Probe
from lomt.selection.rule import Selection, SelectionRule
from lomt.selection.rules import RULES, rule
from lomt.selection.tap_path import TapPath
from lomt.selection.tap_search import TapSearch

__all__ = [
    "RULES",
    "DeepestActive",
    "Fixed",
    "Mass",
    "Probe",
    "Selection",
    "SelectionRule",
    "TapPath",
    "TapSearch",
    "rule",
]
