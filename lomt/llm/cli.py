"""`lomt llm`: train a language model to be efficient, measure it, let it write."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from transformers import AutoModelForCausalLM, TrainingArguments, set_seed

from lomt.files import ready, write_atomically
from lomt.llm.gates import measure_sparsity
from lomt.llm.generation import generate
from lomt.llm.moefy import Grouping, moefy
from lomt.llm.perplexity import perplexity
from lomt.llm.router import settings_of
from lomt.llm.saving import from_pretrained, save_pretrained
from lomt.llm.sparsify import sparsify
from lomt.llm.stages import CALIBRATION, train
from lomt.llm.text import Blocks, tokenizer_of
from lomt.llm.thresholds import LEVELS, calibrate, set_sparsity


def main(argv: Sequence[str] | None = None) -> int:
    """Run `lomt llm`.

    Returns:
        0 if all went well, 2 if a file or an option makes no sense (said on stderr).
    """
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"lomt llm: {error}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lomt llm", description="Language models that learn which neurons a token needs, and read no others (LTE)."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    _add_train(commands.add_parser("train", help="teach a model to be efficient; the same command again continues"))
    _add_eval(commands.add_parser("eval", help="perplexity against sparsity"))
    _add_generate(commands.add_parser("generate", help="continue prompts"))
    return parser


def _add_train(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_train)
    command.add_argument("model", help="folder of a causal model, as transformers saves them")
    command.add_argument("texts", nargs="+", help="text files to train on")
    command.add_argument("--out", required=True, help="folder of the run; the model is in it in the end")
    command.add_argument("--sparsity", type=float, default=0.5, help="share of experts to close (default: %(default)s)")
    command.add_argument(
        "--eta", type=float, help="a fixed price of open gates, as in the paper, in place of --sparsity"
    )
    command.add_argument("--expert-size", type=int, default=32, help="neurons in an expert (default: %(default)s)")
    command.add_argument(
        "--grouping", default="kmeans", choices=[name for name in get_args(Grouping) if name != "coactivation"]
    )
    command.add_argument("--soft-steps", type=int, default=1000, help="of the first stage (default: %(default)s)")
    command.add_argument("--hard-steps", type=int, default=1000, help="of the second (default: %(default)s)")
    command.add_argument("--lr", type=float, default=5e-5, help="learning rate (default: %(default)s)")
    command.add_argument("--router-lr", type=float, default=1e-3, help="the routers' (default: %(default)s)")
    command.add_argument("--batch", type=int, default=8, help="blocks in a micro-batch (default: %(default)s)")
    command.add_argument("--accumulate", type=int, default=1, help="micro-batches in a step (default: %(default)s)")
    command.add_argument("--length", type=int, default=256, help="tokens in a block (default: %(default)s)")
    command.add_argument("--save-steps", type=int, default=200, help="between checkpoints (default: %(default)s)")
    command.add_argument("--bf16", action="store_true", help="mixed precision")
    command.add_argument("--checkpointing", action="store_true", help="compute activations twice, to save memory")
    command.add_argument("--cpu", action="store_true", help="though there is a GPU")
    command.add_argument("--seed", type=int, default=0)


def _train(arguments: argparse.Namespace) -> None:
    out = Path(arguments.out)
    ready(out)
    set_seed(arguments.seed)
    tokenizer = tokenizer_of(arguments.model)
    blocks = _blocks(tokenizer, arguments.texts, arguments.length)
    model = AutoModelForCausalLM.from_pretrained(arguments.model)
    moefy(model, arguments.expert_size, arguments.grouping, arguments.seed)
    options = {
        "output_dir": str(out),
        "learning_rate": arguments.lr,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 10,
        "per_device_train_batch_size": arguments.batch,
        "gradient_accumulation_steps": arguments.accumulate,
        "save_steps": arguments.save_steps,
        "save_total_limit": 1,
        "logging_steps": 10,
        "bf16": arguments.bf16,
        "activation_checkpointing": arguments.checkpointing,
        "use_cpu": arguments.cpu,
        "dataloader_pin_memory": torch.cuda.is_available() and not arguments.cpu,
        "report_to": [],
        "seed": arguments.seed,
    }
    price: dict[str, Any] = {"target_sparsity": arguments.sparsity}
    if arguments.eta is not None:
        price = {"eta": arguments.eta}
    train(
        model,
        TrainingArguments(**options),
        soft={"max_steps": arguments.soft_steps},
        hard={"max_steps": arguments.hard_steps},
        train_dataset=blocks,
        router_lr=arguments.router_lr,
        **price,
    )
    calibrate(model, blocks.batches(arguments.batch, CALIBRATION * arguments.batch), LEVELS)
    save_pretrained(model, out)
    if hasattr(tokenizer, "save_pretrained"):
        tokenizer.save_pretrained(out)
    print(f"written to {out}: lomt llm eval {out} TEXT, lomt llm generate {out} PROMPT")


def _add_eval(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_eval)
    command.add_argument("model", help="folder of lomt llm train, or of lomt.llm.save_pretrained")
    command.add_argument("texts", nargs="+", help="text files that the model has not seen")
    command.add_argument("--sparsity", type=float, nargs="+", help="levels (default: 0 and all that are calibrated)")
    command.add_argument("--batch", type=int, default=8, help="blocks at a time (default: %(default)s)")
    command.add_argument("--length", type=int, default=256, help="tokens in a block (default: %(default)s)")
    command.add_argument("--blocks", type=int, help="at most so many (default: all)")
    command.add_argument("--out", help="a JSON file for the numbers, too")


def _eval(arguments: argparse.Namespace) -> None:
    model = from_pretrained(arguments.model)
    blocks = _blocks(tokenizer_of(arguments.model), arguments.texts, arguments.length)
    rows = []
    print("sparsity  closed  perplexity")
    for level in arguments.sparsity or [0, *sorted(settings_of(model).levels)]:
        set_sparsity(model, level)
        shares = measure_sparsity(model, blocks.batches(arguments.batch, arguments.blocks))
        found = perplexity(model, blocks.batches(arguments.batch, arguments.blocks))
        rows.append({"sparsity": level, "closed": sum(shares.values()) / len(shares), "perplexity": found})
        print(f"{level:8.0%}  {rows[-1]['closed']:6.1%}  {found:10.4f}")
    if arguments.out:
        write_atomically(Path(arguments.out), json.dumps(rows, indent=1) + "\n")


def _add_generate(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_generate)
    command.add_argument("model", help="folder of lomt llm train, or of lomt.llm.save_pretrained")
    command.add_argument("prompts", nargs="+")
    command.add_argument("--sparsity", type=float, help="a calibrated level (default: as the model was saved)")
    command.add_argument("--tokens", type=int, default=100, help="to write (default: %(default)s)")
    command.add_argument("--sample", action="store_true", help="draw tokens, rather than take the likeliest")
    command.add_argument("--temperature", type=float, default=1.0, help="of the draw (default: %(default)s)")
    command.add_argument("--beams", type=int, default=1, help="(default: %(default)s)")
    command.add_argument("--seed", type=int, default=0, help="of the draw (default: %(default)s)")


def _generate(arguments: argparse.Namespace) -> None:
    model = from_pretrained(arguments.model)
    if arguments.sparsity is not None:
        set_sparsity(model, arguments.sparsity)
    how: dict[str, Any] = {"max_new_tokens": arguments.tokens, "num_beams": arguments.beams}
    how |= {"do_sample": True, "temperature": arguments.temperature} if arguments.sample else {"do_sample": False}
    set_seed(arguments.seed)
    for prompt, text in zip(
        arguments.prompts,
        generate(sparsify(model), tokenizer_of(arguments.model), arguments.prompts, **how),
        strict=True,
    ):
        print(f"{prompt}{text}")


def _blocks(tokenizer: Any, texts: Sequence[str], length: int) -> Blocks:
    ids: list[int] = []
    for text in texts:
        ids += tokenizer.encode(Path(text).read_text(encoding="utf-8"))
    return Blocks(ids, length)
