"""Many task losses → one update. A new method is one new file and one line in ``BALANCING``."""

from tailor.balancing.base import Balancing
from tailor.balancing.dwa import DWA
from tailor.balancing.equal import Equal
from tailor.balancing.geometric import Geometric
from tailor.balancing.uncertainty import Uncertainty

BALANCING: dict[str, type[Balancing]] = {"equal": Equal, "uncertainty": Uncertainty, "dwa": DWA, "geometric": Geometric}

__all__ = ["BALANCING", "DWA", "Balancing", "Equal", "Geometric", "Uncertainty"]
