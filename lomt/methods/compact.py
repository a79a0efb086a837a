"""The stage that makes trained networks physically smaller, and measures that nothing but their size changed."""

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
from lomt.evaluation import cost
from lomt.methods.setup import Setup
from lomt.methods.stage import Preview, Result, Stage
from lomt.training import Progress

_LOG = logging.getLogger("lomt")

BEFORE, AFTER = "as trained", "compacted"
IMAGES = 8
"""Test images on which the outputs of both networks are compared."""


@dataclass(frozen=True)
class Compact(Stage):
    """Remove every dead channel of networks: channels, cost and outputs before and after.

    Attributes:
        networks: results of their trainings, one a method.
        round_to: channel counts are kept at multiples of this.
    """

    networks: tuple[Result, ...]
    round_to: int

    def run(self, setup: Setup, folder: Path, progress: Progress) -> Result:  # noqa: ARG002
        """Compact; the networks themselves are made anew by whoever needs them."""
        measured: dict[str, Result] = {}
        notes: list[str] = []
        for number, result in enumerate(self.networks):
            progress(number / len(self.networks), f"removing what is dead in {result['method']}")
            with noted(f"{result['stage']} could not be compacted") as failed:
                measured[result["method"]] = self._measured(result, setup)
            notes += failed
        about = {"stage": self.name, "round_to": self.round_to, "networks": measured}
        return about | ({"notes": notes} if notes else {})

    def _measured(self, result: Result, setup: Setup) -> Result:
        """One network beside what is left of it."""
        network = setup.trained(result["stage"], result["taps"])
        small = compacted(network, setup, self.round_to)
        record = small.record
        about = {"network": result["stage"], "seed": result["seed"], "said": str(record), "changed": not record.nothing}
        if record.nothing:
            return about
        costs = {name: cost(one, setup.example) for name, one in ((BEFORE, network), (AFTER, small))}
        split = setup.source.test_dataloader().dataset
        images = torch.stack([split[index]["image"] for index in range(min(IMAGES, len(split)))])  # type: ignore[arg-type]
        return about | {
            "layers": {
                name: {"before": list(width), "after": list(record.after.get(name, ())) or None}
                for name, width in record.before.items()
            },
            "costs": {name: asdict(one) for name, one in costs.items()},
            "images": len(images),
            "difference": {
                "float32": difference(network, small, images),
                "float64": self._in_double(network, setup.example, images),
            },
        }

    def preview(self, setup: Setup) -> Preview:
        """Next to nothing; what can't be compacted is said before anything is trained."""
        what = setup.resists or "remove dead channels, compare outputs"
        return Preview(result={"stage": self.name, "round_to": self.round_to, "networks": {}}, work=0.0, what=what)

    def _in_double(self, network: nn.Module, example: Tensor, images: Tensor) -> dict[str, float]:
        """The difference where all is done in float64: constants that are folded have its digits, too.

        Empty where the network has parts that insist on float32.
        """
        whole = copy.deepcopy(network).double()
        try:
            return difference(whole, compact(whole, example.double(), self.round_to).eval(), images.double())
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


def compacted(network: nn.Module, setup: Setup, round_to: int) -> Compacted:
    """The network without what is dead, in evaluation mode."""
    return compact(network, setup.example, round_to).eval()


def difference(network: nn.Module, other: nn.Module, images: Tensor) -> dict[str, float]:
    """Largest difference of each task's outputs, relative to its largest output."""
    with torch.inference_mode():
        ours: Mapping[str, Tensor] = network(images)
        theirs: Mapping[str, Tensor] = other(images)
    return {task: relative_error(ours[task], theirs[task]) for task in ours}
