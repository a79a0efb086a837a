"""``lomt select``: choose the layers of a run anew."""

from jsonargparse import Namespace, lazy_instance

from lomt.cli.parser import Parser
from lomt.selection import DeepestActive, SelectionRule

SHOWN = 4
"""Candidates of the ranking that are printed."""


def parser() -> Parser:
    """What it can be told."""
    made = Parser(description="Choose the layers of a run anew from what it has trained; changes nothing.")
    made.add_argument("folder", type=str, help="a run's folder")
    made.add_argument("--rule", type=SelectionRule, default=lazy_instance(DeepestActive), help="patterns → tap")
    return made


def run(options: Namespace) -> None:
    """Run the command."""
    from lomt.runs import RunFolder, select

    for task, selection in select(RunFolder(options.folder), options.rule).items():
        first, last = selection["interval"] or (None, None)
        spread = f" (trials by themselves: {first} … {last})" if first != last else ""
        scores = ", ".join(f"{name} {score:.3g}" for name, score in selection["ranking"][:SHOWN])
        more = ", …" if len(selection["ranking"]) > SHOWN else ""
        print(f"{task}: {selection['tap']}{spread} – {selection['reason']} (scores: {scores}{more})")
