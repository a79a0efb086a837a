"""A network as a folder: weights as safetensors, everything else as JSON; no pickle, no code."""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, fx, nn

import tailor
from tailor.compaction import Compacted
from tailor.compaction.record import widths
from tailor.compaction.shrink import as_graph
from tailor.compaction.trace import Example, example_arguments
from tailor.export.card import model_card
from tailor.export.graphs import graph_from_list, graph_to_list
from tailor.export.layers import layer_from_dict, layer_to_dict
from tailor.export.tasks import task_from_dict, task_to_dict

FORMAT = 1
"""Version of the folder's format; every older one goes on loading."""
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"

Normalization = tuple[Sequence[float], Sequence[float]]


def save_pretrained(
    network: nn.Module,
    folder: str | Path,
    example: Example,
    normalization: Normalization | None = None,
    results: Mapping[str, Mapping[str, float]] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a network, compacted or not, so that it runs again without the code and data that it was made with.

    Args:
        network: any traceable module; a :class:`tailor.Network` keeps its tasks, taps and class names.
        folder: is made, with ``model.safetensors``, ``config.json`` and ``README.md``, a model card.
        example: an input, as for :func:`tailor.compact`.
        normalization: mean and standard deviation of the images that the network expects, in RGB units of [0, 1].
        results: rows of the model card's table: name → metric → value.
        overwrite: replace the folder's files if they exist.

    Returns:
        The folder.

    Raises:
        FileExistsError: the folder holds something already.
        TypeError: a layer, function or task has code of its own, which no file can hold; it is named.
        UntraceableError: as :func:`tailor.compact`.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not overwrite:
        raise FileExistsError(f"{folder} exists already: choose another folder, or say overwrite=True")
    graph = network if isinstance(network, Compacted) else as_graph(network, example)
    config = _config(graph, example, normalization, results)
    tensors = {name: tensor.detach().contiguous() for name, tensor in _unshared(graph).items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    written = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        save_file(tensors, written / WEIGHTS, metadata={"format": "pt"})
        (written / CONFIG).write_text(json.dumps(config, indent=1) + "\n")
        (written / CARD).write_text(model_card(config))
        folder.mkdir(exist_ok=True)
        for name in (WEIGHTS, CARD, CONFIG):
            (written / name).replace(folder / name)
    finally:
        shutil.rmtree(written, ignore_errors=True)
    return folder


def from_pretrained(folder: str | Path) -> Compacted:
    """The network that :func:`save_pretrained` wrote, in eval mode, with ``tasks``, ``taps`` and ``normalization``.

    Raises:
        FileNotFoundError: the folder, or a file of it, is not there.
        ValueError: a file is damaged, or of a newer format.
    """
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name} is missing: give a folder that save_pretrained wrote")
    try:
        config = json.loads((folder / CONFIG).read_text())
        version = int(config["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / CONFIG} is damaged ({error!r}): save the network anew") from error
    if version > FORMAT:
        raise ValueError(
            f"{folder / CONFIG} has format {version}, written by tailor {config.get('tailor')}; "
            f"this is tailor {tailor.__version__}, which reads up to {FORMAT}: update tailor"
        )
    try:
        tensors = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{folder / WEIGHTS} is damaged ({error}): save the network anew, or copy it again") from error
    return _build(config, tensors, folder)


def _config(
    graph: Compacted,
    example: Example,
    normalization: Normalization | None,
    results: Mapping[str, Mapping[str, float]] | None,
) -> dict[str, Any]:
    calls = dict.fromkeys(str(node.target) for node in graph.graph.nodes if node.op == "call_module")
    tasks, taps = getattr(graph, "tasks", []), getattr(graph, "taps", {})
    shapes = [list(value.shape) for value in example_arguments(example) if isinstance(value, Tensor)]
    mean, std = normalization or getattr(graph, "normalization", None) or (None, None)
    return {
        "format": FORMAT,
        "tailor": tailor.__version__,
        "torch": torch.__version__,
        "tasks": [task_to_dict(task) for task in tasks],
        "taps": {name: [tap] if isinstance(tap, str) else list(tap) for name, tap in taps.items()},
        "normalization": None if mean is None or std is None else {"mean": list(mean), "std": list(std)},
        "inputs": shapes,
        "widths": {name: list(pair) for name, pair in widths(graph).items()},
        "parameters": sum(p.numel() for p in graph.parameters()),
        "results": {name: dict(row) for name, row in (results or {}).items()},
        "layers": {name: layer_to_dict(name, graph.get_submodule(name)) for name in calls},
        "graph": graph_to_list(graph.graph),
    }


def _unshared(graph: Compacted) -> dict[str, Tensor]:
    """The state; a tensor that has several names is written under each of them."""
    seen: set[int] = set()
    state = {}
    for name, tensor in graph.state_dict().items():
        state[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
        seen.add(tensor.data_ptr())
    return state


def _build(config: Mapping[str, Any], tensors: Mapping[str, Tensor], folder: Path) -> Compacted:
    root = nn.Module()
    try:
        with torch.device("meta"):
            for name, state in config["layers"].items():
                _hang(root, name, layer_from_dict(state))
        graph = graph_from_list(config["graph"])
        _hang_tensors(root, graph, tensors)
        network = Compacted(root, graph)
        network.load_state_dict(dict(tensors), assign=True)
        says: Any = network  # attributes that no module declares
        says.tasks = [task_from_dict(state) for state in config["tasks"]]
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{folder / CONFIG} and {folder / WEIGHTS} do not fit together: {error}") from error
    says.taps = {name: tuple(taps) for name, taps in config["taps"].items()}
    normalization = config["normalization"]
    says.normalization = None if normalization is None else (normalization["mean"], normalization["std"])
    return network.eval()


def _hang(root: nn.Module, name: str, layer: nn.Module) -> None:
    *path, last = name.split(".")
    for part in path:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    root.add_module(last, layer)


def _hang_tensors(root: nn.Module, graph: fx.Graph, tensors: Mapping[str, Tensor]) -> None:
    """Parameters and buffers that the graph reads beside the layers: whole numbers are buffers."""
    for node in graph.nodes:
        name = str(node.target)
        if node.op != "get_attr" or name == "training":
            continue
        *path, last = name.split(".")
        holder = root
        for part in path:
            if part not in holder._modules:
                holder.add_module(part, nn.Module())
            holder = holder.get_submodule(part)
        if hasattr(holder, last):
            continue
        if tensors[name].is_floating_point():
            holder.register_parameter(last, nn.Parameter(tensors[name]))
        else:
            holder.register_buffer(last, tensors[name])
