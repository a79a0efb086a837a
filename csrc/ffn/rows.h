// Rows of weights against vectors: products and sums, while what is needed next is fetched. For one instruction set
// (LOMT_ISA).
//
// Weights are loaded a unit at a time: a vector, or of bfloat16 two, the numbers of even and of odd places, which cost
// an instruction each. Inputs and totals lie in that order, too (`place`), but for numbers after the last whole unit.
#pragma once

#include <algorithm>

#include "../common/vector.h"

namespace lomt::LOMT_ISA {

// Columns of a few neurons' weights that all rows use before the next ones are read: they stay in the first cache.
constexpr int64_t kTile = 128;

// Vectors of a unit.
template <class C, class T>
constexpr int kVectors = std::is_same_v<T, BFloat16> ? 2 : 1;
template <class C, class T>
constexpr int kUnit = kVectors<C, T> * kLanes<C>;

// Where number i of `size` lies.
template <class C, class T>
int64_t place(int64_t i, int64_t size) {
  constexpr int64_t unit = kUnit<C, T>;
  if (unit == kLanes<C> || i >= size / unit * unit) return i;
  const int64_t k = i % unit;
  return i - k + (k % 2) * kLanes<C> + k / 2;
}

template <class C, class T>
inline void load_unit(const T* p, Vector<C>* vectors) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    typedef uint32_t Bits __attribute__((vector_size(kVectorBytes)));
    Bits pairs;
    std::memcpy(&pairs, p, sizeof pairs);
    vectors[0] = (Vector<C>)(pairs << 16);
    vectors[1] = (Vector<C>)(pairs & 0xffff0000u);
  } else {
    vectors[0] = load_vector<C>(p, AllLanes<C>{});
  }
}

// Calls f(place) for the whole units among adjacent numbers, before each cache line of them fetch(place); returns how
// many numbers these are.
template <class C, class T, class B, class F>
inline int64_t for_units(int64_t count, B&& fetch, F&& f) {
  constexpr int unit = kUnit<C, T>, line = std::max<int>(64 / sizeof(T), unit);
  int64_t i = 0;
  for (; i + line <= count; i += line) {
    fetch(i);
#pragma GCC unroll 8
    for (int k = 0; k < line; k += unit) f(i + k);
  }
  for (; i + unit <= count; i += unit) f(i);
  return i;
}

// Adjacent numbers from `next` on, as many as N rows have, are fetched into the second cache: rows of a few pages are
// too short for the processor's own prefetching.
template <int N, class T>
inline void fetch_rows(const T* next, int64_t stride) {
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n) __builtin_prefetch(next + n * stride, 0, 2);
}

// sums[n] += weights of row n times x, for N rows that are `stride` apart.
template <class C, int N, bool Fetch, class T>
void multiply(const T* weights, const T* next, int64_t stride, int64_t size, const C* x, Vector<C>* sums) {
  constexpr int L = kLanes<C>, V = kVectors<C, T>;
  Vector<C> totals[N];
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n) totals[n] = sums[n];
  int64_t i = for_units<C, T>(
      size, [&](int64_t at) { if constexpr (Fetch) fetch_rows<N>(next + at, stride); },
      [&](int64_t at) {
        Vector<C> values[V];
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) values[v] = load_vector<C>(x + at + v * L, AllLanes<C>{});
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n) {
          Vector<C> w[V];
          load_unit<C>(weights + n * stride + at, w);
#pragma GCC unroll 2
          for (int v = 0; v < V; ++v) totals[n] += w[v] * values[v];
        }
      });
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n) sums[n] = totals[n];
  for (; i < size; i += L) {
    const int rest = static_cast<int>(std::min<int64_t>(L, size - i));
    for (int n = 0; n < N; ++n) sums[n] += load_vector<C>(weights + n * stride + i, rest) * load_vector<C>(x + i, rest);
  }
}

// totals += Σ over n of factors[n] * weights of row n, in the order of rows.
template <class C, int N, bool Fetch, class T>
void add(const T* weights, const T* next, int64_t stride, int64_t size, const C* factors, C* totals) {
  constexpr int L = kLanes<C>, V = kVectors<C, T>;
  int64_t i = for_units<C, T>(
      size, [&](int64_t at) { if constexpr (Fetch) fetch_rows<N>(next + at, stride); },
      [&](int64_t at) {
        Vector<C> total[V];
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) total[v] = load_vector<C>(totals + at + v * L, AllLanes<C>{});
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n) {
          Vector<C> w[V];
          load_unit<C>(weights + n * stride + at, w);
#pragma GCC unroll 2
          for (int v = 0; v < V; ++v) total[v] += w[v] * all_of<C>(factors[n]);
        }
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) store_vector<C>(totals + at + v * L, total[v], AllLanes<C>{});
      });
  for (; i < size; i += L) {
    const int rest = static_cast<int>(std::min<int64_t>(L, size - i));
    Vector<C> total = load_vector<C>(totals + i, rest);
    for (int n = 0; n < N; ++n) total += load_vector<C>(weights + n * stride + i, rest) * all_of<C>(factors[n]);
    store_vector<C>(totals + i, total, rest);
  }
}

// Calls f(weights, what to fetch or null, stride, first column, columns) for tiles of N rows; one tile, where nobody
// shares it. Halves that are shared are converted once.
template <class C, int N, class T, class F>
void for_tiles(const T* weights, const T* next, int64_t size, bool shared, F&& f) {
  if (!shared) return f(weights, next, size, int64_t{0}, size);
  static_assert(kTile % kUnit<C, T> == 0);
  alignas(64) C wide[std::is_same_v<C, T> ? 1 : N * kTile];
  for (int64_t begin = 0; begin < size; begin += kTile) {
    const int64_t columns = std::min(kTile, size - begin);
    if constexpr (std::is_same_v<C, T>) {
      f(weights + begin, next + begin, size, begin, columns);
    } else {
      for (int n = 0; n < N; ++n) {
        const T* from = weights + n * size + begin;
        C* to = wide + n * kTile;
        int64_t i = for_units<C, T>(
            columns, [&](int64_t at) { fetch_rows<1>(next + n * size + begin + at, 0); },
            [&](int64_t at) {
              Vector<C> w[kVectors<C, T>];
              load_unit<C>(from + at, w);
#pragma GCC unroll 2
              for (int v = 0; v < kVectors<C, T>; ++v)
                store_vector<C>(to + at + v * kLanes<C>, w[v], AllLanes<C>{});
            });
        for (; i < columns; ++i) to[i] = read(from + i);
      }
      f(static_cast<const C*>(wide), static_cast<const C*>(nullptr), kTile, begin, columns);
    }
  }
}

}  // namespace lomt::LOMT_ISA
