"""What a network is worth: metrics, Δm, cost, latency, and the table of them."""

from tailor.evaluation.backends import BACKENDS, Contender
from tailor.evaluation.bench import Bench, bench
from tailor.evaluation.bench_table import bench_table
from tailor.evaluation.cost import Cost, cost
from tailor.evaluation.delta_m import Results, delta_m, per_task
from tailor.evaluation.evaluate import evaluate
from tailor.evaluation.latency import Latency, latency
from tailor.evaluation.mode import evaluating
from tailor.evaluation.seeds import Interval, Spread, over_seeds, paired_interval
from tailor.evaluation.table import Column, Row, Table

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
    "evaluate",
    "evaluating",
    "latency",
    "over_seeds",
    "paired_interval",
    "per_task",
]
