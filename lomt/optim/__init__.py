"""Optimizers that leave exact zeros, and a network's parameters sorted for them."""

from lomt.optim.parameter_groups import parameter_groups
from lomt.optim.prox_adamw import ProxAdamW
from lomt.optim.prox_sgd import ProxSGD

__all__ = ["ProxAdamW", "ProxSGD", "parameter_groups"]
