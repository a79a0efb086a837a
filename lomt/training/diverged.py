"""The error of a training that has left the finite numbers."""


class TrainingDivergedError(RuntimeError):
    """A task's loss is NaN or infinite; the checkpoint of the last good epoch is still there."""

    def __init__(self, task: str, loss: float, epoch: int, batch: int | None, lr: float) -> None:
        where = f"epoch {epoch + 1}" + ("" if batch is None else f", batch {batch + 1}")
        super().__init__(
            f"the loss of task {task!r} became {loss} in {where}: train with a lower "
            f"learning rate (now --recipe.lr {lr:g}), with --recipe.clip 1, or with --recipe.precision 32-true. "
            "The stages that ended are kept; a changed recipe needs another --out"
        )
