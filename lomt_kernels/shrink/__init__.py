"""Group norms, which groups are alive, and the proximal operator of the group norm, differentiable."""

from lomt_kernels.shrink.function import group_alive, group_norms, group_shrink, shrink_step

__all__ = ["group_alive", "group_norms", "group_shrink", "shrink_step"]
