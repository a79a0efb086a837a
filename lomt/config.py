"""What ``lomt run`` can be told: one dataclass, every value of it also on the command line."""

from dataclasses import dataclass, field
from pathlib import Path

from jsonargparse import lazy_instance

from lomt.data import Scenes, Source
from lomt.methods.study import Study
from lomt.models import Architecture
from lomt.selection import DeepestActive
from lomt.training.recipe import Recipe

PRESETS = Path(__file__).with_name("presets")
"""Files of values for embedded data: ``demo.yaml`` and ``quick.yaml``."""


@dataclass
class RunConfig:
    """What to run; the defaults are those of the classes, for data of yours.

    Attributes:
        out: the run's folder; the same command again goes on where it stopped.
        data: where samples come from: Scenes, NYUv2, NYUDMT or the dotted path of your own source.
        tasks: names of the tasks to learn; none given takes all that the data has.
        network: what networks are built of.
        study: what is trained and compared.
        recipe: how every network is trained.
        threads: processor threads, which rounding depends on; 0 takes those that the run began with, else torch's.
        workers: processes that train at the same time, each with one thread; figures don't depend on it.
        accelerator: auto, cpu or gpu.
    """

    out: str = "runs/lomt"
    data: Source = field(default_factory=lambda: lazy_instance(Scenes))
    tasks: list[str] = field(default_factory=list)
    network: Architecture = field(default_factory=Architecture)
    study: Study = field(default_factory=lambda: Study(rule=lazy_instance(DeepestActive)))
    recipe: Recipe = field(default_factory=Recipe)
    threads: int = 0
    workers: int = 1
    accelerator: str = "auto"


EXECUTION = ("out", "threads", "workers", "accelerator")
"""What is not for ``config.yaml`` as it is given: a run notes itself on how many threads it computes, and on what."""
