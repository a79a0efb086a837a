"""What the commands of `lomt llm` do; their options are in ``cli.py``."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, set_seed
from transformers.utils.logging import disable_progress_bar

from lomt.checks import check_whole
from lomt.files import read_record, ready, write_atomically, write_record
from lomt.llm.corpus import library_tokens
from lomt.llm.gates import measure_sparsity
from lomt.llm.generation import generate as continue_prompts
from lomt.llm.moefy import moefy
from lomt.llm.perplexity import perplexity
from lomt.llm.progress import DenseWithBar, EfficientWithBar, SeveralWithBar
from lomt.llm.recipe import HARD, LR, ROUTER_LR, SOFT, training_arguments
from lomt.llm.router import settings_of
from lomt.llm.saving import from_pretrained, save_pretrained
from lomt.llm.sparsify import sparsify
from lomt.llm.speed import bytes_limit, decode_times, random_llama, sides_of, twin
from lomt.llm.stages import CALIBRATION
from lomt.llm.stages import train as train_stages
from lomt.llm.text import Blocks, ByteTokenizer, tokenizer_of
from lomt.llm.thresholds import LEVELS, calibrate, set_sparsity
from lomt.llm.tiny import LENGTH, pretrain

GIVEN: dict[str, Any] = {"soft_steps": 500, "hard_steps": 1500, "lr": 5e-5, "router_lr": 1e-3, "length": 256}
EMBEDDED: dict[str, Any] = {
    "soft_steps": SOFT, "hard_steps": HARD, "lr": LR, "router_lr": ROUTER_LR, "length": LENGTH,
}  # fmt: skip
"""Defaults for a model that is given, and for the embedded one."""

SETTINGS = "train.json"
"""What a run was started with; the same again continues it."""


def train(arguments: Namespace) -> None:
    """Pretrain the embedded model, or take one; both stages; calibrate; save."""
    if arguments.model is not None and not arguments.texts:
        raise ValueError(f"{arguments.model} has no text to train on: name files before --model")
    if arguments.several and arguments.eta is not None:
        raise ValueError("--several is for sparsities, and --eta sets a price: leave one of them out")
    if not 0 < arguments.sparsity < 1:
        raise ValueError(f"--sparsity is {arguments.sparsity}: use a share of experts above 0 and below 1")
    for name, value in (EMBEDDED if arguments.model is None else GIVEN).items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    for name in ("pretrain_steps", "soft_steps", "hard_steps", "batch", "accumulate", "save_steps"):
        check_whole(f"--{name.replace('_', '-')}", getattr(arguments, name), 1)
    disable_progress_bar()
    out = Path(arguments.out)
    ready(out)
    settings = {key: value for key, value in vars(arguments).items() if key not in ("command", "threads", "out")}
    _check_same(out / SETTINGS, settings)
    if arguments.threads is not None:
        check_whole("--threads", arguments.threads, 1)
        torch.set_num_threads(arguments.threads)
    model, tokenizer = _dense(arguments, out)
    blocks = Blocks(_tokens(tokenizer, arguments.texts, "train"), arguments.length)
    moefy(model, arguments.expert_size, arguments.grouping, arguments.seed)
    write_record(out / SETTINGS, settings)
    set_seed(arguments.seed)
    price = {"target_sparsity": arguments.sparsity} if arguments.eta is None else {"eta": arguments.eta}
    options = {
        "learning_rate": arguments.lr,
        "per_device_train_batch_size": arguments.batch,
        "gradient_accumulation_steps": arguments.accumulate,
        "bf16": arguments.bf16,
        "activation_checkpointing": arguments.checkpointing,
    }
    train_stages(
        model,
        training_arguments(out, arguments.hard_steps, **options, **_shared(arguments)),
        soft={"max_steps": arguments.soft_steps},
        trainer=SeveralWithBar if arguments.several else EfficientWithBar,
        train_dataset=blocks,
        router_lr=arguments.router_lr,
        **price,
    )
    calibrate(model, blocks.thinned(CALIBRATION * 8).batches(8), sorted({*LEVELS, *settings_of(model).levels}))
    if arguments.several:
        set_sparsity(model, arguments.sparsity)
    save_pretrained(model, out)
    if hasattr(tokenizer, "save_pretrained"):
        tokenizer.save_pretrained(out)
    print(f"written to {out}: lomt llm eval, bench and generate take --model {out}")


def eval(arguments: Namespace) -> None:  # noqa: A001 – the command's name
    """Print perplexity against sparsity."""
    model = _load(arguments.model)
    check_whole("--blocks", arguments.blocks, 1)
    blocks = Blocks(_tokens(tokenizer_of(arguments.model), arguments.texts, "test"), arguments.length)
    blocks = blocks.thinned(arguments.blocks)
    rows = []
    print("sparsity  closed  perplexity")
    for level in _levels(arguments, model):
        set_sparsity(model, level)
        shares = measure_sparsity(model, blocks.batches(arguments.batch))
        found = perplexity(model, blocks.batches(arguments.batch))
        rows.append({"sparsity": level, "closed": sum(shares.values()) / len(shares), "perplexity": found})
        print(f"{level:8.0%}  {rows[-1]['closed']:6.1%}  {found:10.4f}", flush=True)
    _write(arguments.out, rows)


def bench(arguments: Namespace) -> None:
    """Print tokens per second against sparsity, all sides taking turns."""
    if arguments.tinyllama is not None:
        check_whole("--tinyllama", arguments.tinyllama, 1)
        levels = arguments.sparsity or [0.5, 0.8]
        dense, sparse = random_llama([level for level in levels if level], num_hidden_layers=arguments.tinyllama)
    else:
        sparse = _load(arguments.model)
        levels = _levels(arguments, sparse)
        dense = twin(sparse)
        for level in levels:
            set_sparsity(sparse, level)  # says what is not calibrated before anything is timed
        settings_of(dense).mode = "dense"
        sparsify(sparse)
    levels = [level for level in levels if level]
    prompt = torch.randint(dense.config.vocab_size, (1, 32), generator=torch.Generator().manual_seed(0))
    rows = []
    for threads in arguments.threads:
        check_whole("--threads", threads, 1)
        torch.set_num_threads(threads)
        times = decode_times(sides_of(dense, sparse, levels), prompt, arguments.rounds)
        limits = dict(zip(times, [1.0, 1.0, *(bytes_limit(dense, level) for level in levels)], strict=True))
        print(
            f"{threads} thread{'s' if threads > 1 else ''}\n{'experts closed':>16}  tokens/s  times dense  bytes' limit"
        )
        for name, seconds in times.items():
            what = "dense, torch" if name == "dense" else name
            print(f"{what:>16}  {1 / seconds:8.1f}  {times['dense'] / seconds:11.2f}  {limits[name]:12.2f}")
        rows.append({"threads": threads, "seconds a token": times, "limits": limits})
    _write(arguments.out, rows)


def generate(arguments: Namespace) -> None:
    """Print what follows prompts."""
    model = _load(arguments.model)
    if arguments.sparsity is not None:
        set_sparsity(model, arguments.sparsity)
    how: dict[str, Any] = {"max_new_tokens": arguments.tokens, "num_beams": arguments.beams}
    how |= {"do_sample": True, "temperature": arguments.temperature} if arguments.sample else {"do_sample": False}
    set_seed(arguments.seed)
    texts = continue_prompts(sparsify(model), tokenizer_of(arguments.model), arguments.prompts, **how)
    for prompt, text in zip(arguments.prompts, texts, strict=True):
        print(f"{prompt}{text}")


def _check_same(file: Path, settings: dict[str, Any]) -> None:
    """Raise ``ValueError`` where a run was started with other settings."""
    if not file.is_file():
        return
    before = read_record(file, "choose another --out")
    for name, value in settings.items():
        if before.get(name) != value:
            was, option = before.get(name), f"--{name.replace('_', '-')}"
            raise ValueError(f"{file.parent} has a run with {option} {was}, this is with {value}: choose another --out")


def _shared(arguments: Namespace) -> dict[str, Any]:
    return {
        "save_steps": arguments.save_steps,
        "use_cpu": arguments.cpu,
        "dataloader_pin_memory": torch.cuda.is_available() and not arguments.cpu,
        "seed": arguments.seed,
    }


def _dense(arguments: Namespace, out: Path) -> tuple[PreTrainedModel, Any]:
    if arguments.model is not None:
        return AutoModelForCausalLM.from_pretrained(arguments.model), tokenizer_of(arguments.model)
    steps = arguments.pretrain_steps
    return pretrain(out / "base", steps, trainer=DenseWithBar, **_shared(arguments)), ByteTokenizer()


def _load(folder: str) -> PreTrainedModel:
    disable_progress_bar()
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder} is not there: lomt llm train --out {folder} makes it")
    model: PreTrainedModel = from_pretrained(folder).eval().requires_grad_(False)
    return model


def _levels(arguments: Namespace, model: PreTrainedModel) -> list[float]:
    return arguments.sparsity or [0, *sorted(settings_of(model).levels)]


def _tokens(tokenizer: Any, texts: Sequence[str], split: Any) -> Sequence[int] | Tensor:
    """Of files, one after the other; without files, of the standard library's."""
    if not texts:
        tokens = library_tokens(split)
        return (
            tokens
            if isinstance(tokenizer, ByteTokenizer)
            else tokenizer.encode(ByteTokenizer().decode(tokens.tolist()))
        )
    ids: list[int] = []
    for text in texts:
        ids += tokenizer.encode(Path(text).read_text(encoding="utf-8"))
    return ids


def _write(file: str | None, rows: list[dict[str, Any]]) -> None:
    if file is not None:
        write_atomically(Path(file), json.dumps(rows, indent=1) + "\n")
