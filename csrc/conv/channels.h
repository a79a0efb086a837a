// Live channels of one pixel, to and from a place where they lie together, a vector of eight at a time.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "../common/vector.h"
#include "call.h"

namespace lomt::LOMT_ISA {

// Eight adjacent channels, some of them alive.
struct Octet {
  int32_t first;  // channel
  uint8_t mask, count;
};

// The live channels of a list by octets. Where there are eight channels, the last octet begins early enough to end with
// the last channel.
inline std::vector<Octet> octets_of(const Channels& channels) {
  std::vector<Octet> found;
  const int64_t last = std::max<int64_t>(0, channels.all - 8);
  for (int64_t i = 0; i < channels.count;) {
    const int64_t first = std::min<int64_t>(channels.live[i] & ~int64_t{7}, last);
    Octet octet{static_cast<int32_t>(first), 0, 0};
    for (; i < channels.count && channels.live[i] < first + 8; ++i, ++octet.count)
      octet.mask |= static_cast<uint8_t>(1u << (channels.live[i] - first));
    found.push_back(octet);
  }
  return found;
}

struct Lanes {
  std::array<std::array<int32_t, 8>, 256> live;  // of each mask: the lanes that are alive, then anything
  std::array<std::array<int32_t, 8>, 256> rank;  // of each mask and lane: how many live ones come before it
};

constexpr Lanes lanes_of_masks() {
  Lanes lanes{};
  for (int mask = 0; mask < 256; ++mask) {
    int count = 0;
    for (int lane = 0; lane < 8; ++lane) {
      lanes.rank[mask][lane] = count & 7;
      if (mask >> lane & 1) lanes.live[mask][count++] = lane;
    }
  }
  return lanes;
}

alignas(32) constexpr Lanes kLanesOf = lanes_of_masks();

// Copies the live channels of one pixel, whose channels are adjacent. Writes up to seven numbers too many.
template <class C, class T>
inline void compress(const T* pixel, const Octet* begin, const Octet* end, bool whole, C* out) {
#if defined(__AVX2__)
  if constexpr (std::is_same_v<T, float>) {
    if (whole) {
      for (const Octet* octet = begin; octet != end; ++octet) {
        const __m256 eight = _mm256_loadu_ps(pixel + octet->first);
        const __m256i order = _mm256_load_si256(reinterpret_cast<const __m256i*>(kLanesOf.live[octet->mask].data()));
        _mm256_storeu_ps(out, _mm256_permutevar8x32_ps(eight, order));
        out += octet->count;
      }
      return;
    }
  }
#endif
  (void)whole;
  for (const Octet* octet = begin; octet != end; ++octet) {
    const std::array<int32_t, 8>& live = kLanesOf.live[octet->mask];
    for (int k = 0; k < octet->count; ++k) out[k] = read(pixel + octet->first + live[k]);
    out += octet->count;
  }
}

// Puts live channels at their places in a pixel; the others keep what they hold. Reads up to seven numbers too many.
template <class C, class T>
inline void expand(const C* narrow, const Octet* begin, const Octet* end, bool whole, T* pixel) {
#if defined(__AVX2__)
  if constexpr (std::is_same_v<T, float>) {
    if (whole) {
      const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
      for (const Octet* octet = begin; octet != end; ++octet) {
        // One that begins early holds lanes of another one, which may be another thread's.
        if (octet->first % 8 != 0) {
          expand(narrow, octet, octet + 1, false, pixel);
          break;
        }
        const __m256i rank = _mm256_load_si256(reinterpret_cast<const __m256i*>(kLanesOf.rank[octet->mask].data()));
        const __m256 eight = _mm256_permutevar8x32_ps(_mm256_loadu_ps(narrow), rank);
        const __m256i mask = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(octet->mask), bits), bits);
        const __m256 before = _mm256_loadu_ps(pixel + octet->first);
        _mm256_storeu_ps(pixel + octet->first, _mm256_blendv_ps(before, eight, _mm256_castsi256_ps(mask)));
        narrow += octet->count;
      }
      return;
    }
  }
#endif
  (void)whole;
  for (const Octet* octet = begin; octet != end; ++octet) {
    const std::array<int32_t, 8>& live = kLanesOf.live[octet->mask];
    for (int k = 0; k < octet->count; ++k) store(pixel + octet->first + live[k], narrow[k]);
    narrow += octet->count;
  }
}

#if defined(__AVX2__)
inline void transpose(__m256 (&r)[8]) {
  __m256 t[8], u[8];
  for (int k = 0; k < 4; ++k) {
    t[2 * k] = _mm256_unpacklo_ps(r[2 * k], r[2 * k + 1]);
    t[2 * k + 1] = _mm256_unpackhi_ps(r[2 * k], r[2 * k + 1]);
  }
  for (int k = 0; k < 2; ++k) {
    u[4 * k] = _mm256_shuffle_ps(t[4 * k], t[4 * k + 2], 0x44);
    u[4 * k + 1] = _mm256_shuffle_ps(t[4 * k], t[4 * k + 2], 0xee);
    u[4 * k + 2] = _mm256_shuffle_ps(t[4 * k + 1], t[4 * k + 3], 0x44);
    u[4 * k + 3] = _mm256_shuffle_ps(t[4 * k + 1], t[4 * k + 3], 0xee);
  }
  for (int k = 0; k < 4; ++k) {
    r[k] = _mm256_permute2f128_ps(u[k], u[k + 4], 0x20);
    r[k + 4] = _mm256_permute2f128_ps(u[k], u[k + 4], 0x31);
  }
}
#endif

// Rows of planes (channels, pixels) become rows of pixels (pixels, channels): out[p * ld + k] = planes[k][p * step].
template <class C, class T>
inline void to_pixels(const T* const* planes, int64_t channels, int64_t pixels, int64_t step, C* out, int64_t ld) {
  int64_t k = 0;
#if defined(__AVX2__)
  if constexpr (std::is_same_v<T, float>) {
    if (step == 1) {
      for (; k + 8 <= channels; k += 8) {
        int64_t p = 0;
        for (; p + 8 <= pixels; p += 8) {
          __m256 r[8];
          for (int j = 0; j < 8; ++j) r[j] = _mm256_loadu_ps(planes[k + j] + p);
          transpose(r);
          for (int j = 0; j < 8; ++j) _mm256_storeu_ps(out + (p + j) * ld + k, r[j]);
        }
        for (; p < pixels; ++p)
          for (int j = 0; j < 8; ++j) out[p * ld + k + j] = planes[k + j][p];
      }
    }
  }
#endif
  for (; k < channels; ++k)
    for (int64_t p = 0; p < pixels; ++p) out[p * ld + k] = read(planes[k] + p * step);
}

// And back: planes[k][p * step] = rows[order[p] * ld + k].
template <class C, class T>
inline void to_planes(const C* rows, const int32_t* order, int64_t ld, int64_t channels, int64_t pixels, int64_t step,
                      T* const* planes) {
  int64_t k = 0;
#if defined(__AVX2__)
  if constexpr (std::is_same_v<T, float>) {
    if (step == 1) {
      for (; k + 8 <= channels; k += 8) {
        int64_t p = 0;
        for (; p + 8 <= pixels; p += 8) {
          __m256 r[8];
          for (int j = 0; j < 8; ++j) r[j] = _mm256_loadu_ps(rows + order[p + j] * ld + k);
          transpose(r);
          for (int j = 0; j < 8; ++j) _mm256_storeu_ps(planes[k + j] + p, r[j]);
        }
        for (; p < pixels; ++p)
          for (int j = 0; j < 8; ++j) planes[k + j][p] = rows[order[p] * ld + k + j];
      }
    }
  }
#endif
  for (; k < channels; ++k)
    for (int64_t p = 0; p < pixels; ++p) store(planes[k] + p * step, rows[order[p] * ld + k]);
}

}  // namespace lomt::LOMT_ISA
