"""``lomt compact``: a trained network of a run made small anew."""

from jsonargparse import Namespace

from lomt.cli.of_run import add_trust, setup_of
from lomt.cli.parser import Parser


def parser() -> Parser:
    """What it can be told."""
    made = Parser(
        description="Remove what is dead from a trained multi-task network of a run, and save the small network in a "
        "folder that needs neither the run nor its data. A run that ends has done so with --study.round_to already."
    )
    made.add_argument("folder", type=str, help="a run's folder")
    made.add_argument("--method", type=str, default="", help="whose network; by default the study's last")
    made.add_argument("--round-to", type=int, default=1, help="keep channel counts at multiples of this, as 8 or 16")
    made.add_argument("--out", type=str, default="small", help="folder for the network")
    made.add_argument("--overwrite", action="store_true", help="write into --out even if it holds something")
    add_trust(made)
    return made


def run(options: Namespace) -> None:
    """Run the command."""
    from lomt.runs import RunFolder, compact

    folder = RunFolder(options.folder)
    setup = setup_of(folder, "lomt.runs.compact(folder, setup, out)", trust=options.trust)
    how = {name: options[name] for name in ("out", "method", "round_to", "overwrite")}
    print(f"{compact(folder, setup, **how)}\nwritten to {options.out}")
