"""One step of AdamW or of SGD with its proximal operator, on many tensors at once."""

from lomt_kernels.prox.function import new_norms, prox_adamw_, prox_sgd_

__all__ = ["new_norms", "prox_adamw_", "prox_sgd_"]
