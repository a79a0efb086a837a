// The mathematics of the proximal optimizers' steps, for hosts and devices alike.
//
// W is what the plain optimizer's step leaves, rounded to the weight's type; D is the metric, 1 for SGD and
// sqrt(v) + eps * root for AdamW, with root = sqrt(1 - beta2^t): a metric and its step may be scaled alike, so v's bias
// is corrected in two numbers instead of all weights. Then each group becomes the U that minimizes
// sum D (U - W)^2 / 2 + p(|U|), p(t) = tau t - c t^2 / 2 up to its end tau / c and flat from there on; c = 0 is the
// group lasso, c = step / gamma the minimax concave penalty.
#pragma once

#include "../common/dtype.h"
#include "../shrink/shrink.h"

namespace lomt {

// One AdamW step's numbers for one tensor. X is a number or a vector of them.
template <class C>
struct AdamW {
  C beta1, rest1, beta2, rest2;  // rest = 1 - beta
  C decay;                       // 1 - lr * weight_decay
  C size;                        // of the step along m / D
  C eps;
  C sign;  // of the gradient, and 1 / grad_scale

  template <class X>
  LOMT_HD X first(X m, X g) const {
    return beta1 * m + rest1 * g;
  }
  template <class X>
  LOMT_HD X second(X v, X g) const {
    return beta2 * v + rest2 * g * g;
  }
};

// One SGD step's numbers.
template <class C>
struct SGD {
  C lr, momentum, rest, decay, sign;  // rest = 1 - dampening, 1 at the first step
};

// The proximal operator's numbers, in the scaled metric.
struct Price {
  double tau, curvature;
  LOMT_HD double end() const { return curvature > 0 ? tau / curvature : INFINITY; }
  LOMT_HD double of(double norm) const { return norm * (tau - norm * curvature / 2); }
};

// What both optimizers are told.
struct StepNumbers {
  double lr, beta1, beta2, eps, weight_decay;
  double momentum, dampening;
  double gamma;  // infinite: the group lasso
  bool maximize, nesterov;
};

template <class C>
LOMT_HD AdamW<C> adamw_of(const StepNumbers& n, double lr, double step, double grad_scale, double* root) {
  const double correction = 1 - pow(n.beta1, step);
  *root = sqrt(1 - pow(n.beta2, step));
  return {static_cast<C>(n.beta1),     static_cast<C>(1 - n.beta1),
          static_cast<C>(n.beta2),     static_cast<C>(1 - n.beta2),
          static_cast<C>(1 - lr * n.weight_decay), static_cast<C>(lr * *root / correction),
          static_cast<C>(n.eps * *root), static_cast<C>((n.maximize ? -1 : 1) / grad_scale)};
}

template <class C>
LOMT_HD SGD<C> sgd_of(const StepNumbers& n, double lr, bool first, double grad_scale) {
  return {static_cast<C>(lr), static_cast<C>(first ? 0 : n.momentum), static_cast<C>(first ? 1 : 1 - n.dampening),
          static_cast<C>(n.weight_decay), static_cast<C>((n.maximize ? -1 : 1) / grad_scale)};
}

// `price` is lambda sqrt(|g|), `step` the step size in the scaled metric.
LOMT_HD Price price_of(double price, double step, double gamma) {
  return {step * price, gamma < INFINITY && price > 0 ? step / gamma : 0.0};
}

// What one look at a group's members sums up, at theta.
struct Sums {
  double psi, chi, omega;  // sum W^2 q^2, sum W^2 q^2 s, sum W^2 q^2 s^2 (shrink.h)
  double square, kappa;    // sum W^2, sum D W^2 (1 - theta q)^2: only with a concave price
};

// What a look adds for one member. With rest = tau - c theta, q = D / (theta D + rest) and s = q - c / (theta D + rest).
LOMT_HD void add_member(Sums& sums, double W, double D, double theta, double rest, double curvature) {
  const double r = 1 / (theta * D + rest), q = D * r, t = W * q;
  const double slope = q - curvature * r;
  sums.psi += t * t;
  sums.chi += t * t * slope;
  sums.omega += t * t * slope * slope;
  if (curvature > 0) {
    const double lost = W * (1 - theta * q);
    sums.square += W * W;
    sums.kappa += D * lost * lost;
  }
}

// One group on its way: where the next look is, and, once closed, what it becomes: U = W theta D / (theta D + rest), 0
// where theta is 0, W where rest is 0.
struct Group {
  Root root;
  bool blank;     // nothing is known yet
  bool flat;      // the guess is that the price is flat where the group is, and that it stays as it is
  bool doubtful;  // sums in float32 can't decide: float64 must
  double theta, rest, norm;

  // Starts at a guess of the norm; where that is a NaN, or nothing shrinks, at |W|. Then, and where the guess is flat,
  // the first look is at theta = 1 without a rest, where psi is |W|^2.
  LOMT_HD static Group from(double guess, const Price& price) {
    Group group{Root::from(1), true, false, false, 1, 0, 0};
    if (guess == guess && price.tau > 0) group.start(guess, price);
    return group;
  }

  LOMT_HD void start(double guess, const Price& price) {
    blank = false;
    flat = guess >= price.end();
    root = Root::from(flat ? price.end() : guess);
    if (!flat) aim(price);
  }

  LOMT_HD bool open() const { return root.open && !doubtful; }

  LOMT_HD void aim(const Price& price) {
    theta = root.theta;
    rest = price.tau - price.curvature * theta;
    if (rest < 0) rest = 0;
  }

  // Takes a look's sums. They err by `fuzz` (relative); the group may err by `accept`.
  LOMT_HD void look(const Sums& s, const Price& price, double fuzz, double accept) {
    if (blank) {
      price.tau > 0 ? start(sqrt(s.psi), price) : keep(sqrt(s.psi));
      return;
    }
    const double end = price.end();
    if (!(s.psi < INFINITY && s.chi < INFINITY && s.chi > -INFINITY) && fuzz > 0) {
      doubtful = true;
      return;
    }
    if (flat) {  // psi is convex in theta: where it falls at the end, and is above 1 there, it was so all the way
      flat = false;
      if (s.psi < INFINITY && s.psi > end * end * (1 + fuzz) && s.chi > fuzz * s.psi) {
        keep(sqrt(s.psi));
      } else {
        aim(price);
      }
      return;
    }
    if (fuzz > 0 && end < INFINITY && fabs(s.square - end * end) <= fuzz * end * end) {
      doubtful = true;
      return;
    }
    if (theta == 0 && fabs(s.psi - 1) <= fuzz) {
      doubtful = true;
      return;
    }
    const double at = theta;
    root.look(s.psi, s.chi, s.omega, accept, end);
    if (root.open) {
      aim(price);
      return;
    }
    if (fuzz > 0) {
      // Next to its threshold a group is ill-conditioned: an error of psi becomes one of theta, over mu.
      doubtful = root.outside || (root.theta > 0 && at * s.chi < 0.1 * s.psi);
      if (s.square > end * end) {
        const double cost = s.kappa / 2 + price.of(at), free = price.tau * end / 2;
        doubtful |= !(fabs(free - cost) > 1e-3 * free);
        if (!doubtful && free < cost) {
          keep(sqrt(s.square));
          return;
        }
      }
    }
    close(price);
  }

  // W itself.
  LOMT_HD void keep(double size) {
    root.open = false;
    theta = 1;
    rest = 0;
    norm = size;
  }

  // The root's.
  LOMT_HD void close(const Price& price) {
    aim(price);
    norm = theta;
  }

  // In float64, once the root is found (a group that was kept has no rest): with a concave price W itself may be better.
  // `s` are the sums there.
  LOMT_HD void choose(const Sums& s, const Price& price) {
    const double end = price.end();
    if (root.outside || (s.square > end * end && price.tau * end / 2 < s.kappa / 2 + price.of(root.theta))) {
      keep(sqrt(s.square));
    } else {
      close(price);
    }
  }
};

// The norm that a group will have if that goes on changing as it did.
LOMT_HD double guess_of(double norm, double change) {
  const double ahead = norm + 0.9 * change;
  return ahead > 0 ? ahead : norm;
}

// How far sums of float32 terms may be off, in blocks that are added up in float64; and what a group may be off by then.
template <class C>
struct Precision {
  static constexpr double fuzz = 4e-6, accept = 1e-7;
};
template <>
struct Precision<double> {
  static constexpr double fuzz = 1e-12, accept = 1e-16;
};

// --- One weight and one group at a time, as GPUs do it.

// A number as a weight's type holds it.
template <class T, class C>
LOMT_HD C rounded(C value) {
  T held;
  store(&held, value);
  return read(&held);
}

// W and D of one weight.
template <class C>
struct Member {
  C weight, metric;
};

// AdamW's step of one weight; the moments become the new ones.
template <class T, class C>
LOMT_HD Member<C> stepped(const AdamW<C>& n, bool amsgrad, C weight, C grad, C* first, C* second, C* greatest) {
  using std::sqrt;
  *first = n.first(*first, grad);
  *second = n.second(*second, grad);
  C v = *second;
  if (amsgrad) {
    const C most = *greatest;
    v = v > most ? v : most != most ? most : v != v ? v : most;
    *greatest = v;
  }
  const C metric = sqrt(rounded<T>(v)) + n.eps;
  return {rounded<T>(weight * n.decay - *first * n.size / metric), metric};
}

// SGD's; `momentum` is also the first step's, for Nesterov. `buffered`: with momentum.
template <class T, class C>
LOMT_HD Member<C> stepped(const SGD<C>& n, bool buffered, C momentum, bool nesterov, C weight, C grad, C* buffer) {
  C g = grad + n.decay * weight;
  if (buffered) {
    // A fresh buffer may hold anything, NaNs too.
    *buffer = n.momentum == 0 ? n.rest * g : n.momentum * *buffer + n.rest * g;
    g = nesterov ? g + momentum * *buffer : *buffer;
  }
  return {rounded<T>(weight - n.lr * g), C{1}};
}

// U from W: 0 where theta is 0, W where rest is 0.
template <class C>
LOMT_HD C shrunk_one(const Member<C>& member, C theta, C rest) {
  if (theta == 0) return C{0};
  if (rest == 0) return member.weight;
  const C t = theta * member.metric;
  return member.weight * (t / (t + rest));
}

// A group whose sums are float64, which decide by themselves; with a concave price it is looked at once more, at its
// root, to choose.
struct Exact {
  Group group;
  bool choosing;

  LOMT_HD static Exact from(double guess, const Price& price) { return {Group::from(guess, price), false}; }
  LOMT_HD bool open() const { return group.root.open || choosing; }

  LOMT_HD void look(const Sums& s, const Price& price, double accept) {
    if (choosing) {
      choosing = false;
      s.square < INFINITY ? group.choose(s, price) : spoil();
      return;
    }
    group.look(s, price, 0, accept);
    if (group.root.open || !(price.curvature > 0 && price.tau > 0)) return;
    if (group.rest == 0 && group.theta != group.root.theta) {  // W is kept already
      if (!(group.norm < INFINITY)) spoil();
      return;
    }
    choosing = true;
    group.aim(price);
  }

  LOMT_HD void spoil() { group.theta = group.rest = group.norm = NAN; }

  // After the last look that there is time for.
  LOMT_HD void end(const Price& price) {
    if (open()) group.close(price);
  }
};

}  // namespace lomt
