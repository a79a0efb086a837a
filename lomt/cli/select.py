"""``lomt select``: choose the layers of a run anew."""

from jsonargparse import Namespace, lazy_instance

from lomt.cli.parser import Parser
from lomt.selection import DeepestActive, SelectionRule


def parser() -> Parser:
    """What it can be told."""
    made = Parser(description="Choose the layers of a run anew from its sparse trainings; changes nothing.")
    made.add_argument("folder", type=str, help="a run's folder")
    made.add_argument("--rule", type=SelectionRule, default=lazy_instance(DeepestActive), help="patterns → tap")
    return made


def run(options: Namespace) -> None:
    """Run the command."""
    from lomt.runs import RunFolder, select

    for task, selection in select(RunFolder(options.folder), options.rule).items():
        first, last = selection["interval"] or (None, None)
        spread = f" (trials by themselves: {first} … {last})" if first != last else ""
        print(f"{task}: {selection['tap']}{spread} – {selection['reason']}")
