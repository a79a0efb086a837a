"""A run that the command line has made, as objects again."""

from pathlib import Path

import yaml

from lomt.cli.run import FIELDS, parser, tasks_of
from lomt.config import RunConfig
from lomt.methods import Workshop


def workshop_of(run: Path, instead: str, accelerator: str = "cpu") -> Workshop:
    """The workshop of a run.

    Args:
        run: its folder.
        instead: what to call where the run was made from Python, and can't make its data again.
        accelerator: where networks are to run.

    Raises:
        ValueError: it was made from Python.
    """
    config = _config(run / "config.yaml", instead)
    return Workshop(
        source=config.data,
        tasks=tasks_of(config),
        backbone=config.network.make_backbone,
        decoder=config.network.make_decoder(),
        recipe=config.recipe,
        stages=run / "stages",
        accelerator=accelerator,
    )


def _config(file: Path, instead: str) -> RunConfig:
    if "class_path" not in yaml.safe_load(file.read_text())["data"]:
        raise ValueError(
            f"{file.parent} was run from Python, and {file.name} can't make its data again: call {instead} from there"
        )
    reader = parser()
    options = reader.instantiate(reader.parse_args(["-c", str(file)]))
    return RunConfig(**{name: options[name] for name in FIELDS})
