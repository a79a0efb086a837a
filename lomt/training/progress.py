"""What a long computation tells whoever waits for it."""

from typing import Protocol


class Progress(Protocol):
    """Hears how far a stage is."""

    def __call__(self, done: float, text: str) -> None:
        """``done`` in [0, 1] of this stage; ``text`` a few words on where it is."""


def part_of(whole: Progress, number: int, count: int, what: str) -> Progress:
    """The progress of one of ``count`` equal parts of a stage, the first being 0; ``what`` it is precedes its texts."""

    def report(done: float, text: str) -> None:
        whole((number + done) / count, f"{what} · {text}")

    return report
