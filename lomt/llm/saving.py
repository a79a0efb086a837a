"""A model with routers on disk: ordinary weights that load dense anywhere, the routers beside them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import transformers
from safetensors.torch import load_file, save
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedModel

from lomt.files import read_record, write_atomically, write_record
from lomt.llm.adapters import find_ffns
from lomt.llm.moefy import attach, check_divisible
from lomt.llm.router import Settings, is_sparse, routers, settings_of
from lomt.llm.sparsify import densify, sparsify

SETTINGS = "lte.json"
ROUTERS = "lte.safetensors"


def save_pretrained(model: PreTrainedModel, folder: str | Path) -> None:
    """Write a model with routers: what its own ``save_pretrained`` writes, ``lte.safetensors`` and ``lte.json``.

    The folder loads dense, without this package, by ``AutoModelForCausalLM.from_pretrained(folder)``; with routers by
    :func:`from_pretrained`. A sparsified model is densified for the time of writing.

    Raises:
        ValueError: the model has no routers.
        NotWrittenError: the folder can't be written to.
    """
    folder = Path(folder)
    sparse = is_sparse(model)
    if sparse:
        densify(model)
    try:
        ours = {f"{name}.{key}" for name in _names(model) for key in ("weight", "bias")}
        ordinary = {key: value for key, value in model.state_dict().items() if key not in ours}
        model.save_pretrained(folder, state_dict=ordinary)
        save_routers(model, folder)
    finally:
        if sparse:
            sparsify(model)


def save_routers(model: nn.Module, folder: Path) -> None:
    """Write the routers and their settings into a folder that has, or will have, the ordinary weights."""
    tensors = {
        f"{name}.{key}": value.detach().cpu().contiguous()
        for name, router in routers(model).items()
        for key, value in router.named_parameters()
    }
    write_atomically(folder / ROUTERS, save(tensors))
    settings = dataclasses.asdict(settings_of(model))
    write_record(folder / SETTINGS, settings | {"levels": list(settings["levels"].items())})


def from_pretrained(folder: str | Path, model_class: type[PreTrainedModel] | None = None, **options: Any) -> Any:
    """Load a model with its routers, in the mode and with the threshold that it was saved with.

    Args:
        folder: of :func:`save_pretrained`, or a checkpoint of :class:`lomt.llm.LTETrainer`.
        model_class: by default the class in the folder's config.
        **options: for that class's ``from_pretrained``: ``dtype``, ….

    Raises:
        FileNotFoundError: there are no routers in the folder.
        DamagedFileError: the settings are not what was written.
        ValueError: the routers do not fit the model.
    """
    folder = Path(folder)
    settings = load_settings(folder)
    if model_class is None:
        model_class = _class_of(folder)
    model = model_class.from_pretrained(folder, **options)
    found = find_ffns(model)
    check_divisible(found, settings.expert_size)
    attach(model, settings, found)
    _load_routers(model, load_file(folder / ROUTERS), folder / ROUTERS)
    return model


def load_settings(folder: Path) -> Settings:
    """The settings in a folder that has routers.

    Raises:
        FileNotFoundError, DamagedFileError: as :func:`from_pretrained`.
    """
    if not (folder / SETTINGS).is_file() or not (folder / ROUTERS).is_file():
        raise FileNotFoundError(
            f"{folder} has no {SETTINGS} with {ROUTERS}: name a folder of lomt.llm.save_pretrained, or load the dense "
            "model with transformers and moefy it"
        )
    record = read_record(folder / SETTINGS, "save the model anew")
    return Settings(**(record | {"levels": {float(level): cut for level, cut in record["levels"]}}))


def _load_routers(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    expected = {f"{name}.{key}": value for name, one in routers(model).items() for key, value in one.named_parameters()}
    wrong = sorted(set(expected) ^ set(tensors)) or [
        name for name, value in expected.items() if value.shape != tensors[name].shape
    ]
    if wrong:
        raise ValueError(f"{path} does not fit the model ({wrong[0]}): take both from one folder of save_pretrained")
    for name, value in expected.items():
        value.data.copy_(tensors[name])


def _names(model: nn.Module) -> list[str]:
    ours = set(routers(model).values())
    return [name for name, module in model.named_modules() if module in ours]


def _class_of(folder: Path) -> type[PreTrainedModel]:
    config = AutoConfig.from_pretrained(folder)
    name = (config.architectures or ["no architecture"])[0]
    found = getattr(transformers, name, None)
    if found is None:
        raise ValueError(f"{folder} is of {name}, which transformers does not have: name the class, model_class=…")
    return found
