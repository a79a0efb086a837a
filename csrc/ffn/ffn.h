// Neurons of a feed-forward network: what becomes of what their weights yield, on hosts and devices alike.
#pragma once

#include <cmath>

#include "../common/host_device.h"

namespace lomt {

enum class Activation : int { silu = 0, gelu = 1, gelu_tanh = 2, relu = 3 };

// C is float or double. A NaN stays one.
template <class C>
LOMT_HD C activated(Activation kind, C x) {
  switch (kind) {
    case Activation::silu:
      return x / (C(1) + std::exp(-x));
    case Activation::gelu:
      return C(0.5) * x * (C(1) + std::erf(x * C(0.70710678118654752440)));
    case Activation::gelu_tanh:
      return C(0.5) * x * (C(1) + std::tanh(C(0.79788456080286535588) * (x + C(0.044715) * x * x * x)));
    case Activation::relu:
      break;
  }
  return x < C(0) ? C(0) : x;
}

}  // namespace lomt
