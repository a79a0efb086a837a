"""Metrics of a network over a whole split."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from lomt.modes import evaluating
from lomt.tasks import Task


def evaluate(
    network: nn.Module,
    loader: Iterable[Mapping[str, Tensor]],
    tasks: Sequence[Task],
    device: str | torch.device = "cpu",
    *,
    autocast: torch.dtype | None = None,
) -> dict[str, dict[str, float]]:
    """All metrics of all tasks, each over the whole split, never an average of batches.

    Evaluation mode meanwhile (no dropout, no batch statistics); afterwards every module is as before, but for
    the device.

    Args:
        network: any module that maps images ``(N, 3, H, W)`` to a dict with an output for each task's name.
        loader: batches with ``"image"`` and labels; a label that a batch lacks counts nowhere.
        tasks: what to measure.
        device: where to compute; the network is moved there.
        autocast: compute the network in this dtype (``torch.bfloat16``); metrics stay in float32.

    Returns:
        Task name → metric name → value. A task that no batch has a label for is left out; a metric that its
        labels leave undefined is NaN.

    Raises:
        ValueError: a loader without batches, or a network without an output that a task needs.
    """
    device = torch.device(device)
    network.to(device)
    metrics = {task.name: task.metrics().to(device) for task in tasks}
    labelled: set[str] = set()
    batches = 0
    with evaluating(network), torch.inference_mode():
        for batch in loader:
            batches += 1
            with torch.autocast(device.type, autocast or torch.bfloat16, enabled=autocast is not None):
                outputs = network(batch["image"].to(device))
            for name in metrics.keys() & batch.keys():
                if name not in outputs:
                    raise ValueError(f"the network has no output {name!r} – it gives {', '.join(outputs)}")
                metrics[name].update(outputs[name], batch[name].to(device))
                labelled.add(name)
    if not batches:
        raise ValueError("the split has no batches – nothing can be measured on an empty split")
    return {
        task.name: {key: float(value) for key, value in metrics[task.name].compute().items()}
        for task in tasks
        if task.name in labelled
    }
