"""The run folder: the only state of a run."""

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from lomt.files import DamagedFileError, read_record, ready, write_atomically, write_record
from lomt.files.writing import PARTIAL
from lomt.methods.stage import AGAIN

CHECKSUM = "# sha256 of what follows: "
"""What the first line of ``config.yaml`` begins with; a config without it was written by hand and is taken as it is."""
LOCK = ".lock"
OURS = ("config.yaml", "diagnosis.json", "report.html", "stages")
"""What is in a run folder, beside hidden files."""


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

        A folder in which another command has left nothing but its config is taken over.

        Raises:
            RunFolderError: where the folder holds something else – another run, or no run – or where another
                process works here.
            NotWrittenError: where it can't be written to.
        """
        self.check(config)
        ready(self.path)
        with (self.path / LOCK).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunFolderError(f"another process works in {self.path}: wait for it, or stop it") from error
            if not self.begun():
                self._write(config)
            self.claim(config)
            yield

    def check(self, config: Mapping[str, Any]) -> None:
        """See that a run of ``config`` may begin or go on here; writes nothing.

        Raises:
            RunFolderError: as :meth:`locked`.
        """
        if not (self.path / "config.yaml").exists():
            try:
                strange = sorted(file.name for file in self.path.iterdir() if not self._is_ours(file))
            except FileNotFoundError:
                return
            except NotADirectoryError:
                strange = [self.path.name]
            if strange:
                raise RunFolderError(
                    f"{self.path} is there and is no run folder (no config.yaml, but {strange[0]}): use another --out"
                )
            return
        differences = _differences(self.config(), json.loads(json.dumps(config))) if self.begun() else []
        if differences:
            raise self._another(differences)

    def claim(self, config: Mapping[str, Any]) -> None:
        """Take the folder for ``config``, or see that it is that config's already; several processes may.

        Raises:
            RunFolderError: where the folder holds something else: another run, or no run.
        """
        self.check(config)
        if not (self.path / "config.yaml").exists():
            self._write(config)
        differences = _differences(self.config(), json.loads(json.dumps(config)))
        if differences:
            raise self._another(differences)

    def config(self) -> dict[str, Any]:
        """The config that the run was started with.

        Raises:
            RunFolderError: where this is no run folder, or the config is damaged.
        """
        file = self.path / "config.yaml"
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RunFolderError(
                f"{self.path} is no run folder: it has no config.yaml. 'lomt run --out' makes one"
            ) from error
        wrong: object = ""
        config: Any = None
        first, _, rest = text.partition("\n")
        if first.startswith(CHECKSUM) and first.removeprefix(CHECKSUM) != _checksum(rest):
            wrong = "it is not what was written, by its checksum"
        else:
            try:
                config = yaml.safe_load(text)
            except (yaml.YAMLError, RecursionError) as error:
                wrong = " ".join(str(error).split())
            if not isinstance(config, dict):
                wrong = wrong or "it is no mapping of keys to values"
        if wrong:
            remedy = "restore it, or remove it and give the very command that began the run again"
            raise RunFolderError(str(DamagedFileError(file, wrong, remedy)))
        return dict(config)

    def result(self, stage: str) -> dict[str, Any] | None:
        """What an ended stage left, or none where it has not ended.

        Raises:
            RunFolderError: where the file is damaged.
        """
        try:
            return read_record(self.stages / stage / "result.json", AGAIN)
        except FileNotFoundError:
            return None
        except DamagedFileError as error:
            raise RunFolderError(str(error)) from error

    def write_result(self, stage: str, result: Mapping[str, Any]) -> None:
        """Mark a stage as ended."""
        write_record(self.stages / stage / "result.json", result)

    def results(self) -> dict[str, dict[str, Any]]:
        """The results of all ended stages, by the stage's name."""
        names = sorted(str(file.parent.relative_to(self.stages)) for file in self.stages.rglob("result.json"))
        return {name: result for name in names if (result := self.result(name)) is not None}

    def begun(self) -> bool:
        """Whether something was computed here."""
        return any(file.is_file() and not file.name.startswith(".") for file in self.stages.rglob("*"))

    @staticmethod
    def _is_ours(file: Path) -> bool:
        return file.name in (*OURS, LOCK) or (file.name.startswith(".") and file.name.endswith(PARTIAL))

    def _write(self, config: Mapping[str, Any]) -> None:
        text = yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=False)
        write_atomically(self.path / "config.yaml", f"{CHECKSUM}{_checksum(text)}\n{text}")

    def _another(self, differences: list[str]) -> RunFolderError:
        return RunFolderError(
            f"{self.path} holds a run of another config: {'; '.join(differences)}. Use another --out, or give "
            "the first command again to go on with that run"
        )


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


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
