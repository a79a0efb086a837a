"""The list of rules: a new one is its own file and a line here."""

from typing import Any

from lomt.selection.deepest_active import DeepestActive
from lomt.selection.fixed import Fixed
from lomt.selection.mass import Mass
from lomt.selection.probe import Probe
from lomt.selection.rule import SelectionRule

RULES: dict[str, type[SelectionRule]] = {kind.name: kind for kind in (DeepestActive, Fixed, Mass, Probe)}


def rule(name: str | SelectionRule, **options: Any) -> SelectionRule:
    """A rule by its name, or a rule of your own as it is.

    Args:
        name: a key of :data:`RULES`, or a rule.
        options: what the named rule is made with.

    Raises:
        ValueError: no rule has that name.
    """
    if isinstance(name, SelectionRule):
        return name
    if name not in RULES:
        raise ValueError(f"unknown selection rule {name!r}: the rules are {', '.join(sorted(RULES))}")
    return RULES[name](**options)
