"""The losses of a mixed fit: one file each, listed here by name."""

from __future__ import annotations

from lomt.linear.losses.base import Loss
from lomt.linear.losses.huber import Huber
from lomt.linear.losses.logistic import Logistic
from lomt.linear.losses.multinomial import Multinomial
from lomt.linear.losses.poisson import Poisson
from lomt.linear.losses.squared import Squared

LOSSES: dict[str, type[Loss]] = {loss.name: loss for loss in (Squared, Logistic, Multinomial, Poisson, Huber)}

__all__ = ["LOSSES", "Huber", "Logistic", "Loss", "Multinomial", "Poisson", "Squared"]
