"""What all commands' parsers are: short about what is wrong, the whole usage for ``--help``."""

import argparse
import math
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace

from lomt.cli.wording import cause, plainly
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
    """Says in a line what is wrong and what there is; the whole usage is for ``--help``."""

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self.files: dict[str, None] = {}
        """Config files that were read, in order."""

    def parse_args(self, args: Sequence[str] | None = None, *rest: Any, **how: Any) -> Namespace:  # type: ignore[override]
        """The options; a class that takes the place of a default one starts from defaults of its own."""
        words = self._joined(sys.argv[1:] if args is None else args)
        if not self.exit_on_error:  # the parser of such a class
            return super().parse_args(words, *rest, **how)
        given = super().parse_args([word for word in words if not word.startswith("--print_config")], *rest, **how)
        chosen = {
            key: {"class_path": given[key].class_path}
            for key, default in self.get_defaults().items(branches=True)
            if hasattr(default, "class_path") and given[key].class_path != default.class_path
        }
        self.set_defaults(chosen)
        return super().parse_args(words, *rest, **how)

    def instantiate(self, *args: Any, **how: Any) -> Namespace:
        """Objects in place of their names; what one of them refuses is said in its own words."""
        try:
            return super().instantiate(*args, **how)
        except ValueError as error:
            raise ValueError(cause(str(error))) from error

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say it and exit with 2."""
        if not self.exit_on_error:
            raise argparse.ArgumentError(None, message) from ex
        known = {key: [kind.__name__ for kind in kinds] for key, kinds in KINDS.items()}
        files = f" (with {', '.join(self.files)})" if self.files else ""
        prog = self.prog.replace(" [options]", "")
        print(f"error: {plainly(message, known)}{files}\nsee {prog} --help", file=sys.stderr)
        raise SystemExit(2) from ex

    def _joined(self, words: Sequence[str]) -> list[str]:
        """The values of a list in one word: ``--tasks seg depth`` is ``--tasks=[seg, depth]``."""
        joined: list[str] = []
        rest = list(words)
        while rest:
            word = rest.pop(0)
            option, equals, value = word.partition("=")
            most, least = self._values_of(option)
            values = [value] if equals else []
            while len(values) < most and rest and not re.match(r"-(?!\d)", rest[0]):
                values.append(rest.pop(0))
            if len(values) >= least and not (len(values) == 1 and re.match(r"\[|null$", values[0])):
                joined.append(f"{option}=[{', '.join(values)}]")
            else:
                joined += [word, *(values[1:] if equals else values)]
        return joined

    def _values_of(self, option: str) -> tuple[float, int]:
        """How many words may stand behind an option, and from how many on they are a list."""
        action = self._option_string_actions.get(option)
        if action is None:  # of a class that is not known yet; several words can only be a list
            positionals = any(not action.option_strings for action in self._actions)
            return (0, 2) if positionals or not re.match(r"--\w+\.", option) else (math.inf, 2)
        hint = getattr(action, "_typehint", None)
        kinds = [hint, *(kind for kind in get_args(hint) if type(None) in get_args(hint))]
        for kind in kinds:
            if get_origin(kind) is tuple:
                return len(get_args(kind)), 1
            if get_origin(kind) in (list, Sequence):
                return math.inf, 1
        return 0, 2


class ConfigFile(ActionConfigFile):
    """A YAML file of options, which has to be one."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Read it.

        Raises:
            ValueError: it is no text, no YAML, or no options; names the file.
        """
        hint = "see examples/*.yaml, or lomt run --print_config, for what a config holds"
        try:
            read = yaml.safe_load(Path(values).read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            parser.error(f"{values} is no text: {hint}")
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f", line {mark.line + 1}" if mark else ""
            parser.error(f"{values}{where} is no YAML ({getattr(error, 'problem', error)}): {hint}")
        except OSError as error:
            parser.error(f"{values} can't be read ({error.strerror}): name a YAML file")
        if not isinstance(read, dict):
            parser.error(f"{values} holds no options with values: {hint}")
        parser.files[str(values)] = None
        super().__call__(parser, namespace, values, option_string)
