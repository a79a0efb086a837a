"""What all commands' parsers are: short about what is wrong, the whole usage for ``--help``."""

import re
import sys
from collections.abc import Iterable
from typing import NoReturn

from jsonargparse import ArgumentParser

from lomt.data import SOURCES
from lomt.selection import RULES
from lomt.sparsity import PENALTIES

KINDS: dict[str, Iterable[type]] = {
    "data": SOURCES.values(),
    "rule": RULES.values(),
    "penalty": PENALTIES.values(),
}
"""What may stand behind the options that name a class."""


class Parser(ArgumentParser):
    """Says in a few lines what is wrong and what there is; the whole usage is for ``--help``."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say it and exit with 2."""
        unknown = re.search(r'key "([\w.]+)":.*?Expected a dot import path string: (\S+)', message, re.DOTALL)
        if unknown:
            key, name = unknown.groups()
            known = ", ".join(kind.__name__ for kind in KINDS.get(key.split(".")[-1], ()))
            words = re.search(r"Expected a typing.Literal\['(\w+)'\]", message)
            known += f", {words[1]}" if words else ""
            message = f"--{key}: unknown name {name!r} – there are {known}, or the dotted path of a class of yours"
        print(f"error: {message.strip()}\nsee {self.prog.replace(' [options]', '')} --help", file=sys.stderr)
        raise SystemExit(2) from ex
