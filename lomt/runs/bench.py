"""Saved models, measured side by side: what is behind ``lomt bench``."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lomt.evaluation.backends import BACKENDS
from lomt.evaluation.bench import Bench, bench, check_settings
from lomt.evaluation.bench_table import bench_table
from lomt.export import contenders
from lomt.files import ready, write_atomically
from lomt.report.bench import as_file, bench_plot


def bench_models(
    models: Mapping[str, nn.Module | str | Path],
    out: str | Path,
    *,
    size: tuple[int, int] | None = None,
    backends: Sequence[str] = tuple(BACKENDS),
    overwrite: bool = False,
    **how: Any,
) -> Bench:
    """Measure networks, folders of ``save_pretrained`` and ONNX files, and write what was found.

    ``out`` gets ``bench.json``, ``bench.md`` and, where the Δm of a model is known, ``bench.svg``.

    Args:
        models: by the names that the table shows; :func:`lomt.export.names_of` finds some for paths.
        out: a folder, which is made.
        size: height and width of the images; by default those that the models were made for.
        overwrite: whether what an earlier bench left in ``out`` may be replaced.
        backends: ways to run, of :data:`lomt.evaluation.BACKENDS`.
        how: what :func:`lomt.evaluation.bench` takes beside: batches, threads, repeats, warmup, seconds, progress.

    Raises:
        FileExistsError: ``out`` holds an earlier bench.
        NotWrittenError: ``out`` can't be written to.
        FileNotFoundError: a path leads nowhere.
        ValueError: a file is damaged, or the models were made for different sizes and none is given.
    """
    out = Path(out)
    if (out / "bench.json").exists() and not overwrite:
        raise FileExistsError(
            f"{out / 'bench.json'} exists already: choose another folder with --out, or overwrite it (--overwrite)"
        )
    counts = [how[name] for name in ("repeats", "warmup") if name in how]
    check_settings(backends, how.get("batches", (1,)), how.get("threads", (1,)), *counts)
    with tempfile.TemporaryDirectory(prefix="lomt-bench-") as folder:
        known = contenders(
            models,
            folder,
            None if size is None else torch.zeros(1, 3, *size),
            export="onnxruntime" in backends,
        )
        shapes = {name: tuple(one.example) for name, one in known.items() if one.example}
        if size is None and len(set(shapes.values())) != 1:
            said = ", ".join(f"{name}: {shape}" for name, shape in shapes.items()) or "unknown"
            raise ValueError(
                f"the models were not made for one shape of images ({said}): give a size, height and width"
            )
        ready(out)
        example = torch.zeros(1, 3, *size) if size else torch.zeros(1, *next(iter(shapes.values()))[1:])
        found = bench(known, example.normal_(generator=torch.Generator().manual_seed(0)), backends=backends, **how)
    write_atomically(out / "bench.json", json.dumps(found.to_dict(), indent=1) + "\n")
    write_atomically(out / "bench.md", bench_table(found) + "\n")
    picture = bench_plot(found)
    if picture is not None:
        write_atomically(out / "bench.svg", as_file(picture))
    return found
