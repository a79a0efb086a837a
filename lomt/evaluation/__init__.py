"""What a network is worth: metrics, Δm, cost, latency, and the table of them."""

from lomt.extras import need

need("lomt.evaluation", "train", "tqdm")

from lomt.evaluation.backends import BACKENDS, Contender
from lomt.evaluation.bench import Bench, bench
from lomt.evaluation.bench_table import bench_table
from lomt.evaluation.cost import Cost, cost
from lomt.evaluation.delta_m import Results, delta_m, per_task
from lomt.evaluation.device import device_of
from lomt.evaluation.evaluate import evaluate
from lomt.evaluation.latency import Latency, latency
from lomt.evaluation.seeds import Interval, Spread, over_seeds, paired_interval
from lomt.evaluation.table import Column, Row, Table
from lomt.modes import evaluating

__all__ = [
    "BACKENDS",
    "Bench",
    "Column",
    "Contender",
    "Cost",
    "Interval",
    "Latency",
    "Results",
    "Row",
    "Spread",
    "Table",
    "bench",
    "bench_table",
    "cost",
    "delta_m",
    "device_of",
    "evaluate",
    "evaluating",
    "latency",
    "over_seeds",
    "paired_interval",
    "per_task",
]
