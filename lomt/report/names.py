"""Methods, metrics and figures as a reader calls them."""

import math
from collections.abc import Iterable, Sequence

from lomt.evaluation.table import COMPACTED

SINGLE, CONVENTIONAL, TAILORED, SPARSE = "single_task", "multi_task", "lomt", "sparse"
THIN, SMALL = "sparse_multi_task", "sparse_lomt"
SELECTED, SEARCH = "selector", "selector/search"

METHODS = {
    SINGLE: "single-task",
    CONVENTIONAL: "conventional multi-task",
    THIN: "conventional, sparse",
    TAILORED: "tailored (LOMT)",
    SMALL: "tailored, sparse",
    SPARSE: "sparse single-task",
    SELECTED: "tailored by selection",
    SEARCH: "selecting",
}

NETWORKS = {
    CONVENTIONAL: "conventional multi-task network",
    THIN: "sparse conventional network",
    TAILORED: "tailored network",
    SMALL: "sparse tailored network",
    SELECTED: "network tailored by selection",
    SEARCH: "selecting network",
}

METRICS = {
    "pixel_accuracy": "pixel accuracy",
    "delta1": "δ < 1.25",
    "delta2": "δ < 1.25²",
    "delta3": "δ < 1.25³",
    "mean_angle": "mean angle",
    "median_angle": "median angle",
    "within_11.25": "within 11.25°",
    "within_22.5": "within 22.5°",
    "within_30": "within 30°",
    "ODS_F": "ODS-F",
    "R2": "R²",
}


STATES = ("penalized", COMPACTED.removeprefix(", "))
"""What a method's network may be besides: on its way to be sparse, or made small."""

OTHERS = 6
"""Colours for methods that are new here; with more of them, colours come again."""


def method_name(method: str) -> str:
    """What the reader calls a method, or what one leaves on its way; one that is new here keeps its own name.

    Example:
        >>> method_name("lomt"), method_name("sparse_lomt, penalized"), method_name("adaptive_sharing")
        ('tailored (LOMT)', 'tailored, sparse, penalized', 'adaptive sharing')
    """
    name, comma, state = method.partition(", ")
    return METHODS.get(name, name.replace("_", " ")) + comma + state


def network_name(method: str) -> str:
    """A method's network within a sentence.

    Example:
        >>> network_name("sparse_lomt"), network_name("adaptive_sharing")
        ('sparse tailored network', 'adaptive sharing network')
    """
    return NETWORKS.get(method, f"{method_name(method)} network")


def metric_name(metric: str) -> str:
    """What the reader calls a metric."""
    return METRICS.get(metric, metric.replace("_", " "))


def in_order(methods: Iterable[str]) -> list[str]:
    """The known methods as the story goes, then the others as they come."""
    found = list(dict.fromkeys(methods))
    known = [method for method in METHODS if method in found]
    return known + [method for method in found if method not in METHODS]


def colour_class(method: str, methods: Sequence[str]) -> str:
    """The CSS classes that give a method its colour, the same in every figure; another shade on its way to be sparse.

    Example:
        >>> colour_class("lomt", ["lomt", "other"]), colour_class("other", ["lomt", "other"])
        ('of-lomt', 'of-other-0')
        >>> colour_class("sparse_lomt, penalized", [])
        'of-sparse-lomt penalized'
        >>> colour_class("other, compacted", ["lomt", "new", "other"])
        'of-other-1 compacted'
    """
    name, state = _plain(method), method.partition(", ")[2]
    if name in METHODS:
        return f"of-{name.replace('_', '-').replace('/', '-')}" + f" {state}" * (name != method)
    others = [_plain(one) for one in methods if one.partition(", ")[0] not in METHODS]
    return f"of-other-{list(dict.fromkeys(others)).index(name) % OTHERS}" + f" {state}" * (name != method)


def _plain(method: str) -> str:
    """A method without what its network is besides."""
    name, _, state = method.partition(", ")
    return name if state in STATES else method


def unbroken(sentence: str) -> str:
    """No line ends between a figure and its percent sign, nor around ±.

    Example:
        >>> unbroken("2.8 ± 0.4 % better").count("\N{NO-BREAK SPACE}")
        3
    """
    return sentence.replace(" %", "\N{NO-BREAK SPACE}%").replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")


def listing(words: Sequence[str]) -> str:
    """Words as a sentence has them.

    Example:
        >>> listing(["seg", "depth", "edges"])
        'seg, depth and edges'
    """
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def plural(count: int, what: str) -> str:
    """A count and its noun.

    Example:
        >>> plural(1, "seed"), plural(3, "seed")
        ('1 seed', '3 seeds')
    """
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def duration(seconds: float) -> str:
    """A length of time in its largest fitting units.

    Example:
        >>> duration(8.24), duration(75), duration(7500)
        ('8 s', '1 min 15 s', '2 h 5 min')
    """
    if not math.isfinite(seconds):
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
