"""jsonargparse's messages in one line: the option, its value, what was expected."""

import re
from collections.abc import Mapping, Sequence

EXPECTED = {
    "<class 'int'>": "a whole number",
    "<class 'float'>": "a finite number",
    "<class 'bool'>": "true or false",
    "<class 'str'>": "a text",
    "<class 'list'>": "a list",
    "<class 'tuple'>": "two numbers, such as 96 128",
    "<class 'collections.abc.Sequence'>": "a list",
    "<class 'collections.abc.Mapping'>": "names with values, such as {seg: 1}",
}
"""Types, in the words of people who don't write Python."""

KIND = r"<class '[\w.]+'>"
LITERAL = r"typing\.Literal\[(.*?)\]"


def plainly(message: str, known: Mapping[str, Sequence[str]]) -> str:
    """What is wrong with an option.

    Args:
        message: of jsonargparse, a tree of indented lines.
        known: names of classes that stand behind options, by the last part of the option's name.
    """
    keys: list[str] = []
    for key in re.findall(r'Parser key "([\w.]+)":', message):
        keys += [] if key in keys else [key]
    option = "--" + ".".join(keys)
    found = re.search(r"Expected a dot import path string: (\S+)", message)
    if found:
        words = [word for literal in dict.fromkeys(re.findall(LITERAL, message)) for word in _words(literal)]
        there = ", ".join([*known.get(keys[-1].split(".")[-1], ()), *words])
        end = (
            f"there are {there}, or the dotted path of a class of yours" if there else "use the dotted path of a class"
        )
        return f"{option}: unknown name {found[1]!r} – {end}"
    innermost = re.search(rf"Expected a ({KIND}|{LITERAL})\. Got value: (.*)", message)
    value = innermost[3] if innermost else next(iter(re.findall(r"Given value: (.*)", message)), None)
    kinds = [innermost[1]] if innermost else [found[0] for found in re.finditer(f"{KIND}|{LITERAL}", message)]
    if value is not None and kinds:
        return f"{option} is {value}: use {' or '.join(_said(kind) for kind in dict.fromkeys(kinds))}"
    lines = map(str.strip, message.splitlines())
    said = " ".join(line for line in lines if not line.startswith(("Parser key", "Problem with")))
    return f"{option}: {said}" if keys else said


def _said(kind: str) -> str:
    literal = re.fullmatch(LITERAL, kind)
    return f"one of {', '.join(_words(literal[1]))}" if literal else EXPECTED.get(kind, kind)


def _words(literal: str) -> list[str]:
    return [word.strip("'") for word in literal.split(", ")]


def cause(message: str) -> str:
    """What the classes themselves said, where an object could be of several kinds and was refused by all."""
    if not message.startswith("Does not validate against any of the Union subtypes"):
        return message
    errors = re.findall(r"^  - (.*)$", message, re.MULTILINE)
    return "; ".join(error for error in errors if not error.startswith("Expected a ")) or message
