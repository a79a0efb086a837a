// What is shared by hosts and devices, against brute force: conversions of halves, and the root of the metric form.
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "../common/dtype.h"
#include "../shrink/shrink.h"

namespace {

int failures = 0;

#define CHECK(condition, ...)          \
  do {                                 \
    if (!(condition)) {                \
      std::printf("%s: ", #condition); \
      std::printf(__VA_ARGS__);        \
      std::printf("\n");               \
      ++failures;                      \
    }                                  \
  } while (false)

// Every half comes back from the number that it stands for; every number between two goes to the nearer one, to the
// even one in the middle.
template <class Half>
void halves(const char* name) {
  for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const Half half{static_cast<uint16_t>(bits)};
    const double value = lomt::load(&half);
    Half back{0};
    lomt::store(&back, value);
    if (value != value) {
      const double again = lomt::load(&back);
      CHECK(again != again, "%s %04x is a NaN and comes back as %g", name, bits, again);
      continue;
    }
    CHECK(back.bits == bits, "%s %04x comes back as %04x", name, bits, back.bits);
    const Half next{static_cast<uint16_t>(bits + 1)};
    const double other = lomt::load(&next);
    if ((bits & 0x7fff) == 0x7fff || !std::isfinite(other) || !std::isfinite(value)) continue;
    const double middle = (value + other) / 2, apart = other - value;
    for (const double share : {-0.25, -1e-9, 0.0, 1e-9, 0.25}) {
      lomt::store(&back, middle + share * apart);
      const uint32_t expected = share < 0 ? bits : share > 0 ? bits + 1 : bits + (bits & 1);
      CHECK(back.bits == expected, "%s %04x + %g goes to %04x", name, bits, 0.5 + share, back.bits);
    }
  }
}

double norm_at(const std::vector<double>& W, const std::vector<double>& D, double tau, double theta) {
  double psi = 0;
  for (size_t i = 0; i < W.size(); ++i) psi += std::pow(W[i] * lomt::inverse_shift(theta, tau, D[i]), 2);
  return psi;
}

// The root by bisection.
double bisected(const std::vector<double>& W, const std::vector<double>& D, double tau) {
  double low = 0, high = 0;
  for (const double w : W) high += w * w;
  high = std::sqrt(high);
  if (norm_at(W, D, tau, 0) <= 1) return 0;
  for (int i = 0; i < 200; ++i) {
    const double middle = (low + high) / 2;
    (norm_at(W, D, tau, middle) > 1 ? low : high) = middle;
  }
  return low;
}

double solved(const std::vector<double>& W, const std::vector<double>& D, double tau, double start, int* looks) {
  lomt::Root root = lomt::Root::from(start);
  for (*looks = 0; root.open && *looks < lomt::kLooks; ++*looks) {
    double psi = 0, chi = 0, omega = 0;
    for (size_t i = 0; i < W.size(); ++i) {
      const double q = lomt::inverse_shift(root.theta, tau, D[i]), term = W[i] * q;
      psi += term * term;
      chi += term * term * q;
      omega += term * term * q * q;
    }
    root.look(psi, chi, omega, 1e-16);
  }
  return root.theta;
}

void roots() {
  std::mt19937 random(0);
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform(0, 1);
  for (int round = 0; round < 4000; ++round) {
    const int size = 1 + static_cast<int>(uniform(random) * 40);
    std::vector<double> W(size), D(size);
    for (int i = 0; i < size; ++i) {
      W[i] = normal(random);
      D[i] = std::pow(10, 8 * (uniform(random) - 0.5));
    }
    double threshold = 0;
    for (int i = 0; i < size; ++i) threshold += std::pow(W[i] * D[i], 2);
    threshold = std::sqrt(threshold);
    // Far from the threshold and next to it, on both sides.
    const double shares[] = {uniform(random), 1 - 1e-3, 1 - 1e-9, 1 + 1e-9, 1.5};
    const double tau = threshold * shares[round % 5];
    const double expected = bisected(W, D, tau);
    // What rounding of psi, some units in its last place, moves the root by: much, next to the threshold.
    double chi = 0;
    for (int i = 0; i < size; ++i) {
      const double q = lomt::inverse_shift(expected, tau, D[i]);
      chi += W[i] * W[i] * q * q * q;
    }
    const double tolerance = 1e-9 * expected + 1e-14 / chi;
    for (const double start : {0.0, expected, 1e6, expected * 1.5, 1e-30, double(NAN), double(INFINITY), -1.0}) {
      int looks = 0;
      const double found = solved(W, D, tau, start, &looks);
      CHECK((found == 0) == (expected == 0), "round %d: %g for %g from %g", round, found, expected, start);
      CHECK(std::fabs(found - expected) <= tolerance, "round %d: %.17g for %.17g from %g", round, found,
            expected, start);
      CHECK(looks < lomt::kLooks, "round %d took %d looks from %g", round, looks, start);
    }
  }
  int looks = 0;
  CHECK(solved({0, 0}, {1, 2}, 0.5, 3.0, &looks) == 0, "zeros are dead from any start");
  CHECK(std::isnan(solved({1, NAN}, {1, 2}, 0.5, 0.0, &looks)), "a NaN stays visible");
  CHECK(std::isnan(solved({1, INFINITY}, {1, 2}, 0.5, 0.0, &looks)), "an infinity becomes visible");
  CHECK(lomt::euclidean_factor(0, 0) == 0 && !std::signbit(lomt::euclidean_factor(0, 0)), "0/0 does not occur");
  CHECK(std::isnan(lomt::euclidean_factor(NAN, 1)), "a NaN norm stays one");
}

}  // namespace

int main() {
  halves<lomt::BFloat16>("bfloat16");
  halves<lomt::Float16>("float16");
  roots();
  std::printf(failures ? "%d failures\n" : "all well\n", failures);
  return failures != 0;
}
