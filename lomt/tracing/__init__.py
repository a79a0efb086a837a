"""A module's forward as a graph of operations that serves inputs of any size, with all that decides its gradients."""

from lomt.tracing.contexts import Applied, ContextTracer, code_of, contexts_of
from lomt.tracing.operations import UntraceableError, follow_training_flag, operations
from lomt.tracing.proxies import OtherSizesError, assign, expect
from lomt.tracing.tracer import Tracer

__all__ = [
    "Applied",
    "ContextTracer",
    "OtherSizesError",
    "Tracer",
    "UntraceableError",
    "assign",
    "code_of",
    "contexts_of",
    "expect",
    "follow_training_flag",
    "operations",
]
