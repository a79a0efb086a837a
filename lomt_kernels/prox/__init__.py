"""One step of AdamW or of SGD with its proximal operator, on many tensors at once."""

from lomt_kernels.prox.function import adamw_step, new_norms, prox_adamw_, prox_sgd_, sgd_step
from lomt_kernels.prox.reference import minimizer

__all__ = ["adamw_step", "minimizer", "new_norms", "prox_adamw_", "prox_sgd_", "sgd_step"]
