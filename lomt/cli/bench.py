"""``lomt bench``: networks side by side."""

from jsonargparse import Namespace

from lomt.cli.parser import Parser


def parser() -> Parser:
    """What it can be told."""
    made = Parser(
        description="Measure saved networks side by side in one process, turn by turn: parameters, multiply-"
        "accumulates, peak memory, latency. Prints a table; --out gets bench.json and, where a model knows its "
        "Δm, a plot of quality against latency."
    )
    made.add_argument("models", type=str, nargs="+", help="runs, folders of save_pretrained, .onnx files")
    made.add_argument("--out", type=str, default="bench", help="folder for bench.json and bench.svg")
    made.add_argument("--overwrite", action="store_true", help="replace an earlier bench in --out")
    made.add_argument(
        "--backends",
        type=str,
        nargs="+",
        default=["eager", "channels_last", "bf16", "onnxruntime"],
        help="ways to run; bf16 is slow where the processor has no instructions for it",
    )
    made.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="images a pass")
    made.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads")
    made.add_argument("--repeats", type=int, default=50, help="timed rounds")
    made.add_argument("--seconds", type=float, default=10.0, help="what is slower than this in all rounds runs less")
    made.add_argument("--size", type=tuple[int, int] | None, default=None, help="height and width, else the models'")
    return made


def run(options: Namespace) -> None:
    """Run the command."""
    from lomt.evaluation.bench_table import bench_table
    from lomt.export import names_of, saved
    from lomt.runs.bench import bench_models

    how = {
        name: options[name] for name in ("size", "backends", "overwrite", "batches", "threads", "repeats", "seconds")
    }
    print(bench_table(bench_models(names_of(saved(options.models)), options.out, **how)))
    print(f"\nwritten to {options.out}")
