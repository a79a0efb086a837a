// The mathematics of group shrinkage, for hosts and devices alike.
//
// Euclidean: U = W * max(0, 1 - tau / |W|).
// In a diagonal metric D (Deleu and Bengio, arXiv 2102.03869): U = 0 where |D W| <= tau, else U = W theta q with
// q = D / (theta D + tau), where theta = |U| > 0 solves psi(theta) = sum W^2 q^2 = 1.
// h(theta) = 1 / sqrt(psi) - 1 is increasing and concave. So Newton's step from any theta ends left of the root, and
// from there on they rise towards it. A step that ends above 0 therefore proves that the group is alive.
#pragma once

#include <cmath>

#include "../common/host_device.h"

namespace lomt {

// The factor of a group of the Euclidean form. A NaN stays one: `!(norm <= tau)` lets it through.
LOMT_HD double euclidean_factor(double square, double tau) {
  const double norm = sqrt(square);
  return norm <= tau ? 0.0 : 1.0 - tau / norm;
}

// 1 / (theta + tau / D), also where D is 0 and tau / D would be infinite.
LOMT_HD double inverse_shift(double theta, double tau, double D) { return D / (theta * D + tau); }

// Newton's method for one group's theta.
struct Root {
  double theta;
  bool open;
  bool left;  // of the root, as all guesses but the first are

  // Where to start: at the last solution, else at |W|, which is no less; at 0, where dead and alive part, if neither is
  // usable.
  LOMT_HD static Root from(double start) { return {start > 0 && start < INFINITY ? start : 0.0, true, false}; }
  LOMT_HD static Root known(double theta) { return {theta, false, true}; }

  // One look: psi = sum W^2 q^2 and chi = sum W^2 q^3 at theta; `tolerance` is on the relative step, whose square
  // bounds the error. A step back from the left of the root is rounding: there is no more to be seen.
  LOMT_HD void look(double psi, double chi, double tolerance) {
    if (!open) return;
    if (theta == 0 && psi <= 1) {
      open = false;
      return;
    }
    if (psi == 0) {  // all weights are 0, or too small to be seen from here: 0 decides
      theta = 0;
      return;
    }
    const double step = (sqrt(psi) - 1) * psi / chi;
    const double next = theta + step;
    if (next != next) {
      theta = next;  // a NaN or an infinity among the weights stays visible
      open = false;
      return;
    }
    if (left && step <= 0) {
      open = false;
      return;
    }
    left = fabs(step) <= 1e3 * next;  // after a longer one, rounding may have carried it past the root
    open = !(next > 0 && fabs(step) <= tolerance * next);
    theta = next > 0 ? next : 0.0;
  }
};

// Newton's steps of one group at most; a decade of D within a group costs one from a cold start.
constexpr int kLooks = 200;

}  // namespace lomt
