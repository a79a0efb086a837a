"""A network as a folder: weights as safetensors, everything else as JSON; no pickle, no code."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from lomt.compaction import Compacted
from lomt.compaction.graph import as_graph
from lomt.compaction.record import widths
from lomt.evaluation import Table
from lomt.export.building import build
from lomt.export.card import model_card, plain_results
from lomt.export.facts import VERSION, Facts, Normalization
from lomt.export.fitting import must_fit
from lomt.export.graphs import graph_to_list
from lomt.export.layers import layer_to_dict
from lomt.export.saved import saved
from lomt.files import beside
from lomt.tracing.contexts import Applied
from lomt.tracing.trace import Example, example_arguments

FORMAT = 1
"""Version of the folder's format; a released one goes on loading."""
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"


def save_pretrained(
    network: nn.Module,
    folder: str | Path,
    example: Example,
    normalization: Normalization | None = None,
    results: Mapping[str, Mapping[str, float]] | Table | None = None,
    delta_m: float | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a network, compacted or not, so that it runs again without the code and data that it was made with.

    Args:
        network: any traceable module; a :class:`lomt.Network` keeps its tasks, taps and class names.
        folder: is made, with ``model.safetensors``, ``config.json`` and ``README.md``, a model card.
        example: an input, as for :func:`lomt.compact`; the shape that :func:`lomt.prediction.predict` brings
            images to.
        normalization: mean and standard deviation of the images that the network expects, in RGB units of [0, 1].
        results: the model card's table: a :class:`lomt.evaluation.Table`, or rows: name → metric → value.
        delta_m: what the network is worth against single-task networks, in percent; ``lomt bench`` plots it.
        overwrite: replace the folder's files if they exist.

    Returns:
        The folder.

    Raises:
        FileExistsError: the folder holds something already.
        TypeError: a layer, function or task has code of its own, which no file can hold; it is named.
        ValueError: the network does not run on the example.
        UntraceableError: as :func:`lomt.compact`.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not overwrite:
        raise FileExistsError(f"{folder} exists already: choose another folder, or say overwrite=True")
    must_fit(network, example)
    code = isinstance(network, Compacted) and any(isinstance(node.target, Applied) for node in network.graph.nodes)
    whole = isinstance(network, Compacted) and not code
    graph: Any = network if whole else as_graph(network, example, inlines=True, owning=False)
    shapes = [tuple(value.shape) for value in example_arguments(example) if isinstance(value, Tensor)]
    facts = Facts.of(network, normalization=normalization, shapes=shapes, delta_m=delta_m)
    tensors, shared = _tensors(graph)
    weights = save(tensors, metadata={"format": "pt"})
    config = {
        "format": FORMAT,
        "lomt": VERSION,
        "torch": torch.__version__,
        **facts.to_dict(),
        "widths": {name: list(pair) for name, pair in widths(graph).items()},
        "parameters": sum(p.numel() for p in graph.parameters()),
        "results": plain_results(results),
        "sha256": hashlib.sha256(weights).hexdigest(),
        "shared": shared,
        "layers": {name: layer_to_dict(name, graph.get_submodule(name)) for name in _calls(graph)},
        "graph": graph_to_list(graph.graph),
    }
    card = model_card(config, results if isinstance(results, Table) else None)
    contents = {WEIGHTS: weights, CARD: card.encode(), CONFIG: (json.dumps(config, indent=1) + "\n").encode()}
    _write(folder, contents)
    return folder


def from_pretrained(folder: str | Path) -> Compacted:
    """The network that :func:`save_pretrained` wrote, in eval mode; of a run, the one that it made small at the end.

    It has the attributes ``tasks``, ``taps``, ``normalization``, ``shapes`` and ``delta_m``
    (:class:`lomt.export.facts.Facts`).

    Raises:
        FileNotFoundError: the folder, or a file of it, is not there.
        ValueError: a file is damaged, or of a newer format, or a run has exported nothing.
    """
    folder = saved([folder])[-1]
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name} is missing: give a folder that save_pretrained wrote")
    config = _config(folder / CONFIG)
    tensors = _load(folder / WEIGHTS, str(config.get("sha256")))
    try:
        network = build(config, tensors)
        Facts.from_dict(config).put_on(network)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        said = f"there is no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(
            f"{folder / CONFIG} and {folder / WEIGHTS} do not fit together, or are damaged ({said}): save the network "
            f"anew"
        ) from error
    return network


def _config(path: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = int(config["format"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error!r}): save the network anew") from error
    if version > FORMAT:
        raise ValueError(
            f"{path} has format {version}, written by lomt {config.get('lomt')}; "
            f"this is lomt {VERSION}, which reads up to {FORMAT}: update lomt"
        )
    return config


def _load(path: Path, checksum: str) -> dict[str, Tensor]:
    weights = path.read_bytes()
    try:
        tensors: dict[str, Tensor] = load(weights)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}): save the network anew, or copy it again") from error
    if hashlib.sha256(weights).hexdigest() != checksum:
        raise ValueError(
            f"{path} is damaged, or belongs to another {CONFIG} (its SHA-256 is not the one that is written there): "
            f"save the network anew, or copy both again"
        )
    return tensors


def _calls(graph: Compacted) -> list[str]:
    return list(dict.fromkeys(str(node.target) for node in graph.graph.nodes if node.op == "call_module"))


def _tensors(graph: Compacted) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The state as tensors of their own, and which parameters are another one under a second name."""
    names = {id(parameter): name for name, parameter in graph.named_parameters()}
    shared = {
        name: names[id(parameter)]
        for name, parameter in graph.named_parameters(remove_duplicate=False)
        if names[id(parameter)] != name
    }
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in graph.state_dict().items()}, shared


def _write(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write all files under other names first, then rename them: a full disk leaves what was there."""
    with beside(folder) as drafts:
        for name, content in contents.items():
            (drafts / name).write_bytes(content)
        folder.mkdir(exist_ok=True)
        for name in contents:
            (drafts / name).replace(folder / name)
