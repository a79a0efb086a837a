"""The run folder: the only state of a run."""

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from lomt.training import write_atomically


class RunFolderError(RuntimeError):
    """A run folder that can't be used as asked; the message says why and what to do."""


class RunFolder:
    """``config.yaml``, a folder a stage under ``stages/``, and ``report.html``.

    A stage has ended when its ``result.json`` is there; every file is written whole or not at all.

    Args:
        path: where the run is, or will be.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @property
    def stages(self) -> Path:
        """Where every stage has a folder of its own."""
        return self.path / "stages"

    @contextmanager
    def locked(self, config: Mapping[str, Any]) -> Iterator[None]:
        """Open the folder for a run of ``config`` and keep a second process out, however this one ends.

        Raises:
            RunFolderError: where the folder holds something else – another run, or no run – or where another
                process works here.
        """
        self.claim(config)
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunFolderError(f"another process works in {self.path}: wait for it, or stop it") from error
            yield

    def config(self) -> dict[str, Any]:
        """The config that the run was started with.

        Raises:
            RunFolderError: where this is no run folder.
        """
        file = self.path / "config.yaml"
        if not file.exists():
            raise RunFolderError(f"{self.path} is no run folder: it has no config.yaml. 'lomt run --out' makes one")
        config: dict[str, Any] = yaml.safe_load(file.read_text())
        return config

    def result(self, stage: str) -> dict[str, Any] | None:
        """What an ended stage left, or none where it has not ended.

        Raises:
            RunFolderError: where the file can't be read.
        """
        file = self.stages / stage / "result.json"
        if not file.exists():
            return None
        try:
            result: dict[str, Any] = json.loads(file.read_text())
        except ValueError as error:
            raise RunFolderError(
                f"{file} is damaged ({error}): remove it and run again to repeat that stage"
            ) from error
        return result

    def write_result(self, stage: str, result: Mapping[str, Any]) -> None:
        """Mark a stage as ended."""
        write_atomically(self.stages / stage / "result.json", json.dumps(result, indent=1))

    def results(self) -> dict[str, dict[str, Any]]:
        """The results of all ended stages, by the stage's name."""
        names = sorted(str(file.parent.relative_to(self.stages)) for file in self.stages.rglob("result.json"))
        return {name: result for name in names if (result := self.result(name)) is not None}

    def claim(self, config: Mapping[str, Any]) -> None:
        """Take the folder for ``config``, or see that it is that config's already; several processes may.

        Raises:
            RunFolderError: where the folder holds something else: another run, or no run.
        """
        config = json.loads(json.dumps(config))
        file = self.path / "config.yaml"
        if file.exists():
            differences = _differences(yaml.safe_load(file.read_text()), config)
            if differences:
                raise RunFolderError(
                    f"{self.path} holds a run of another config: {'; '.join(differences)}. Use another --out, or give "
                    "the first command again to go on with that run"
                )
            return
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise RunFolderError(f"{self.path} is there and is no run folder (no config.yaml): use another --out")
        write_atomically(file, yaml.safe_dump(config, sort_keys=False))


def _differences(old: Any, new: Any, key: str = "") -> list[str]:
    """``key: old → new`` for every leaf that differs.

    A value that an older version did not know is no difference as long as it asks for nothing: 0, no, none.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return [
            line
            for name in dict.fromkeys([*old, *new])
            for line in _differences(old.get(name), new.get(name), f"{key}.{name}" if key else str(name))
        ]
    return [] if old == new or (old is None and not new) else [f"{key} was {old!r}, now {new!r}"]
