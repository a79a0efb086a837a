"""``lomt diagnose``: why tasks lose in multi-task training."""

from jsonargparse import Namespace

from lomt.checks import check_whole
from lomt.cli.of_run import add_trust, setup_of
from lomt.cli.parser import Parser


def parser() -> Parser:
    """What it can be told."""
    made = Parser(description="Find out which task loses in multi-task training, why, and what to try.")
    made.add_argument("folder", type=str, help="a run's folder")
    made.add_argument(
        "--methods", type=str, default="", help="whose networks to judge, comma-separated; by default all of the run"
    )
    made.add_argument("--threads", type=int, default=0, help="processor threads; 0 leaves the choice to torch")
    made.add_argument("--accelerator", type=str, default="auto", help="auto, cpu or gpu")
    add_trust(made)
    return made


def run(options: Namespace) -> None:
    """Run the command."""
    import torch

    from lomt.diagnosis import describe
    from lomt.runs import RunFolder, diagnose, summary, trained

    folder = RunFolder(options.folder)
    methods = tuple(filter(None, options.methods.split(",")))
    trained(folder).of(methods)  # what can't be judged is said before any data is read
    check_whole("threads", options.threads)
    if options.threads:
        torch.set_num_threads(options.threads)
    setup = setup_of(folder, "lomt.runs.diagnose(folder, setup)", options.accelerator, options.trust)
    print(describe(diagnose(folder, setup, methods=methods)))
    print(f"\nreport: {summary(folder).report}")
