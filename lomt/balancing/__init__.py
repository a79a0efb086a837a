"""Many task losses → one update. A new method is one new file and one line in ``BALANCING``."""

from lomt.balancing.base import Balancing
from lomt.balancing.dwa import DWA
from lomt.balancing.equal import Equal
from lomt.balancing.geometric import Geometric
from lomt.balancing.uncertainty import Uncertainty

BALANCING: dict[str, type[Balancing]] = {"equal": Equal, "uncertainty": Uncertainty, "dwa": DWA, "geometric": Geometric}

__all__ = ["BALANCING", "DWA", "Balancing", "Equal", "Geometric", "Uncertainty"]
