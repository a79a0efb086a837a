"""Tasks as JSON: their kind and the arguments that make them anew."""

import inspect
from typing import Any

import lomt.tasks
from lomt.tasks.base import Task


def task_to_dict(task: Task) -> dict[str, Any]:
    """Kind and arguments of a task, class names included; of a task from outside, those of the built-in parent.

    Raises:
        TypeError: no parent of the task is built in, so that its code would be needed to load it.
    """
    for kind in type(task).__mro__:
        if kind is not Task and getattr(lomt.tasks, kind.__name__, None) is kind:
            break
    else:
        raise TypeError(f"task {task.name!r} is a {type(task).__name__}, of which no parent is a task of lomt.tasks")
    arguments: dict[str, Any] = {}
    for name in list(inspect.signature(kind.__init__).parameters)[1:]:
        value = getattr(task, name) if name != "outputs" else task.channels
        if name == "classes":
            names = getattr(task, "class_names", None)
            value = list(names) if names else task.channels
        arguments[name] = value
    return {"kind": kind.__name__, "arguments": arguments}


def task_from_dict(state: dict[str, Any]) -> Task:
    """The task again.

    Raises:
        ValueError: there is no such kind, or it does not take the arguments.
    """
    kind = getattr(lomt.tasks, str(state.get("kind")), None)
    if not (isinstance(kind, type) and issubclass(kind, Task)):
        raise ValueError(f"unknown kind of task {state.get('kind')!r}: the folder is of a newer version, or damaged")
    task: Task = kind(**state["arguments"])
    return task
