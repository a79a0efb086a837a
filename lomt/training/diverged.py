"""The error of a training that has left the finite numbers."""


class TrainingDivergedError(RuntimeError):
    """A task's loss is NaN or infinite; the checkpoint of the last good epoch is still there."""

    def __init__(self, task: str, loss: float, epoch: int, batch: int, lr: float) -> None:
        super().__init__(
            f"the loss of task {task!r} became {loss} in epoch {epoch + 1}, batch {batch + 1}: train with a lower "
            f"learning rate (now --recipe.lr {lr:g}), with --recipe.clip 1, or with --recipe.precision 32-true. "
            "The stages that ended are kept; a changed recipe needs another --out"
        )
