"""The losses of a mixed fit: one file each, listed here by name."""

from __future__ import annotations

from tailor.linear.losses.base import Loss
from tailor.linear.losses.huber import Huber
from tailor.linear.losses.logistic import Logistic
from tailor.linear.losses.multinomial import Multinomial
from tailor.linear.losses.poisson import Poisson
from tailor.linear.losses.squared import Squared

LOSSES: dict[str, type[Loss]] = {loss.name: loss for loss in (Squared, Logistic, Multinomial, Poisson, Huber)}

__all__ = ["LOSSES", "Huber", "Logistic", "Loss", "Multinomial", "Poisson", "Squared"]
