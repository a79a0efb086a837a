"""A graph of operations as JSON, from which it runs again without the code that it was traced from."""

import builtins
import math
import operator
import re
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from lomt.compaction.module import widen
from lomt.tracing.contexts import checked
from lomt.tracing.proxies import assign, expect

_OURS: dict[str, Callable[..., Any]] = {"widen": widen, "expect": expect, "assign": assign}
_BUILTINS = {"getattr", "round", "min", "max", "int", "float", "len", "abs", "sum"}
_HOMES: dict[str, Any] = {"torch": torch, "F": F, "operator": operator, "math": math, "nn": torch._C._nn}
_OPERATORS = {
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "neg", "getitem", "eq", "ne", "lt", "le", "gt", "ge"),
    *("iadd", "isub", "imul", "itruediv", "matmul", "and_", "or_", "not_", "abs", "ifloordiv", "invert"),
}
_ATTRIBUTES = {"shape", "ndim", "dtype", "device", "T", "mT", "real", "imag", "is_cuda", "requires_grad"}
_PART = re.compile(r"[\w\- ]+")
"""What a part of a module's or tensor's name may be made of."""
_NOT_METHODS = {"apply_", "map_", "map2_", "register_hook", "numpy", "storage", "untyped_storage", "share_memory_"}


def graph_to_list(graph: fx.Graph) -> list[dict[str, Any]]:
    """The nodes of a graph, in order.

    Raises:
        TypeError: a function is not torch's, or an argument is no value that a file can hold.
    """
    return [_node_to_dict(node) for node in graph.nodes]


def _node_to_dict(node: fx.Node) -> dict[str, Any]:
    target = _function_name(node) if node.op == "call_function" else str(node.target)
    state: dict[str, Any] = {"name": node.name, "op": node.op, "target": target, "args": _encode(list(node.args))}
    if node.kwargs:
        state["kwargs"] = {key: _encode(value) for key, value in node.kwargs.items()}
    if node.meta.get("contexts"):
        state["contexts"] = [list(context) for context in node.meta["contexts"]]
    return state


def _function_name(node: fx.Node) -> str:
    name = getattr(node.target, "__name__", "")
    if _OURS.get(name) is node.target:
        return f"lomt.{name}"
    if name in _BUILTINS and getattr(builtins, name) is node.target:
        return f"builtins.{name}"
    for home, module in _HOMES.items():
        if getattr(module, name, None) is node.target and _is_computation(home, name, node.target):
            return f"{home}.{name}"
    raise TypeError(f"{node.name} calls {node.target}, which a file can't hold: use functions of torch")


def _is_computation(home: str, name: str, function: Any) -> bool:
    """Whether a function only computes: a file from anywhere must not load or run anything else."""
    if name.startswith("_") or not callable(function) or isinstance(function, type):
        return False
    if home == "operator":
        return name in _OPERATORS
    if home == "torch":
        if name in ("sym_int", "sym_float"):
            return True
        return getattr(torch._C._VariableFunctions, name, None) is not None and name != "from_file"
    return home in ("F", "math", "nn")


def graph_from_list(nodes: list[dict[str, Any]]) -> fx.Graph:
    """The graph again.

    Raises:
        ValueError: the list names a function that is none of torch's computations, or makes no graph.
    """
    graph = fx.Graph()
    made: dict[str, fx.Node] = {}
    for state in nodes:
        try:
            _only_names(state)
            op, args = state["op"], tuple(_decode(state["args"], made))
            kwargs = {key: _decode(value, made) for key, value in state.get("kwargs", {}).items()}
            target = _target(op, state["target"], args)
            node = graph.create_node(op, target, args, kwargs, name=state["name"])
            node.meta["contexts"] = checked(tuple(context) for context in state.get("contexts", ()))
            made[state["name"]] = node
        except (KeyError, TypeError, AttributeError, AssertionError) as error:
            raise ValueError(f"the stored graph is damaged at {state!r}: {error!r}") from error
    graph.lint()
    return graph


def _only_names(state: dict[str, Any]) -> None:
    """Make sure that what becomes part of the generated code are names, which can't hide code of their own.

    Raises:
        ValueError: something else stands where a name belongs.
    """
    names = [*state.get("kwargs", {}), *([state["target"]] if state["op"] == "placeholder" else [])]
    parts = state["target"].split(".") if state["op"] in ("call_module", "get_attr") else []
    plain = all(_PART.fullmatch(part) and not part.startswith("__") for part in parts)
    if not plain or not all(isinstance(name, str) and name.isidentifier() and name.isascii() for name in names):
        raise ValueError(f"the stored graph has {names or state['target']!r} where a name belongs")


def _target(op: str, target: str, args: tuple[Any, ...]) -> Any:
    if op == "call_method":
        if target.startswith("_") or target in _NOT_METHODS or not hasattr(Tensor, target):
            raise ValueError(f"the stored graph calls the method {target!r}, which does more than to compute")
        return target
    if op != "call_function":
        return target
    home, _, name = target.partition(".")
    if home == "lomt" and name in _OURS:
        return _OURS[name]
    if home == "builtins" and name in _BUILTINS:
        if name == "getattr" and (len(args) != 2 or args[1] not in _ATTRIBUTES):
            raise ValueError(f"the stored graph reads the attribute {args[1:]!r}, which is no size")
        return getattr(builtins, name)
    function = getattr(_HOMES.get(home), name, None)
    if function is None or not _is_computation(home, name, function):
        raise ValueError(f"the stored graph calls {target!r}, which is no computation of torch")
    return function


def _encode(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, slice):
        return {"slice": [_encode(part) for part in (value.start, value.stop, value.step)]}
    if isinstance(value, tuple):
        return {"tuple": [_encode(part) for part in value]}
    if isinstance(value, list):
        return [_encode(part) for part in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _encode(part) for key, part in value.items()}}
    if isinstance(value, torch.dtype | torch.memory_format):
        return {"torch": str(value).removeprefix("torch.")}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    if value is Ellipsis:
        return {"ellipsis": True}
    raise TypeError(f"an argument {value!r} of type {type(value).__name__} is nothing that a file can hold")


def _decode(value: Any, made: dict[str, fx.Node]) -> Any:
    if isinstance(value, list):
        return [_decode(part, made) for part in value]
    if not isinstance(value, dict):
        return value
    (kind, content), *more = value.items()
    if more:
        raise TypeError(f"{value!r} is no value")
    if kind == "torch":
        constant = getattr(torch, content)
        if not isinstance(constant, torch.dtype | torch.memory_format):
            raise TypeError(f"torch.{content} is no dtype")
        return constant
    readers: dict[str, Callable[[], Any]] = {
        "node": lambda: made[content],
        "float": lambda: float(content),
        "slice": lambda: slice(*_decode(content, made)),
        "tuple": lambda: tuple(_decode(content, made)),
        "dict": lambda: {key: _decode(part, made) for key, part in content.items()},
        "device": lambda: torch.device(content),
        "ellipsis": lambda: Ellipsis,
    }
    return readers[kind]()
