"""What is installed only when asked for, and the one line that says how to ask."""

from importlib.util import find_spec

NAMES = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}
"""Modules that their distribution calls otherwise."""


class MissingExtraError(ImportError):
    """Something needs an extra of this package that is not installed; the message has the command that installs it."""


def need(what: str, extra: str, *modules: str) -> None:
    """Make sure that modules are installed, without importing them.

    Args:
        what: what needs them, in the message.
        extra: the extra that brings them.
        modules: their names.

    Raises:
        MissingExtraError: one is not there.

    Example:
        >>> need("training", "train", "no_such_module")
        Traceback (most recent call last):
        ...
        lomt.extras.MissingExtraError: training needs no_such_module: pip install 'lomt-kernels[train]'
    """
    missing = [NAMES.get(name, name) for name in modules if find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"{what} needs {', '.join(missing)}: pip install 'lomt-kernels[{extra}]'")
