// Activations in float and double against long doubles, and at the ends of their range.
#include <cmath>
#include <cstdio>
#include <limits>

#include "../ffn/ffn.h"

namespace {

using lomt::activated;
using lomt::Activation;

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

long double exactly(Activation kind, long double x) {
  switch (kind) {
    case Activation::silu:
      return x / (1 + std::exp(-x));
    case Activation::gelu:
      return x * std::erfc(-x / std::sqrt(2.0L)) / 2;
    case Activation::gelu_tanh:
      return x / (1 + std::exp(-2 * std::sqrt(2 / std::acos(-1.0L)) * (x + 0.044715L * x * x * x)));
    case Activation::relu:
      return x > 0 ? x : 0;
  }
  return 0;
}

const Activation kAll[] = {Activation::silu, Activation::gelu, Activation::gelu_tanh, Activation::relu};

template <class C>
void values(const char* name) {
  for (const Activation kind : kAll) {
    for (int i = -4000; i <= 4000; ++i) {
      const C x = static_cast<C>(i) / 200;
      const long double wanted = exactly(kind, x);
      // 1 + erf and 1 + tanh cancel below 0: the error is that of a number next to x.
      const long double allowed = 8 * std::numeric_limits<C>::epsilon() * (std::fabs(wanted) + std::fabs(x));
      const long double error = std::fabs(activated(kind, x) - wanted);
      CHECK(error <= allowed, "%s %d of %g is off by %Lg", name, int(kind), double(x), error);
    }
    CHECK(activated(kind, C(0)) == 0, "%s %d of 0", name, int(kind));
    CHECK(std::isnan(activated(kind, C(NAN))), "%s %d of a NaN", name, int(kind));
    CHECK(activated(kind, C(1e30)) == C(1e30), "%s %d of much", name, int(kind));
    CHECK(activated(kind, C(-1e6)) == 0, "%s %d of little", name, int(kind));
  }
}

}  // namespace

int main() {
  values<float>("float");
  values<double>("double");
  std::printf(failures ? "%d failures\n" : "all well\n", failures);
  return failures != 0;
}
