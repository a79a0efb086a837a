"""`lomt llm`: train a language model to be efficient, measure it, let it write."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

OUT = "runs/llm"

STORY = """\
without a model and texts, on the embedded ones, in under ten minutes on two cores:
  lomt llm train                      a small LLaMA over bytes learns Python's standard library, then to be efficient
  lomt llm eval                       its perplexity on files that it has not seen, against sparsity
  lomt llm bench                      tokens per second, dense and sparse; one this small is not bound by its weights,
  lomt llm bench --tinyllama 4        so the same for random weights of TinyLlama's size, 4 layers of its 22
  lomt llm generate 'def main('       what it writes

with your own:
  lomt llm train TEXT… --model FOLDER --out DIR
  lomt llm eval TEXT… --model DIR

lomt llm COMMAND --help says what a command can be told."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `lomt llm`.

    Returns:
        0 if all went well, 2 if a file or an option makes no sense (said on stderr).
    """
    arguments = parser().parse_args(argv)
    try:
        getattr(import_module("lomt.llm.commands"), arguments.command)(arguments)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"lomt llm: {error}\n")
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """What it can be told."""
    made = argparse.ArgumentParser(
        prog="lomt llm",
        description="Language models that learn which neurons a token needs, and read no others (LTE).",
        epilog=STORY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (add, text) in {
        "train": (_add_train, "teach a model to be efficient; the same command again continues"),
        "eval": (_add_eval, "perplexity against sparsity"),
        "bench": (_add_bench, "tokens per second against sparsity"),
        "generate": (_add_generate, "continue prompts"),
    }.items():
        add(commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}."))
    return made


def _add_train(command: argparse.ArgumentParser) -> None:
    command.add_argument("texts", nargs="*", metavar="TEXT", help="files to train on (default: the standard library's)")
    command.add_argument(
        "--model",
        metavar="FOLDER",
        help="a causal model, as transformers saves them; the default is the embedded one, which is trained first",
    )
    command.add_argument("--out", default=OUT, help="folder of the run, and of the model (default: %(default)s)")
    goal = command.add_argument_group("what is wanted")
    goal.add_argument("--sparsity", type=float, default=0.5, help="share of experts to close (default: %(default)s)")
    goal.add_argument("--eta", type=float, help="a fixed price of open gates, as in the paper, in place of --sparsity")
    goal.add_argument(
        "--several", action="store_true", help="second stage at 30 to 90 %%, a step each: one model for several speeds"
    )
    goal.add_argument("--expert-size", type=int, default=32, help="neurons in an expert (default: %(default)s)")
    goal.add_argument(
        "--grouping", default="kmeans", choices=["kmeans", "random"], help="of neurons (default: %(default)s)"
    )
    how = command.add_argument_group("training; where two defaults are given, the second is the embedded model's")
    how.add_argument("--pretrain-steps", type=int, default=1500, help="embedded model only (default: %(default)s)")
    how.add_argument("--soft-steps", type=int, help="of the first stage (default: 500; 150)")
    how.add_argument("--hard-steps", type=int, help="of the second (default: 1500; 1050)")
    how.add_argument("--lr", type=float, help="learning rate (default: 5e-5; 2e-3)")
    how.add_argument("--router-lr", type=float, help="the routers' (default: 1e-3; 3e-3)")
    how.add_argument("--batch", type=int, default=8, help="blocks in a micro-batch (default: %(default)s)")
    how.add_argument("--accumulate", type=int, default=1, help="micro-batches in a step (default: %(default)s)")
    how.add_argument("--length", type=int, help="tokens in a block (default: 256; 128)")
    how.add_argument("--save-steps", type=int, default=100, help="between checkpoints (default: %(default)s)")
    how.add_argument("--bf16", action="store_true", help="mixed precision")
    how.add_argument("--checkpointing", action="store_true", help="compute activations twice, to save memory")
    how.add_argument("--cpu", action="store_true", help="though there is a GPU")
    how.add_argument("--threads", type=int, help="of the processor (default: torch's)")
    how.add_argument("--seed", type=int, default=0, help="of everything random (default: %(default)s)")


def _add_eval(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "texts", nargs="*", metavar="TEXT", help="files that it has not seen (default: held-out ones of the library)"
    )
    _add_model(command)
    _add_levels(command)
    command.add_argument("--batch", type=int, default=8, help="blocks at a time (default: %(default)s)")
    command.add_argument("--length", type=int, default=128, help="tokens in a block (default: %(default)s)")
    command.add_argument(
        "--blocks", type=int, default=400, help="at most so many, evenly spaced (default: %(default)s)"
    )
    command.add_argument("--out", help="a JSON file for the numbers, too")


def _add_bench(command: argparse.ArgumentParser) -> None:
    _add_model(command)
    _add_levels(command)
    command.add_argument(
        "--tinyllama", type=int, metavar="LAYERS", help="random weights of TinyLlama's size, so many layers, no --model"
    )
    command.add_argument(
        "--rounds", type=int, default=30, help="tokens that each side is timed for (default: %(default)s)"
    )
    command.add_argument("--threads", type=int, nargs="+", default=[1], help="of the processor (default: 1)")
    command.add_argument("--out", help="a JSON file for the numbers, too")


def _add_generate(command: argparse.ArgumentParser) -> None:
    command.add_argument("prompts", nargs="+", metavar="PROMPT")
    _add_model(command)
    command.add_argument("--sparsity", type=float, help="a calibrated level (default: as the model was saved)")
    command.add_argument("--tokens", type=int, default=100, help="to write (default: %(default)s)")
    command.add_argument("--sample", action="store_true", help="draw tokens, rather than take the likeliest")
    command.add_argument("--temperature", type=float, default=1.0, help="of the draw (default: %(default)s)")
    command.add_argument("--beams", type=int, default=1, help="texts that are followed (default: %(default)s)")
    command.add_argument("--seed", type=int, default=0, help="of the draw (default: %(default)s)")


def _add_model(command: Any) -> None:
    command.add_argument(
        "--model", default=OUT, metavar="FOLDER", help="of lomt llm train, or of save_pretrained (default: %(default)s)"
    )


def _add_levels(command: Any) -> None:
    command.add_argument("--sparsity", type=float, nargs="+", help="levels (default: 0 and all that are calibrated)")
