"""When does it pay to pick channels out before a convolution? Both sides in turn, one thread, medians.

    python benchmarks/gather.py

Compaction gathers up to the share at which every case here gains; see lomt.compaction.slices.
"""

import statistics
import time

import torch
from torch import nn

CASES = [(64, 64, 3, 16), (128, 128, 3, 12), (256, 256, 3, 16), (256, 64, 1, 16), (64, 64, 3, 32), (512, 128, 1, 8)]
SHARES = (0.9, 0.75, 0.5, 0.25, 0.1)


def speedup(channels: int, out: int, kernel: int, side: int, share: float, turns: int = 60) -> float:
    """Median time of the whole convolution over that of gathering and the narrow one."""
    count = max(1, int(channels * share))
    index = torch.randperm(channels)[:count].sort().values
    wide = nn.Conv2d(channels, out, kernel, padding=kernel // 2)
    narrow = nn.Conv2d(count, out, kernel, padding=kernel // 2)
    image = torch.randn(1, channels, side, side)
    times: tuple[list[float], list[float]] = ([], [])
    with torch.inference_mode():
        for _ in range(turns):
            for spent, run in zip(
                times, (lambda: wide(image), lambda: narrow(image.index_select(1, index))), strict=True
            ):
                start = time.perf_counter()
                run()
                spent.append(time.perf_counter() - start)
    return statistics.median(times[0]) / statistics.median(times[1])


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print("channels → out, kernel, side   " + "".join(f"{share:>8}" for share in SHARES))
    for case in CASES:
        print(f"{case!s:<31}" + "".join(f"{speedup(*case, share):>7.2f}×" for share in SHARES))


if __name__ == "__main__":
    main()
