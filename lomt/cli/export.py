"""``lomt export``: networks as ONNX files."""

from jsonargparse import Namespace

from lomt.cli.of_run import add_trust, setup_of
from lomt.cli.parser import Parser


def parser() -> Parser:
    """What it can be told."""
    made = Parser(
        description="Write networks as ONNX files, normalization inside, and check each in ONNX Runtime. Prints the "
        "largest error of every output."
    )
    made.add_argument("models", type=str, nargs="+", help="runs, folders of save_pretrained")
    made.add_argument("--out", type=str, default="onnx", help="folder for the files")
    made.add_argument("--overwrite", action="store_true", help="replace files of the same names in --out")
    made.add_argument(
        "--int8", action="store_true", help="of one run: 8-bit files too, calibrated and measured on the run's data"
    )
    add_trust(made)
    return made


def run(options: Namespace) -> None:
    """Run the command."""
    from lomt.runs import RunFolder
    from lomt.runs.export import export

    source = None
    if options.int8:
        if len(options.models) > 1:
            raise ValueError(f"--int8 wants one run, for its data, not {len(options.models)} models: call it for each")
        instead = "lomt.runs.export.export(paths, out, source)"
        source = setup_of(RunFolder(options.models[0]), instead, trust=options.trust).source
        source.setup("fit")
    for done in export(options.models, options.out, source, options.overwrite):
        print(done, flush=True)
