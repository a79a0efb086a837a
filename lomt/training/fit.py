"""Train one network: the only place where Lightning's trainer is set up."""

import logging
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lomt.data import Source
from lomt.extras import need
from lomt.files import ready
from lomt.interrupts import Terminated, terminating
from lomt.models import Network, SelectingNetwork
from lomt.selection import TapPath
from lomt.sparsity import Penalty
from lomt.training.checkpoints import CHECKPOINT, newest
from lomt.training.history import METRICS
from lomt.training.progress import Progress
from lomt.training.recipe import Recipe

if TYPE_CHECKING:
    import lightning.pytorch as pl


@dataclass(frozen=True)
class Fitted:
    """What a training gave.

    Attributes:
        history: one row an epoch, as in ``metrics.csv``.
        stopped: why it ended before its last epoch, or none.
        seconds: wall-clock time of this process's share; a resumed training counts from where it resumed.
    """

    history: list[dict[str, float]]
    stopped: str | None
    seconds: float


def fit(
    network: Network | SelectingNetwork,
    source: Source,
    recipe: Recipe,
    *,
    penalty: Penalty | None = None,
    decoders: bool = False,
    seed: int = 0,
    folder: Path | None = None,
    progress: Progress | None = None,
    accelerator: str = "auto",
    callbacks: Sequence["pl.Callback"] = (),
    path: TapPath | None = None,
) -> Fitted:
    """Train ``network`` in place; the weights of the last epoch stay.

    Args:
        network: what is trained.
        source: where batches come from; its ``setup`` has been called.
        recipe: the hyperparameters.
        penalty: what makes groups of the backbone die; none trains densely.
        decoders: whether groups of the decoders may die as well.
        seed: start of all random numbers.
        folder: where ``metrics.csv`` and the checkpoint are written after every epoch; where a checkpoint lies
            there already, the training goes on from it and ends as an unbroken one. One that is damaged is named in a
            warning, and the epoch before it is used, or the start. None keeps all in memory.
        progress: hears of every batch.
        accelerator: Lightning's name of the device: "auto", "cpu", "gpu".
        callbacks: of yours, beside those that keep the history and the checkpoint.
        path: drives the selector of a network whose tasks still choose their taps.

    Raises:
        MissingExtraError: Lightning or torchmetrics is not installed.
        TrainingDivergedError: where a loss is not finite.
        NotWrittenError: where ``folder`` can't be written to.
        KeyboardInterrupt: Ctrl-C; what ended with an epoch is kept.
        Terminated: SIGTERM, the same.
    """
    need("training", "train", "lightning", "torchmetrics")
    # They take a second to load: whoever only plans, exports or draws does not wait for them.
    import lightning.pytorch as pl
    from lightning.pytorch.callbacks import ModelCheckpoint

    from lomt.training.callbacks import Checkpoints, History, ProgressCallback, Stopping
    from lomt.training.module import TrainingModule

    if recipe.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module = TrainingModule(network, source, recipe, penalty, seed, decoders, path)
    history = History(folder / METRICS if folder else None)
    stopping = Stopping(recipe, history)
    hooks: list[pl.Callback] = [*callbacks, history, stopping]
    if progress is not None:
        hooks.append(ProgressCallback(progress))
    if folder is not None:
        ready(folder)
        name = Path(CHECKPOINT).stem
        hooks.append(ModelCheckpoint(folder, filename=name, save_on_train_epoch_end=True, enable_version_counter=False))
    begin = time.monotonic()
    with _quiet(), _interrupts():
        trainer = pl.Trainer(
            accelerator=accelerator,
            devices=1,
            max_epochs=recipe.epochs,
            precision=recipe.precision,
            accumulate_grad_batches=recipe.accumulate,
            gradient_clip_val=recipe.clip or None,
            num_sanity_val_steps=0,
            check_val_every_n_epoch=recipe.epochs if recipe.validate_last_only else 1,
            reload_dataloaders_every_n_epochs=1,
            callbacks=hooks,
            plugins=[Checkpoints()],
            logger=False,
            enable_checkpointing=folder is not None,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, ckpt_path=newest(folder) if folder else None, weights_only=True)
    module.skipping.end()
    return Fitted(history.rows, stopping.reason, time.monotonic() - begin)


@contextmanager
def _interrupts() -> Iterator[None]:
    """Ctrl-C and SIGTERM end a training as they end everything else.

    Lightning leaves with 1 or with 0, or with an error of its own where it was stopped between two batches.
    """
    outer, handler = sys.exception(), signal.getsignal(signal.SIGINT)
    try:
        with terminating():
            yield
    except BaseException as error:
        cause: BaseException | None = error
        while cause is not None and cause is not outer:
            if isinstance(cause, KeyboardInterrupt | Terminated):
                raise cause from None
            cause = cause.__context__
        if isinstance(error, SystemExit) and error.code is None:
            raise Terminated from None  # Lightning's answer to SIGTERM where somebody else handles that signal, too
        raise
    finally:
        if signal.getsignal(signal.SIGINT) is not handler:
            signal.signal(
                signal.SIGINT, handler
            )  # Lightning ignores Ctrl-C while it closes, and from then on if it fails


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's advice to itself: every line of it is either for its own bar or a choice made here."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
