"""The base of all sources: the one place that batches, augments and normalizes."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, SequentialSampler

from lomt.checks import check_whole
from lomt.data.augment import Augmentation
from lomt.data.checks import check_samples
from lomt.data.samples import MISSING, Samples
from lomt.tasks import Classification, Segmentation, Task

SPLITS = ("train", "validation", "test")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Split(Dataset[dict[str, Tensor]]):
    """The samples of one split; a whole batch is read, decoded and augmented at once.

    Args:
        samples: what to read.
        tasks: what the labels mean.
        normalization: mean and standard deviation of each channel, of colours from 0 to 1.
        augmentation: what to do to a batch that comes with a seed; without one nothing is random.
    """

    def __init__(
        self,
        samples: Samples,
        tasks: Sequence[Task],
        normalization: tuple[Sequence[float], Sequence[float]],
        augmentation: Augmentation | None = None,
    ) -> None:
        self.samples = samples
        self.tasks = list(tasks)
        self.augmentation = augmentation
        self._mean, self._std = (torch.tensor(values).view(1, 3, 1, 1) for values in normalization)

    def of(self, tasks: Collection[str] | None) -> "Split":
        """The same samples with the labels of these tasks alone; None: of all."""
        if tasks is None:
            return self
        fewer = copy.copy(self)
        fewer.tasks = [task for task in self.tasks if task.name in tasks]
        return fewer

    def __len__(self) -> int:
        return len(self.samples.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One sample, not augmented, without the batch dimension."""
        return {key: value[0] for key, value in self.__getitems__([range(len(self))[index]]).items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """A batch, ready for a network."""
        rows = self.samples.rows[np.asarray(indices)]
        batch = {"image": decode_image(self.samples.arrays["image"][rows])}
        for task in self.tasks:
            if task.name in self.samples.arrays:
                batch[task.name] = decode(self.samples.arrays[task.name][rows], task)
        if self.augmentation is not None and isinstance(indices, Draw):
            generator = torch.Generator().manual_seed(indices.seed)
            batch = self.augmentation(batch, self.tasks, generator)
        batch["image"] = (batch["image"] - self._mean).div_(self._std)
        return batch


def decode_image(stored: np.ndarray) -> Tensor:
    """Colours from 0 to 1, float32, of bytes or of floats."""
    values = torch.from_numpy(stored)
    return values.float().div_(255) if values.dtype == torch.uint8 else values.float()


def decode(stored: np.ndarray, task: Task) -> Tensor:
    """Stored labels as their task wants them; a kind of number that can't mean such a label stays as it is."""
    values = torch.from_numpy(stored)
    if isinstance(task, Segmentation) or (isinstance(task, Classification) and not task.multilabel):
        return values if values.is_floating_point() else values.long()
    if values.dtype == torch.uint8:
        return values.float().masked_fill_(values == MISSING, torch.nan)
    return values.float()


class Draw(list[int]):
    """The indices of a batch, with the seed of its augmentation, which so travels to any worker process."""

    seed: int

    def __init__(self, indices: Sequence[int], seed: int) -> None:
        super().__init__(indices)
        self.seed = seed

    def __reduce__(self) -> tuple[type["Draw"], tuple[list[int], int]]:
        return Draw, (list(self), self.seed)


class Shuffled(Sampler[int]):
    """A permutation, drawn from torch's global generator the moment that ``iter`` is called."""

    def __init__(self, data_source: Split) -> None:
        self.data_source = data_source

    def __len__(self) -> int:
        return len(self.data_source)

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(len(self)).tolist())


class Draws(BatchSampler):
    """Batches whose augmentation is settled, as their order is, the moment that ``iter`` is called.

    What a training step draws from the global generator afterwards (dropout, say) changes nothing.
    """

    def __iter__(self) -> Iterator[list[int]]:
        seed = int(torch.randint(2**62, ()))
        return self._batches(iter(self.sampler), seed)

    def _batches(self, indices: Iterator[int], seed: int) -> Iterator[list[int]]:
        batch: list[int] = []
        for index in indices:
            batch.append(index)
            if len(batch) == self.batch_size:
                yield Draw(batch, seed)
                batch, seed = [], seed + 1
        if batch and not self.drop_last:
            yield Draw(batch, seed)


def _as_it_is(batch: Any) -> Any:
    """Collation of what is a batch already."""
    return batch


class Source(ABC):
    """Where samples come from. A subclass says what its tasks are and gives each split's arrays.

    The train loader's randomness comes from torch's global generator when it is iterated, and from nowhere else:
    seed it, iterate, and an epoch repeats itself whatever came before.

    Args:
        tasks: one for each label.
        size: height and width of images in pixels.
        batch_size: samples a batch; the last batch of an epoch may be smaller, in training it is left out unless
            it is the only one.
        augment: whether training samples are changed at random; an :class:`Augmentation` says how.
        workers: processes that prepare batches; 0 prepares them in the training process.

    Attributes:
        normalization: mean and standard deviation that images are normalized by, per channel of colours in 0 … 1.
    """

    normalization: ClassVar[tuple[tuple[float, ...], tuple[float, ...]]] = IMAGENET

    def __init__(
        self,
        tasks: Sequence[Task],
        size: tuple[int, int],
        batch_size: int,
        *,
        augment: bool | Augmentation = True,
        workers: int = 0,
    ) -> None:
        if len(size) != 2:
            raise ValueError(f"size={size!r} is no (height, width): use two numbers of 8 or more")
        for side in size:
            check_whole(f"a side of size {size}", side, 8)
        check_whole("batch_size", batch_size, 1)
        check_whole("workers", workers)
        self.tasks = list(tasks)
        names = [task.name for task in self.tasks]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two tasks of {type(self).__name__} have the name {twice[0]!r}: give each one of its own")
        self.size = (int(size[0]), int(size[1]))
        self.batch_size = batch_size
        self.augmentation = augment if isinstance(augment, Augmentation) else Augmentation() if augment else None
        self.workers = workers
        self._splits: dict[str, Split] = {}

    @abstractmethod
    def samples(self, split: str) -> Samples:
        """The samples of ``"train"``, ``"validation"`` or ``"test"``."""

    def describe(self) -> dict[str, Any]:
        """Name, arguments and counts, as JSON takes them: the same description is the same data."""
        return {
            "source": type(self).__name__,
            "tasks": [repr(task) for task in self.tasks],
            "size": list(self.size),
            "batch_size": self.batch_size,
            "augment": None if self.augmentation is None else vars(self.augmentation).copy(),
        }

    def setup(self, stage: str | None = None) -> None:
        """Prepares (and, the first time, caches) what a stage needs: ``"fit"``, ``"validate"``, ``"test"``, or all."""
        needed = {"fit": SPLITS[:2], "validate": SPLITS[1:2], "test": SPLITS[2:], "predict": SPLITS[2:]}
        for split in SPLITS if stage is None else needed[stage]:
            self.split(split)

    def split(self, name: str) -> Split:
        """The data set of a split, prepared when first asked for.

        Raises:
            ValueError: where there is no such split, it is empty, or a sample can't be true: names the sample.
        """
        if name not in SPLITS:
            raise ValueError(f"unknown split {name!r}: there are {', '.join(SPLITS)}")
        if name not in self._splits:
            samples = self.samples(name)
            if len(samples.rows) == 0:
                raise ValueError(f"the {name} split of {type(self).__name__} is empty: give it 1 sample or more")
            check_samples(samples, self.tasks, self.size, name, decode)
            augmentation = self.augmentation if name == "train" else None
            self._splits[name] = Split(samples, self.tasks, self.normalization, augmentation)
        return self._splits[name]

    def train_dataloader(self, tasks: Collection[str] | None = None) -> DataLoader[dict[str, Tensor]]:
        """Shuffled and augmented batches of the train split, with the labels of these tasks, or of all."""
        split = self.split("train").of(tasks)
        drop_last = len(split) > self.batch_size
        return self._loader(split, Draws(Shuffled(split), self.batch_size, drop_last))

    def val_dataloader(self, tasks: Collection[str] | None = None) -> DataLoader[dict[str, Tensor]]:
        """Batches of the validation split, in order, complete, with the labels of these tasks, or of all."""
        return self._in_order("validation", tasks)

    def test_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Batches of the test split, in order, complete."""
        return self._in_order("test")

    def _in_order(self, name: str, tasks: Collection[str] | None = None) -> DataLoader[dict[str, Tensor]]:
        split = self.split(name).of(tasks)
        return self._loader(split, BatchSampler(SequentialSampler(split), self.batch_size, drop_last=False))

    def _loader(self, split: Split, batches: BatchSampler) -> DataLoader[dict[str, Tensor]]:
        return DataLoader(
            split,
            batch_sampler=batches,
            collate_fn=_as_it_is,
            num_workers=self.workers,  # not persistent: kept ones draw less at iter, and a resumed run would differ
        )
