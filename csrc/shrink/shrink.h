// The mathematics of group shrinkage, for hosts and devices alike.
//
// Euclidean: U = W * max(0, 1 - tau / |W|).
// In a diagonal metric D (Deleu and Bengio, arXiv 2102.03869): U = 0 where |D W| <= tau, else U = W theta q with
// q = D / (theta D + tau), where theta = |U| > 0 solves psi(theta) = sum W^2 q^2 = 1.
// h(theta) = 1 / sqrt(psi) - 1 is increasing and concave. So Newton's step from any theta ends left of the root, and
// from there on they rise towards it. A step that ends above 0 therefore proves that the group is alive.
//
// A concave price, tau t - c t^2 / 2 up to t = tau / c and flat from there on, puts theta D + (tau - c theta) into q's
// denominator. On [0, tau / c] h is still concave, though it may fall again: Newton's step from where h rises ends left
// of the first root, which is the minimum that belongs to this part.
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
  bool left;     // of the root, as all guesses but the first are
  bool outside;  // there is none up to the end of a concave price

  // Where to start: at the last solution, else at |W|, which is no less; at 0, where dead and alive part, if neither is
  // usable.
  LOMT_HD static Root from(double start) { return {start > 0 && start < INFINITY ? start : 0.0, true, false, false}; }
  LOMT_HD static Root known(double theta) { return {theta, false, true, false}; }

  // One look: psi = sum W^2 q^2, chi = sum W^2 q^2 s and omega = sum W^2 q^2 s^2 at theta, where s = (D - c) / (theta D +
  // tau - c theta), which is q without a c. `accept` is the relative error that the shrunk group may have. With
  // H = theta (omega / chi - chi / psi), Newton's relative error after a relative step r is 1.5 H r^2, and Halley's, which
  // bends the step by H, about H r^3. What the shrunk group errs by is that times the root mean square of 1 - theta s,
  // which these sums tell, too. A step back from the left of the root is rounding: there is no more to be seen.
  LOMT_HD void look(double psi, double chi, double omega, double accept, double end = INFINITY) {
    if (!open) return;
    if (theta == 0 && psi <= 1) {
      open = false;
      return;
    }
    if (psi == 0) {  // all weights are 0, or too small to be seen from here: 0 decides
      theta = 0;
      return;
    }
    if (end < INFINITY && chi <= 0) {  // h falls here: a guess was beyond its top, or steps from the left were
      outside = left || theta == 0;
      open = !outside;
      theta = 0;
      left = true;
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
    if (next > end) {
      outside = true;
      open = false;
      return;
    }
    const double relative = fabs(step) / next, mean = theta * chi / psi, square = theta * theta * omega / psi;
    const double H = fmax(0.0, theta * (omega / chi - chi / psi)), part = sqrt(fmax(0.0, 1 - 2 * mean + square));
    left = fabs(step) <= 1e3 * next;  // after a longer one, rounding may have carried it past the root
    if (next > 0 && relative < 0.1 && 5 * H * part * relative * relative * relative <= accept) {
      theta += step / (1 - 1.5 * H * step / theta);
      open = false;
      return;
    }
    theta = next > 0 ? next : 0.0;
  }
};

// Newton's steps of one group at most; a decade of D within a group costs one from a cold start.
constexpr int kLooks = 200;

}  // namespace lomt
