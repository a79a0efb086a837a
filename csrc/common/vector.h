// Vectors of the instruction set that a file is compiled for (LOMT_ISA), in GCC's and Clang's vector extensions.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "dtype.h"

namespace lomt::LOMT_ISA {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class C>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef float type __attribute__((vector_size(kVectorBytes)));
};
template <>
struct VectorOf<double> {
  typedef double type __attribute__((vector_size(kVectorBytes)));
};
template <class C>
using Vector = typename VectorOf<C>::type;

template <class C>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(C));

// How many of a vector's lanes are meant: all, known to the compiler, or the first few.
template <class C>
using AllLanes = std::integral_constant<int, kLanes<C>>;

// Calls f(place, lanes) for adjacent numbers, a vector at a time.
template <class C, class F>
inline void for_vectors(int64_t count, F&& f) {
  int64_t i = 0;
  for (; i + kLanes<C> <= count; i += kLanes<C>) f(i, AllLanes<C>{});
  if (i < count) f(i, static_cast<int>(count - i));
}

template <class C>
inline Vector<C> all_of(C value) {
  return value - Vector<C>{};
}

// Adjacent numbers; lanes that are not meant are 0.
template <class C, class T, class N>
inline Vector<C> load_vector(const T* p, N lanes) {
  Vector<C> result = {};
  if constexpr (std::is_same_v<T, C> && !std::is_same_v<N, int>) {
    std::memcpy(&result, p, sizeof result);
#if defined(__AVX512F__)
  } else if constexpr (std::is_same_v<T, Float16> && std::is_same_v<C, float> && !std::is_same_v<N, int>) {
    result = (Vector<C>)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif defined(__AVX2__)
  } else if constexpr (std::is_same_v<T, Float16> && std::is_same_v<C, float> && !std::is_same_v<N, int>) {
    result = (Vector<C>)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#endif
  } else {
    C numbers[kLanes<C>] = {};
    for (int k = 0; k < lanes; ++k) numbers[k] = read(p + k);
    std::memcpy(&result, numbers, sizeof result);
  }
  return result;
}

template <class C, class T, class N>
inline void store_vector(T* p, Vector<C> value, N lanes) {
  if constexpr (std::is_same_v<T, C> && !std::is_same_v<N, int>) {
    std::memcpy(p, &value, sizeof value);
  } else {
    C numbers[kLanes<C>];
    std::memcpy(numbers, &value, sizeof value);
    for (int k = 0; k < lanes; ++k) store(p + k, numbers[k]);
  }
}

// Written past the caches, and so not fetched before; `p` is a multiple of kVectorBytes. streamed() comes before another
// thread reads it.
template <class C>
inline void stream_vector(C* p, Vector<C> value) {
#if defined(__AVX512F__)
  _mm512_stream_si512(reinterpret_cast<__m512i*>(p), (__m512i)value);
#elif defined(__AVX2__)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p), (__m256i)value);
#elif defined(__x86_64__)
  _mm_stream_si128(reinterpret_cast<__m128i*>(p), (__m128i)value);
#else
  std::memcpy(p, &value, sizeof value);
#endif
}

inline void streamed() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

// What is read where `value` is stored as a T.
template <class T, class C>
inline Vector<C> as_stored(Vector<C> value) {
  if constexpr (std::is_same_v<T, C>) {
    return value;
  } else {
    T numbers[kLanes<C>];
    store_vector<C>(numbers, value, AllLanes<C>{});
    return load_vector<C>(numbers, AllLanes<C>{});
  }
}

inline Vector<float> square_root(Vector<float> x) {
#if defined(__AVX512F__)
  return (Vector<float>)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__)
  return (Vector<float>)_mm256_sqrt_ps((__m256)x);
#else
  for (int k = 0; k < kLanes<float>; ++k) x[k] = std::sqrt(x[k]);
  return x;
#endif
}

inline Vector<double> square_root(Vector<double> x) {
#if defined(__AVX512F__)
  return (Vector<double>)_mm512_sqrt_pd((__m512d)x);
#elif defined(__AVX2__)
  return (Vector<double>)_mm256_sqrt_pd((__m256d)x);
#else
  for (int k = 0; k < kLanes<double>; ++k) x[k] = std::sqrt(x[k]);
  return x;
#endif
}

// 1 / x to about two units in the last place, for x from 1e-37 to 1e37: an estimate and one of Newton's steps.
inline Vector<float> reciprocal(Vector<float> x) {
#if defined(__AVX512F__)
  const __m512 y = _mm512_rcp14_ps((__m512)x);
  return (Vector<float>)_mm512_fmadd_ps(y, _mm512_fnmadd_ps((__m512)x, y, _mm512_set1_ps(1.0f)), y);
#elif defined(__AVX2__)
  const __m256 y = _mm256_rcp_ps((__m256)x);
  return (Vector<float>)_mm256_fmadd_ps(y, _mm256_fnmadd_ps((__m256)x, y, _mm256_set1_ps(1.0f)), y);
#else
  return 1.0f / x;
#endif
}

inline Vector<double> reciprocal(Vector<double> x) { return 1.0 / x; }

}  // namespace lomt::LOMT_ISA
