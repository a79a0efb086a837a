"""What a user may have meant by a name that is not there."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """End of a message about an unknown name: the closest known ones, or nothing where none is close.

    Example:
        >>> did_you_mean("layer3.1.conv", ["layer1", "layer3.1.conv1"])
        " – did you mean 'layer3.1.conv1'?"
    """
    found = difflib.get_close_matches(name, list(names), n=3, cutoff=0.8)
    return f" – did you mean {' or '.join(map(repr, found))}?" if found else ""
