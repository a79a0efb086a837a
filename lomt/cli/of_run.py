"""A run that the command line has made, as objects again."""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from lomt.cli.parser import Parser
from lomt.cli.run import FIELDS, parser, tasks_of
from lomt.config import RunConfig
from lomt.methods import Setup

if TYPE_CHECKING:
    from lomt.runs import RunFolder

DOTTED = re.compile(r"[^\W\d]\w*(\.\w+)+")
"""What a name that can be imported looks like."""


def add_trust(made: Parser) -> None:
    """The option with which a user vouches for a run."""
    made.add_argument(
        "--trust", action="store_true", help="the run's config may name code outside lomt, which then runs as you"
    )


def setup_of(folder: "RunFolder", instead: str, accelerator: str = "cpu", trust: bool = False) -> Setup:
    """The setup of a run.

    A run folder may come from anybody, and its config may name any callable that can be imported: what is not lomt's
    own is neither imported nor called without the user's word.

    Args:
        folder: of the run.
        instead: what to call where the run was made from Python, and can't make its data again.
        accelerator: where networks are to run.
        trust: whether the user has given that word.

    Raises:
        RunFolderError: there is no run, or its config is damaged.
        ValueError: it was made from Python, or names code outside lomt.
    """
    config, run = _config(folder, instead, trust), folder.path
    return Setup(
        source=config.data,
        tasks=tasks_of(config),
        backbone=config.network.make_backbone,
        decoder=config.network.make_decoder(),
        recipe=config.recipe,
        stages=run / "stages",
        accelerator=accelerator,
    )


def _config(folder: "RunFolder", instead: str, trust: bool) -> RunConfig:
    stored, file = folder.config(), folder.path / "config.yaml"
    if not isinstance(stored.get("data"), dict) or "class_path" not in stored["data"]:
        raise ValueError(
            f"{file.parent} was run from Python, and {file.name} can't make its data again: call {instead} from there"
        )
    given = {name: value for name, value in stored.items() if name in FIELDS}
    foreign = next(_foreign(given), None)
    if foreign and not trust:
        raise ValueError(
            f"{file} names code outside lomt, {foreign!r}, which would run as you: if you trust it, give --trust"
        )
    reader = parser()
    options = reader.instantiate(reader.parse_object(given))
    return RunConfig(**{name: options[name] for name in FIELDS})


def _foreign(config: object) -> Iterator[str]:
    """What a config may have imported, or read as another config, that is not lomt's own; rather one too many."""
    if isinstance(config, str):
        if ":" in config or (DOTTED.fullmatch(config) and not config.startswith("lomt.")):
            yield config
    elif isinstance(config, Mapping):
        for key, value in config.items():
            if key not in ("taps", "root"):  # names of modules of a network, and a folder
                yield from _foreign(value)
    elif isinstance(config, list):
        for one in config:
            yield from _foreign(one)
