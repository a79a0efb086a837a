"""``lomt report``: the report of a run."""

from jsonargparse import Namespace

from lomt.cli.parser import Parser


def parser() -> Parser:
    """What it can be told."""
    made = Parser(description="Write the report of a run, ended or not.")
    made.add_argument("folder", type=str, help="a run's folder")
    return made


def run(options: Namespace) -> None:
    """Run the command."""
    from lomt.runs import RunFolder, summary

    folder = RunFolder(options.folder)
    folder.config()
    print(summary(folder).report)
