"""One case for each kind of task: random outputs and targets with some labels missing."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lomt.tasks import Classification, Depth, Edges, Normals, Regression, Segmentation, Task


@dataclass(frozen=True)
class Case:
    """A task with makers of its data; ``seed`` makes every call reproducible."""

    task: Task
    make_target: Callable[[int, torch.Generator], Tensor]
    missing: float
    size: tuple[int, int] = (12, 17)

    def outputs(self, count: int, seed: int = 0) -> Tensor:
        shape = (count, self.task.channels, *(self.size if self.task.dense else ()))
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    def complete(self, count: int, seed: int = 0) -> Tensor:
        return self.make_target(count, torch.Generator().manual_seed(seed + 500))

    def targets(self, count: int, seed: int = 0, share: float = 0.2) -> Tensor:
        """Targets in which a share of the labels is missing (whole pixels, and always the last one)."""
        target = self.complete(count, seed)
        generator = torch.Generator().manual_seed(seed + 1000)
        shape = list(target.shape)
        if self.task.dense and target.ndim == 4:
            shape[1] = 1
        gaps = torch.rand(shape, generator=generator) < share
        gaps.view(-1)[-1] = True
        return target.masked_fill(gaps, self.missing)

    def is_missing(self, target: Tensor) -> Tensor:
        return target.isnan() if target.is_floating_point() else target == int(self.missing)


def _depth(count: int, generator: torch.Generator) -> Tensor:
    return 0.5 + 8 * torch.rand(count, 1, 12, 17, generator=generator)


def _normals(count: int, generator: torch.Generator) -> Tensor:
    return F.normalize(torch.randn(count, 3, 12, 17, generator=generator), dim=1)


def _binary(*shape: int) -> Callable[[int, torch.Generator], Tensor]:
    return lambda count, generator: (torch.rand(count, *shape, generator=generator) < 0.3).float()


def _ids(classes: int, *shape: int) -> Callable[[int, torch.Generator], Tensor]:
    return lambda count, generator: torch.randint(classes, (count, *shape), generator=generator)


CASES = {
    "segmentation": Case(Segmentation("seg", 5), _ids(5, 12, 17), 255),
    "depth": Case(Depth("depth"), _depth, torch.nan),
    "normals": Case(Normals("normals"), _normals, torch.nan),
    "edges": Case(Edges("edges"), _binary(1, 12, 17), torch.nan),
    "classification": Case(Classification("room", 4), _ids(4), -1),
    "multilabel": Case(Classification("attributes", 3, multilabel=True), _binary(3), torch.nan),
    "regression": Case(
        Regression("age", 2), lambda count, generator: torch.randn(count, 2, generator=generator), torch.nan
    ),
}


@pytest.fixture(params=CASES, ids=str, scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]
