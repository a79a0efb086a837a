"""The stage that makes a trained network physically smaller, and measures that nothing but its size changed."""

import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lomt.compaction import Compacted, compact
from lomt.compaction.agreement import relative_error
from lomt.evaluation import cost, latency
from lomt.methods.stage import Preview, Result, Stage
from lomt.methods.workshop import Workshop
from lomt.training import Progress

_LOG = logging.getLogger("lomt")

BEFORE, AFTER = "as trained", "compacted"
IMAGES = 8
"""Test images on which the outputs of both networks are compared."""


@dataclass(frozen=True)
class Compact(Stage):
    """Remove every dead channel of a network; channels, cost, latency and outputs before and after.

    Attributes:
        network: result of its training.
        round_to: channel counts are kept at multiples of this.
    """

    network: Result
    round_to: int

    def run(self, workshop: Workshop, folder: Path, progress: Progress) -> Result:  # noqa: ARG002
        """Compact; the network itself is made anew by whoever needs it, in less time than it takes to read it."""
        about = {key: self.network[key] for key in ("method", "seed")}
        about |= {"stage": self.name, "network": self.network["stage"], "round_to": self.round_to}
        measured: Result = {}
        with noted(f"{self.network['stage']} could not be compacted") as notes:
            measured = self._measured(workshop, progress)
        return about | measured | ({"notes": notes} if notes else {})

    def _measured(self, workshop: Workshop, progress: Progress) -> Result:
        """Both networks, side by side."""
        network = workshop.trained(self.network["stage"], self.network["taps"])
        progress(0.1, "removing what is dead")
        small = compacted(network, workshop, self.round_to)
        progress(0.5, "timing")
        times = latency({BEFORE: network, AFTER: small}, workshop.example)
        costs = {name: cost(one, workshop.example) for name, one in ((BEFORE, network), (AFTER, small))}
        split = workshop.source.test_dataloader().dataset
        images = torch.stack([split[index]["image"] for index in range(min(IMAGES, len(split)))])  # type: ignore[arg-type]
        return {
            "said": str(small.record),
            "layers": {
                name: {"before": list(width), "after": list(small.record.after.get(name, ())) or None}
                for name, width in small.record.before.items()
            },
            "costs": {name: asdict(one) for name, one in costs.items()},
            "latency": {name: asdict(one) for name, one in times.items()},
            "images": len(images),
            "difference": {
                "float32": difference(network, small, images),
                "float64": self._in_double(network, small, workshop.example, images),
            },
        }

    def preview(self, workshop: Workshop) -> Preview:
        """Next to nothing; what can't be compacted is said before anything is trained."""
        what = workshop.resists or "remove dead channels, compare outputs"
        return Preview(result={"stage": self.name}, work=0.0, what=what)

    def _in_double(self, network: nn.Module, small: Compacted, example: Tensor, images: Tensor) -> dict[str, float]:
        """The difference where all is done in float64: constants that are folded have its digits, too.

        Empty where the network has parts that insist on float32.
        """
        whole, other = copy.deepcopy(network).double(), copy.deepcopy(small).double()
        try:
            if not small.record.nothing:
                other = compact(whole, example.double(), self.round_to).eval()
            return difference(whole, other, images.double())
        except (RuntimeError, ValueError):
            return {}


@contextmanager
def noted(what: str) -> Iterator[list[str]]:
    """Let an end of foreign code be a note, and no loss of what has been computed; a full disk still ends the run."""
    notes: list[str] = []
    try:
        yield notes
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - backbones of others may fail in any way
        notes.append(f"{what}: {(str(error) or type(error).__name__).splitlines()[0]}")
        _LOG.warning(notes[0])


def compacted(network: nn.Module, workshop: Workshop, round_to: int) -> Compacted:
    """The network without what is dead, in evaluation mode."""
    small = compact(network, workshop.example, round_to)
    small.eval()
    return small


def difference(network: nn.Module, other: nn.Module, images: Tensor) -> dict[str, float]:
    """Largest difference of each task's outputs, relative to its largest output."""
    with torch.inference_mode():
        ours: Mapping[str, Tensor] = network(images)
        theirs: Mapping[str, Tensor] = other(images)
    return {task: relative_error(ours[task], theirs[task]) for task in ours}
