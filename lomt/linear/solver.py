"""The optimum at one α: working sets outside, quadratic models within, a duality gap to stop."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from lomt.linear.gap import dual_value
from lomt.linear.intercepts import settle
from lomt.linear.losses.base import Array
from lomt.linear.penalty import MixedPenalty
from lomt.linear.problem import Problem
from lomt.linear.symmetry import recentre
from lomt.linear.unpenalized import fit_unpenalized
from lomt.linear.working_set import Indices, WorkingSet


@dataclass(frozen=True)
class Solution:
    """What a fit at one α ends with, in standardized units.

    Attributes:
        alpha: The α.
        features: Indices of the features whose row is not zero `(s,)`.
        W: Their coefficients `(C, s)`.
        intercepts: `(C,)`.
        objective: Value of the objective.
        gap: Proven distance from the optimum (absolute).
        iterations: Passes of coordinate descent.
    """

    alpha: float
    features: Indices
    W: Array
    intercepts: Array
    objective: float
    gap: float
    iterations: int


class Solver:
    """Fits one problem at one α after another, each time from where it stands.

    At a fixed set of features: model the losses by their curvature, minimize model + penalty by block coordinate
    descent on Gram matrices, go there as far as the true objective falls enough, and repeat until the duality gap
    *of the set* is small (prox-Newton; for least squares the model is exact and one round does). Then one gradient
    over all features decides: the gap of the whole problem is small enough, or the features that break the
    optimality condition most join the set. New sets come from the sequential strong rule (Tibshirani et al.,
    2012), which may be wrong without harm.

    Args:
        problem: The tasks.
        penalty: The penalty; its α is replaced by that of `solve`.
        tol: Gap at which to stop, relative to the objective of the best constants.
        max_iter: Passes of coordinate descent for one α at most.
        verbose: Whether to write a line to stderr whenever the whole problem's gap is known.
    """

    def __init__(
        self, problem: Problem, penalty: MixedPenalty, tol: float = 1e-6, max_iter: int = 20_000, verbose: bool = False
    ) -> None:
        self.problem, self.penalty, self.tol, self.max_iter, self.verbose = problem, penalty, tol, max_iter, verbose
        self.z, self.intercepts, self.theta = settle(problem, problem.null_z)
        starts = np.array([where.start for where in problem.column_slices])
        self.intercepts = problem.null_z[starts] + self.intercepts
        self.null_objective = problem.value(self.z)
        self.set = WorkingSet(problem)
        self.W = np.zeros((problem.columns, 0))
        self.gradient = problem.correlate(self.theta)
        self.alpha_max = float(penalty.dual_norms(self.gradient).max(initial=0.0))
        self._alpha = self.alpha_max
        self._before = (self.alpha_max, self.gradient)
        self._rows_before = np.zeros((problem.columns, problem.features))

    def solve(self, alpha: float) -> Solution:
        """The optimum at `alpha`, from the current coefficients."""
        penalty = self.penalty.at(alpha)
        if alpha == 0 and not penalty.is_quadratic:
            return self._solve_unpenalized()
        if alpha == 0 and penalty.inverse is None:
            raise ValueError("alpha=0 with similarity needs ridge > 0: without either, coefficients may be anything")
        target = self.tol * self.null_objective
        expected = self.penalty.dual_norms(self._foresee(alpha))
        self._prune(expected, alpha)
        self._admit(expected, 0.98 * alpha)
        earlier_rows = self._everywhere()
        self._stride(penalty)
        iterations, gap, inner, earlier = 0, np.inf, 0.9, self.gradient
        while True:
            iterations += self._solve_on_set(penalty, inner * target, self.max_iter - iterations)
            self.gradient = self.problem.correlate(self.theta)
            objective = self.problem.value(self.z) + penalty.value(self.W)
            dual = dual_value(self.problem, penalty, self.theta, self.gradient, self._everywhere())
            gap = max(objective - dual, 0.0)
            if self.verbose:
                self._tell(alpha, gap)
            if gap <= target:
                break
            if iterations >= self.max_iter:
                self._warn(alpha, gap)
                break
            if not self._admit(penalty.dual_norms(self.gradient), alpha):
                inner *= 0.2
                if inner < 1e-6:
                    self._warn(alpha, gap)
                    break
        self._before, self._rows_before, self._alpha = (self._alpha, earlier), earlier_rows, alpha
        alive = np.flatnonzero(np.any(self.W != 0, axis=0))
        return Solution(
            alpha, self.set.indices[alive], self.W[:, alive], self.intercepts.copy(), objective, gap, iterations
        )

    def _solve_unpenalized(self) -> Solution:
        """The optimum at α = 0, where nothing is sparse and nothing joins the tasks."""
        problem, target = self.problem, self.tol * self.null_objective
        W, intercepts, z, gap, steps = fit_unpenalized(problem, problem.null_z, target, min(self.max_iter, 500))
        if gap > target:
            self._warn(0.0, gap)
        alive = np.flatnonzero(np.any(W != 0, axis=0))
        return Solution(0.0, alive, W[:, alive], intercepts, problem.value(z), gap, steps)

    def _solve_on_set(self, penalty: MixedPenalty, target: float, budget: int) -> int:
        """Prox-Newton on the working set until its own gap is at most `target`; returns the passes used."""
        used = 0
        if not len(self.set):
            return used
        previous, decay = np.inf, 0.07
        while used < budget:
            gradient = self.set.backward(self.theta)
            objective = self.problem.value(self.z) + penalty.value(self.W)
            gap = objective - dual_value(self.problem, penalty, self.theta, gradient, self.W)
            if gap <= target:
                break
            # Steps that mend less than the gradient's own rounding are noise.
            floor = 1e-15 * float(np.abs(gradient).max()) * len(self.W)
            if gap > 0.3 * previous:
                decay = max(0.1 * decay, 1e-3)
            previous = gap
            goal, bend, sweeps = self.set.minimize_model(
                penalty,
                self.W,
                self.theta,
                self.problem.curvature(self.z),
                gradient,
                min(budget - used, 1000),
                max(decay * max(gap, 3 * target) / self._reach(penalty, objective), floor),
            )
            used += sweeps
            if not self._go(penalty, goal, bend, objective, gradient):
                break
        return used

    def _reach(self, penalty: MixedPenalty, objective: float) -> float:
        """What an error in a feature's gradient is to be multiplied with to become one in the duality gap."""
        reach = penalty.sparse(self.W)
        return max(reach, 1e-3 * objective / penalty.alpha) if penalty.alpha > 0 else max(reach, 1.0)

    def _go(self, penalty: MixedPenalty, goal: Array, bend: Array, objective: float, gradient: Array) -> bool:
        """Move towards `goal` as far as the objective falls by a fair share of what its slope promises."""
        change = goal - self.W
        dz = self.set.forward(change) + self.problem.spread(bend)
        promised = float(np.vdot(gradient, change)) + penalty.value(goal) - penalty.value(self.W)
        size = 1.0
        while size > 1e-10:
            z = self.z + size * dz
            W = goal if size == 1.0 else self.W + size * change
            value = self.problem.value(z) + penalty.value(W)
            if value <= objective + 1e-4 * size * min(promised, 0.0) + 1e-15 * abs(objective):
                break
            size *= 0.5
        else:
            return False
        shared = recentre(self.problem, penalty, W)
        if shared is not None:
            W, z = W + shared, z + self.set.forward(shared)
        self.W = W
        self.z, shift, self.theta = settle(self.problem, z)
        self.intercepts = self.intercepts + size * bend + shift
        return True

    def _foresee(self, alpha: float) -> Array:
        """The gradient of the losses to be expected at `alpha`: the path is nearly straight in α."""
        last, (before, gradient) = self._alpha, self._before
        if before <= last or not last > alpha:
            return self.gradient
        return self.gradient + (self.gradient - gradient) * ((last - alpha) / (before - last))

    def _stride(self, penalty: MixedPenalty) -> None:
        """Go on in the direction of the last step along the path, if that lowers the objective."""
        last, (before, _) = self._alpha, self._before
        if before <= last or not last > penalty.alpha:
            return
        alive = np.any(self.W != 0, axis=0)
        share = (last - penalty.alpha) / (before - last)
        change = share * alive * (self.W - self._rows_before[:, self.set.indices])
        z, shift, theta = settle(self.problem, self.z + self.set.forward(change))
        here = self.problem.value(self.z) + penalty.value(self.W)
        if self.problem.value(z) + penalty.value(self.W + change) < here:
            self.W, self.z, self.theta, self.intercepts = self.W + change, z, theta, self.intercepts + shift

    def _admit(self, norms: Array, limit: float) -> bool:
        """Let features outside whose dual norm exceeds `limit` join, the worst first."""
        candidates = np.flatnonzero((norms > limit) & self.set.outside)
        room = max(50, 2 * int(np.any(self.W != 0, axis=0).sum()))
        if len(candidates) > room:
            candidates = candidates[np.argpartition(-norms[candidates], room)[:room]]
        self.set.extend(np.sort(candidates))
        self.W = np.hstack([self.W, np.zeros((len(self.W), len(candidates)))])
        return bool(len(candidates))

    def _prune(self, norms: Array, alpha: float) -> None:
        """Let features go that are zero and will hardly be needed, once they are many."""
        kept = np.any(self.W != 0, axis=0) | (norms[self.set.indices] > 0.98 * alpha)
        if 1.2 * kept.sum() + 20 < len(kept):
            self.set.keep(kept)
            self.W = self.W[:, kept]

    def _everywhere(self) -> Array:
        """The coefficients of all features `(C, p)`."""
        full = np.zeros((self.problem.columns, self.problem.features))
        full[:, self.set.indices] = self.W
        return full

    def _tell(self, alpha: float, gap: float) -> None:
        alive = int(np.any(self.W != 0, axis=0).sum())
        sys.stderr.write(
            f"alpha={alpha:.4g}: {alive} features, {len(self.set)} in the working set, "
            f"relative gap {gap / max(self.null_objective, 1e-300):.2g}\n"
        )

    def _warn(self, alpha: float, gap: float) -> None:
        warnings.warn(
            f"alpha={alpha:.4g}: stopped at a relative duality gap of {gap / max(self.null_objective, 1e-300):.2g}, "
            f"above tol={self.tol:.2g}; raise max_iter (now {self.max_iter}) or tol",
            ConvergenceWarning,
            stacklevel=3,
        )
