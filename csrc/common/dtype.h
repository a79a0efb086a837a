// Element types of tensors, and how each is read into the type that is computed with, and written from it.
#pragma once

#include <cstdint>
#include <cstring>

#include "host_device.h"

namespace lomt {

enum class DType : int { float32 = 0, float64 = 1, bfloat16 = 2, float16 = 3 };

struct BFloat16 {
  uint16_t bits;
};

struct Float16 {
  uint16_t bits;
};

LOMT_HD float float_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

LOMT_HD uint32_t bits_of_float(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

// What norms, thresholds and metrics of weights of a type are held in.
template <class T>
struct Wide {
  using type = float;
};
template <>
struct Wide<double> {
  using type = double;
};

LOMT_HD float read(const float* p) { return *p; }
LOMT_HD double read(const double* p) { return *p; }
LOMT_HD float read(const BFloat16* p) { return float_of_bits(static_cast<uint32_t>(p->bits) << 16); }
LOMT_HD float read(const Float16* p) {
  const uint32_t sign = static_cast<uint32_t>(p->bits & 0x8000u) << 16;
  const uint32_t rest = p->bits & 0x7fffu;
  // Shifted into place, the exponent is 112 too small; multiplying by 2^112 mends that, and subnormals with it.
  const float scaled = float_of_bits(rest << 13) * float_of_bits(0x77800000u);
  const uint32_t special = rest >= 0x7c00u ? 0x7f800000u | (rest << 13) : bits_of_float(scaled);
  return float_of_bits(sign | special);
}

// The same as a float64.
template <class T>
LOMT_HD double load(const T* p) {
  return read(p);
}

LOMT_HD void store(float* p, float value) { *p = value; }
LOMT_HD void store(float* p, double value) { *p = static_cast<float>(value); }
LOMT_HD void store(double* p, double value) { *p = value; }

// From a float64, both halves go by way of a float that is rounded to odd, so that rounding twice gives what rounding
// once does.
LOMT_HD float to_odd(double value) {
  const float nearest = static_cast<float>(value);
  if (static_cast<double>(nearest) == value || value != value) return nearest;
  uint32_t bits = bits_of_float(nearest);
  const double distance = static_cast<double>(nearest) - value;
  if ((bits & 1u) == 0) {
    const bool away = (value < 0) ? distance < 0 : distance > 0;
    bits = away ? bits - 1 : bits + 1;
  }
  return float_of_bits(bits);
}

LOMT_HD void store(BFloat16* p, float value) {
  const uint32_t bits = bits_of_float(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) {
    p->bits = static_cast<uint16_t>((bits >> 16) | 0x40u);
    return;
  }
  p->bits = static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

LOMT_HD void store(Float16* p, float value) {
  const uint32_t bits = bits_of_float(value);
  const uint32_t sign = (bits >> 16) & 0x8000u, rest = bits & 0x7fffffffu;
  if (rest > 0x7f800000u) {
    p->bits = static_cast<uint16_t>(sign | 0x7e00u);
  } else if (rest >= 0x477ff000u) {  // 65520 and more
    p->bits = static_cast<uint16_t>(sign | 0x7c00u);
  } else if (rest < 0x38800000u) {  // below 2^-14: adding 0.5 leaves the subnormal's digits in the last places
    p->bits = static_cast<uint16_t>(sign | (bits_of_float(float_of_bits(rest) + 0.5f) - 0x3f000000u));
  } else {
    p->bits = static_cast<uint16_t>(sign | ((rest - 0x38000000u + 0xfffu + ((rest >> 13) & 1u)) >> 13));
  }
}

LOMT_HD void store(BFloat16* p, double value) { store(p, to_odd(value)); }
LOMT_HD void store(Float16* p, double value) { store(p, to_odd(value)); }

}  // namespace lomt
