"""What to try against a cause: values of the config to change."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lomt.diagnosis.causes import CAPACITY, CONFLICTING, DEEP, GENERALIZATION, IMBALANCED, SHALLOW, Cause
from lomt.models import BACKBONES


@dataclass(frozen=True)
class Remedy:
    """A run to try.

    Attributes:
        what: in words.
        options: keys of the config, with dots, and their new values.
        suffix: what the new run's folder is called behind the old one's name.
    """

    what: str
    options: Mapping[str, str]
    suffix: str


@dataclass(frozen=True)
class Setting:
    """What a remedy must know of the run.

    Attributes:
        tasks: names of all tasks.
        taps: task → tap, of the network that is judged.
        balancing: in use.
        backbone: name of the backbone; one that is not built in has a width of its own.
        width: of a built-in backbone.
        decoder_width: of dense decoders.
        weight_decay: in use.
        seeds: in use.
    """

    tasks: Sequence[str]
    taps: Mapping[str, str]
    balancing: str
    backbone: str
    width: int
    decoder_width: int
    weight_decay: float
    seeds: Sequence[int]

    @classmethod
    def of(cls, config: Mapping[str, Any], tasks: Sequence[str], taps: Mapping[str, str]) -> "Setting":
        """Read it from a run's config, whichever way the run was started."""
        network, recipe, study = config["network"], config["recipe"], config["study"]
        return cls(
            tasks,
            taps,
            str(recipe["balancing"]),
            str(network["backbone"]),
            int(network["width"]),
            int(network["decoder_width"]),
            float(recipe["weight_decay"]),
            list(study["seeds"]),
        )


def remedies(task: str, cause: Cause, setting: Setting) -> list[Remedy]:
    """What to try for a task, the first thing first."""
    if cause.kind == IMBALANCED:
        return [_balance(setting)]
    if cause.kind == CONFLICTING:
        rest = [name for name in setting.tasks if name != task]
        apart = Remedy(
            f"leave {task} to a network of its own, and train the others together",
            {"tasks": _list(rest)},
            f"without-{task}",
        )
        return [_width(setting, "more channels leave room for both"), *([apart] if len(rest) > 1 else [])]
    if cause.kind in (SHALLOW, DEEP):
        taps = {**setting.taps, task: cause.tap}
        where = "{" + ", ".join(f"{name}: {tap}" for name, tap in taps.items()) + "}"
        options = {"study.methods": "[single_task, lomt]", "study.taps": where}
        return [Remedy(f"attach {task} at {cause.tap}", options, f"{task}-at-{_plain(cause.tap or '')}")]
    if cause.kind == CAPACITY:
        return [_width(setting, "more channels for all")]
    if cause.kind == GENERALIZATION:
        decay = f"{5 * setting.weight_decay:g}" if setting.weight_decay else "0.01"
        return [Remedy("stronger weight decay", {"recipe.weight_decay": decay}, f"decay-{decay}")]
    seeds = [*setting.seeds, max(setting.seeds) + 1, max(setting.seeds) + 2]
    return [Remedy("more seeds, to see whether it is chance", {"study.seeds": _list(seeds)}, f"{len(seeds)}-seeds")]


def _balance(setting: Setting) -> Remedy:
    """The geometric mean is blind to the scale of losses; where it is in use already, the task must count more."""
    if setting.balancing == "geometric":
        options = {"study.methods": "[single_task, lomt]", "study.no_task_worse_than": "0.01"}
        return Remedy("let tasks that lose more than 1 % count more, as validation says", options, "none-worse")
    return Remedy(
        f"weigh every loss by its own inverse (geometric mean; now {setting.balancing})",
        {"recipe.balancing": "geometric"},
        "geometric",
    )


def _width(setting: Setting, why: str) -> Remedy:
    if setting.backbone not in BACKBONES:
        wider = 2 * setting.decoder_width
        what = f"wider decoders, and a wider {setting.backbone} if you can"
        return Remedy(f"{what}: {why}", {"network.decoder_width": str(wider)}, f"decoder-width-{wider}")
    wider = 2 * setting.width
    return Remedy(f"a backbone twice as wide: {why}", {"network.width": str(wider)}, f"width-{wider}")


def _list(names: Sequence[object]) -> str:
    return f"[{', '.join(map(str, names))}]"


def _plain(name: str) -> str:
    return name.replace(".", "-")


def command(folder: Path, remedy: Remedy) -> str:
    """The command that tries it in a folder of its own; what was trained before stays as it is."""
    words = ["lomt", "run", "-c", str(folder / "config.yaml")]
    for key, value in remedy.options.items():
        words += [f"--{key}", value]
    return shlex.join([*words, "--out", f"{folder}-{remedy.suffix}"])
