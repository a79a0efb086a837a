// Group norms, group shrinkage and its derivative, on processors. Compiled once an instruction set (LOMT_ISA).
//
// Weights are read once from memory, to be summed, and once more from a cache, to be written. Sums are in float64, so
// that a group is dead or alive as in exact arithmetic, near the threshold too.
#include "call.h"

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "../common/vector.h"
#include "shrink.h"

namespace lomt::LOMT_ISA {
namespace {

// What is read again and again stays in the second cache.
constexpr int64_t kTileBytes = 256 * 1024;
// Rows are written again from the last to the first, since the last ones are still near; forward within such a block,
// for the prefetcher.
constexpr int64_t kBlockBytes = 512 * 1024;
// Columns of a tile at least: rows of a tile lie far apart, and short ones defeat the prefetcher.
constexpr int64_t kColumns = 256;
// Runs of this length are summed one by one; shorter ones column by column.
constexpr int64_t kLongRun = 64;
// From so many bytes on, what is written is not worth a place in the caches.
constexpr int64_t kPastCaches = 1 << 19;
// Bytes between what is added up and what is called for meanwhile: short rows, several at a time, are more than the
// processor's own prefetching follows.
constexpr int64_t kAhead = 32 * 1024;
// Numbers that are worth a thread.
constexpr int64_t kGrain = 1 << 15;

// Numbers of a line of the caches.
template <class T>
constexpr int64_t kLine = 64 / sizeof(T);

struct Tile {
  int64_t base, groups, first;  // of the first number; how many groups; number of the first group
};

// What a thread works with, kept from tile to tile.
struct Scratch {
  std::vector<double> columns, factors, theta, tau, sums;
};

// Groups of a tile that is read twice: as long rows as the threads leave, since columns of a part are no less far from
// each other in a cache than in memory (their addresses collide there).
int64_t groups_read_twice(const ShrinkCall& call, int64_t bytes) {
  const Form& form = call.form;
  if (form.rows == 1) return kTileBytes / (bytes * form.run);
  const int64_t columns = std::max(kColumns, form.length * form.outer / std::max<int64_t>(1, call.threads));
  return (columns + form.run - 1) / form.run;
}

// Groups of a tile that is read until its last group's equation is solved: few.
int64_t groups_read_often(const ShrinkCall& call, int64_t bytes) {
  const Form& form = call.form;
  return std::max(kTileBytes / std::max<int64_t>(1, bytes * form.rows * form.run), (64 + form.run - 1) / form.run);
}

template <class F>
void for_tiles(const ShrinkCall& call, int64_t groups, F&& each) {
  const Form& form = call.form;
  const int64_t in_part = form.groups_of_part();
  if (form.groups() == 0) return;
  groups = std::clamp<int64_t>(groups, 1, in_part);
  const int64_t tiles = (in_part + groups - 1) / groups;
  const int64_t numbers = std::max<int64_t>(1, groups * form.rows * form.run);
  auto body = [&](int64_t begin, int64_t end) {
    Scratch scratch;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t part = i / tiles, start = (i % tiles) * groups;
      each(Tile{part * form.outer_stride + start * form.run, std::min(groups, in_part - start),
                part * in_part + start},
           scratch);
    }
  };
  parallel(call.pool, form.outer * tiles, std::max<int64_t>(1, kGrain / numbers), body);
}

template <int N>
struct Terms {
  double value[N];
};

// Sums of N terms over the members of each of a tile's groups, `sums[k * groups + g]`. term(i, theta, tau) is told the
// number's place and what its group has of both.
template <int N, class Term>
void reduce(const Form& form, const Tile& tile, Scratch& scratch, const double* theta, const double* tau, Term term) {
  const int64_t groups = tile.groups, run = form.run, columns = groups * run;
  scratch.sums.assign(N * groups, 0.0);
  if (run >= kLongRun) {
    for (int64_t g = 0; g < groups; ++g) {
      const double th = theta[g], ta = tau[g];
      double s0 = 0, s1 = 0, s2 = 0, s3 = 0;
      for (int64_t r = 0; r < form.rows; ++r) {
        const int64_t at = tile.base + r * form.row_stride + g * run;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
        for (int64_t j = 0; j < run; ++j) {
          const Terms<N> t = term(at + j, th, ta);
          s0 += t.value[0];
          if constexpr (N > 1) s1 += t.value[1];
          if constexpr (N > 2) s2 += t.value[2];
          if constexpr (N > 3) s3 += t.value[3];
        }
      }
      const double found[4] = {s0, s1, s2, s3};
      for (int k = 0; k < N; ++k) scratch.sums[k * groups + g] = found[k];
    }
    return;
  }
  scratch.columns.assign((N + 2) * columns, 0.0);
  double* __restrict acc = scratch.columns.data();
  double* __restrict th = acc + N * columns;
  double* __restrict ta = th + columns;
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t j = 0; j < run; ++j) {
      th[g * run + j] = theta[g];
      ta[g * run + j] = tau[g];
    }
  }
  for (int64_t r = 0; r < form.rows; ++r) {
    const int64_t at = tile.base + r * form.row_stride;
#pragma omp simd
    for (int64_t j = 0; j < columns; ++j) {
      const Terms<N> t = term(at + j, th[j], ta[j]);
      acc[j] += t.value[0];
      if constexpr (N > 1) acc[columns + j] += t.value[1];
      if constexpr (N > 2) acc[2 * columns + j] += t.value[2];
      if constexpr (N > 3) acc[3 * columns + j] += t.value[3];
    }
  }
  for (int k = 0; k < N; ++k) {
    for (int64_t g = 0; g < groups; ++g) {
      double sum = 0;
      for (int64_t j = 0; j < run; ++j) sum += acc[k * columns + g * run + j];
      scratch.sums[k * groups + g] = sum;
    }
  }
}

// Calls write(i, a, b, c) for every number of a tile with three numbers of its group.
template <class Write>
void apply(const Form& form, const Tile& tile, Scratch& scratch, const double* a, const double* b, const double* c,
           Write write) {
  const int64_t groups = tile.groups, run = form.run, columns = groups * run;
  if (run >= kLongRun) {
    for (int64_t g = 0; g < groups; ++g) {
      const double x = a[g], y = b[g], z = c[g];
      for (int64_t r = 0; r < form.rows; ++r) {
        const int64_t at = tile.base + r * form.row_stride + g * run;
#pragma omp simd
        for (int64_t j = 0; j < run; ++j) write(at + j, x, y, z);
      }
    }
    return;
  }
  scratch.columns.resize(3 * columns);
  double* __restrict xs = scratch.columns.data();
  double* __restrict ys = xs + columns;
  double* __restrict zs = ys + columns;
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t j = 0; j < run; ++j) {
      xs[g * run + j] = a[g];
      ys[g * run + j] = b[g];
      zs[g * run + j] = c[g];
    }
  }
  for (int64_t r = 0; r < form.rows; ++r) {
    const int64_t at = tile.base + r * form.row_stride;
#pragma omp simd
    for (int64_t j = 0; j < columns; ++j) write(at + j, xs[j], ys[j], zs[j]);
  }
}

// Sum of squares of adjacent numbers: of many, in several sums, since each waits for its last addition.
template <class T>
double square_of(const T* __restrict w, int64_t count) {
  constexpr int64_t kSums = 16, kMany = 256;
  double sum = 0;
  int64_t i = 0;
  if (count >= kMany) {
    double sums[kSums] = {};
    for (; i + kSums <= count; i += kSums) {
#pragma omp simd
      for (int64_t k = 0; k < kSums; ++k) sums[k] += load(w + i + k) * load(w + i + k);
    }
    for (const double part : sums) sum += part;
  }
#pragma omp simd reduction(+ : sum)
  for (int64_t j = i; j < count; ++j) sum += load(w + j) * load(w + j);
  return sum;
}

// The factor of adjacent numbers: the same, or one each.
template <class W>
struct Same {
  W value;
  W operator[](int64_t) const { return value; }
  Vector<W> vector(int64_t) const { return all_of(value); }
};
template <class W>
struct Each {
  const W* values;
  W operator[](int64_t j) const { return values[j]; }
  Vector<W> vector(int64_t j) const { return load_vector<W>(values + j, AllLanes<W>{}); }
};

template <class T, class W>
void scale_one(const T* w, T* u, W factor) {
  const W shrunk = read(w) * factor;
  store(u, factor == 0 ? W{0} : shrunk);
}

// Adjacent numbers times their factors, +0 where these are 0.
template <bool kPast, class T, class F>
void scaled(const T* __restrict w, T* __restrict u, int64_t count, F factor) {
  using W = typename Wide<T>::type;
  int64_t j = 0;
  if constexpr (std::is_same_v<T, W>) {
    const auto beyond = static_cast<int64_t>(reinterpret_cast<uintptr_t>(u) % kVectorBytes / sizeof(T));
    for (; j < std::min(count, (kLanes<T> - beyond) % kLanes<T>); ++j) scale_one(w + j, u + j, factor[j]);
    for (; j + kLanes<T> <= count; j += kLanes<T>) {
      const Vector<W> f = factor.vector(j), shrunk = load_vector<W>(w + j, AllLanes<W>{}) * f;
      const Vector<W> kept = f == 0 ? Vector<W>{} : shrunk;
      kPast ? stream_vector(u + j, kept) : store_vector<W>(u + j, kept, AllLanes<W>{});
    }
    for (; j < count; ++j) scale_one(w + j, u + j, factor[j]);
  } else {
#pragma omp simd
    for (j = 0; j < count; ++j) scale_one(w + j, u + j, factor[j]);
  }
}

// Sums of squares of each of a tile's groups, `sums[g]`: eight rows at once, so that a sum is fetched and put back an
// eighth as often.
template <class T>
void sum_squares(const Form& form, const Tile& tile, Scratch& scratch, const T* weight) {
  constexpr int64_t kRows = 8;
  const int64_t groups = tile.groups, run = form.run, columns = groups * run, stride = form.row_stride;
  scratch.sums.assign(groups, 0.0);
  if (run >= kLongRun) {
    for (int64_t g = 0; g < groups; ++g) {
      for (int64_t r = 0; r < form.rows; ++r) {
        scratch.sums[g] += square_of(weight + tile.base + r * stride + g * run, run);
      }
    }
    return;
  }
  scratch.columns.assign(columns, 0.0);
  double* __restrict acc = scratch.columns.data();
  const auto add = [acc, stride](const T* __restrict w, int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t j = begin; j < end; ++j) {
      double sum = 0;
#pragma GCC unroll 8
      for (int64_t k = 0; k < kRows; ++k) sum += load(w + j + k * stride) * load(w + j + k * stride);
      acc[j] += sum;
    }
  };
  const int64_t ahead = std::max(kRows, kAhead / (columns * static_cast<int64_t>(sizeof(T))));
  int64_t r = 0;
  for (; r + kRows <= form.rows; r += kRows) {
    const T* w = weight + tile.base + r * stride;
    const T* next = w + ahead * stride;
    int64_t place = 0, j = 0;
    for (; j + kLine<T> <= columns; j += kLine<T>) {
#pragma GCC unroll 8
      for (int64_t k = 0; k < kRows; ++k) __builtin_prefetch(next + place + k * kLine<T>, 0, 2);
      place += kRows * kLine<T>;
      if (place >= columns) {
        place -= columns;
        next += stride;
      }
      add(w, j, j + kLine<T>);
    }
    add(w, j, columns);
  }
  for (; r < form.rows; ++r) {
    const T* __restrict w = weight + tile.base + r * stride;
#pragma omp simd
    for (int64_t j = 0; j < columns; ++j) acc[j] += load(w + j) * load(w + j);
  }
  for (int64_t g = 0; g < groups; ++g) {
    double sum = 0;
    for (int64_t j = 0; j < run; ++j) sum += acc[g * run + j];
    scratch.sums[g] = sum;
  }
}

// W * factor of its group, +0 where that is 0.
template <class T>
void scale(const Form& form, const Tile& tile, Scratch& scratch, const double* factors, const T* weight, T* out,
           bool past_caches) {
  using W = typename Wide<T>::type;
  const auto write = [past_caches](const T* w, T* u, int64_t count, auto factor) {
    past_caches ? scaled<true>(w, u, count, factor) : scaled<false>(w, u, count, factor);
  };
  const int64_t groups = tile.groups, run = form.run, columns = groups * run;
  const bool long_runs = run >= kLongRun;
  scratch.factors.resize(long_runs ? 0 : columns * sizeof(W) / sizeof(double) + 1);
  W* __restrict f = reinterpret_cast<W*>(scratch.factors.data());
  if (!long_runs) {
    for (int64_t g = 0; g < groups; ++g) {
      for (int64_t j = 0; j < run; ++j) f[g * run + j] = static_cast<W>(factors[g]);
    }
  }
  const int64_t block = std::max<int64_t>(1, kBlockBytes / (columns * static_cast<int64_t>(sizeof(T))));
  for (int64_t end = form.rows; end > 0; end -= std::min(block, end)) {
    for (int64_t r = std::max<int64_t>(0, end - block); r < end; ++r) {
      const T* __restrict w = weight + tile.base + r * form.row_stride;
      T* __restrict u = out + tile.base + r * form.row_stride;
      if (long_runs) {
        for (int64_t g = 0; g < groups; ++g) {
          write(w + g * run, u + g * run, run, Same<W>{static_cast<W>(factors[g])});
        }
      } else {
        write(w, u, columns, Each<W>{f});
      }
    }
  }
}

template <class T>
struct Call {
  using W = typename Wide<T>::type;
  const ShrinkCall& call;
  const T* weight = static_cast<const T*>(call.weight);
  const W* metric = static_cast<const W*>(call.metric);
  const double* taus = static_cast<const double*>(call.tau);
  const W* starts = static_cast<const W*>(call.start);
  const T* grad = static_cast<const T*>(call.grad);
  T* out = static_cast<T*>(call.out);
  W* thetas = static_cast<W*>(call.theta);
  W* grad_tau = static_cast<W*>(call.grad_tau);
  W* grad_metric = static_cast<W*>(call.grad_metric);
  const bool past_caches =
      metric == nullptr &&
      call.form.outer * call.form.rows * call.form.length * static_cast<int64_t>(sizeof(T)) >= kPastCaches;

  void read_tau(const Tile& tile, Scratch& scratch) const {
    scratch.theta.resize(tile.groups);
    scratch.tau.resize(tile.groups);
    for (int64_t g = 0; g < tile.groups; ++g) scratch.tau[g] = taus[(tile.first + g) * call.tau_step];
  }

  void squares(const Tile& tile, Scratch& scratch) const { sum_squares(call.form, tile, scratch, weight); }

  void norms() const {
    for_tiles(call, groups_read_twice(call, sizeof(T)), [&](const Tile& tile, Scratch& scratch) {
      squares(tile, scratch);
      for (int64_t g = 0; g < tile.groups; ++g) thetas[tile.first + g] = static_cast<W>(std::sqrt(scratch.sums[g]));
    });
  }

  void alive() const {
    bool* found = static_cast<bool*>(call.theta);
    for_tiles(call, groups_read_twice(call, sizeof(T)), [&](const Tile& tile, Scratch& scratch) {
      scratch.theta.resize(tile.groups);
      scratch.tau.resize(tile.groups);
      const T* __restrict w = weight;
      // A square can vanish where its root does not; and a NaN is not 0.
      reduce<1>(call.form, tile, scratch, scratch.theta.data(), scratch.tau.data(),
                [w](int64_t i, double, double) { return Terms<1>{{load(w + i) == 0 ? 0.0 : 1.0}}; });
      for (int64_t g = 0; g < tile.groups; ++g) found[tile.first + g] = scratch.sums[g] > 0;
    });
  }

  void shrink() const {
    const int64_t bytes = sizeof(T);
    const int64_t groups = metric == nullptr ? groups_read_twice(call, bytes) : groups_read_often(call, 3 * bytes);
    for_tiles(call, groups, [&](const Tile& tile, Scratch& scratch) {
      metric == nullptr ? euclidean(tile, scratch) : in_metric(tile, scratch);
      if (past_caches) streamed();
    });
  }

  void euclidean(const Tile& tile, Scratch& scratch) const {
    if (call.form.rows == 1 && call.form.run >= kLongRun) {  // each is written while it is in the first cache
      for (int64_t g = 0; g < tile.groups; ++g) {
        const int64_t at = tile.base + g * call.form.run, group = tile.first + g;
        const double square = square_of(weight + at, call.form.run);
        const double factor = euclidean_factor(square, taus[group * call.tau_step]);
        thetas[group] = static_cast<W>(std::sqrt(square) * factor);
        const Same<W> same{static_cast<W>(factor)};
        past_caches ? scaled<true>(weight + at, out + at, call.form.run, same)
                    : scaled<false>(weight + at, out + at, call.form.run, same);
      }
      return;
    }
    squares(tile, scratch);
    read_tau(tile, scratch);
    for (int64_t g = 0; g < tile.groups; ++g) {
      const double factor = euclidean_factor(scratch.sums[g], scratch.tau[g]);
      scratch.theta[g] = factor;
      thetas[tile.first + g] = static_cast<W>(std::sqrt(scratch.sums[g]) * factor);
    }
    scale(call.form, tile, scratch, scratch.theta.data(), weight, out, past_caches);
  }

  void in_metric(const Tile& tile, Scratch& scratch) const {
    constexpr double accept = sizeof(T) == 8 ? 1e-16 : 1e-9;
    read_tau(tile, scratch);
    const T* __restrict w = weight;
    const W* __restrict D = metric;
    std::vector<Root> roots(tile.groups);
    bool squared = starts == nullptr;
    for (int64_t g = 0; g < tile.groups; ++g) squared |= scratch.tau[g] == 0;
    if (squared) squares(tile, scratch);
    for (int64_t g = 0; g < tile.groups; ++g) {
      // Where tau is 0 nothing shrinks, and theta is the norm; else it is at most that.
      roots[g] = scratch.tau[g] == 0 ? Root::known(std::sqrt(scratch.sums[g]))
                                     : Root::from(starts == nullptr ? std::sqrt(scratch.sums[g])
                                                                    : static_cast<double>(starts[tile.first + g]));
    }
    bool open = true;
    for (int looks = 0; open && looks < kLooks; ++looks) {
      open = false;
      for (int64_t g = 0; g < tile.groups; ++g) {
        scratch.theta[g] = roots[g].theta;
        open |= roots[g].open;
      }
      if (!open) break;
      reduce<3>(call.form, tile, scratch, scratch.theta.data(), scratch.tau.data(),
                [w, D](int64_t i, double theta, double tau) {
                  const double q = inverse_shift(theta, tau, D[i]);
                  const double term = load(w + i) * q, square = term * term;
                  return Terms<3>{{square, square * q, square * q * q}};
                });
      for (int64_t g = 0; g < tile.groups; ++g) {
        roots[g].look(scratch.sums[g], scratch.sums[tile.groups + g], scratch.sums[2 * tile.groups + g], accept);
      }
    }
    for (int64_t g = 0; g < tile.groups; ++g) {
      scratch.theta[g] = roots[g].theta;
      thetas[tile.first + g] = static_cast<W>(roots[g].theta);
    }
    T* __restrict u = out;
    apply(call.form, tile, scratch, scratch.theta.data(), scratch.tau.data(), scratch.tau.data(),
          [w, D, u](int64_t i, double theta, double tau, double) {
            const double kept = tau == 0 ? load(w + i) : load(w + i) * (theta * inverse_shift(theta, tau, D[i]));
            store(u + i, theta == 0 ? 0.0 : kept);
          });
  }

  void backward() const {
    for_tiles(call, groups_read_often(call, 4 * sizeof(T)), [&](const Tile& tile, Scratch& scratch) {
      read_tau(tile, scratch);
      for (int64_t g = 0; g < tile.groups; ++g) scratch.theta[g] = thetas[tile.first + g];
      metric == nullptr ? euclidean_backward(tile, scratch) : in_metric_backward(tile, scratch);
    });
  }

  // U = W (1 - tau / n): dW = (1 - tau / n) g + W tau <W, g> / n^3, dtau = -<W, g> / n; 0 where the group is dead.
  void euclidean_backward(const Tile& tile, Scratch& scratch) const {
    const T* __restrict w = weight;
    const T* __restrict g_out = grad;
    T* __restrict g_in = out;
    reduce<2>(call.form, tile, scratch, scratch.theta.data(), scratch.tau.data(), [w, g_out](int64_t i, double, double) {
      return Terms<2>{{load(w + i) * load(w + i), load(w + i) * load(g_out + i)}};
    });
    for (int64_t g = 0; g < tile.groups; ++g) {
      const double norm = std::sqrt(scratch.sums[g]), inner = scratch.sums[tile.groups + g], tau = scratch.tau[g];
      const double factor = euclidean_factor(scratch.sums[g], tau);
      scratch.theta[g] = factor;
      scratch.tau[g] = factor == 0 ? 0.0 : tau * inner / (norm * norm * norm);
      grad_tau[tile.first + g] = static_cast<W>(factor == 0 ? 0.0 : -inner / norm);
    }
    apply(call.form, tile, scratch, scratch.theta.data(), scratch.tau.data(), scratch.tau.data(),
          [w, g_out, g_in](int64_t i, double factor, double along, double) {
            store(g_in + i, factor == 0 ? 0.0 : factor * load(g_out + i) + along * load(w + i));
          });
  }

  // With a = tau / D, chi = sum W^2 q^3 and S = <W a q^2, g> (implicit differentiation of psi(theta) = 1):
  //   dW = theta q g + S W q^2 / chi
  //   dtau = -S sum(W^2 q^3 / D) / chi - theta sum(g W q^2 / D)
  //   dD = (a / D) (theta g W q^2 + S W^2 q^3 / chi)
  void in_metric_backward(const Tile& tile, Scratch& scratch) const {
    const T* __restrict w = weight;
    const T* __restrict g_out = grad;
    const W* __restrict D = metric;
    reduce<4>(call.form, tile, scratch, scratch.theta.data(), scratch.tau.data(),
              [w, g_out, D](int64_t i, double theta, double tau) {
                const double d = D[i], q = inverse_shift(theta, tau, d), x = load(w + i);
                const double cube = x * x * q * q * q, pull = x * q * q * load(g_out + i) / d;
                return Terms<4>{{cube, tau * pull, cube / d, pull}};
              });
    std::vector<double> ratio(tile.groups);
    for (int64_t g = 0; g < tile.groups; ++g) {
      const double* sums = scratch.sums.data() + g;
      const int64_t n = tile.groups;
      const bool dead = scratch.theta[g] == 0;
      ratio[g] = dead ? 0.0 : sums[n] / sums[0];
      grad_tau[tile.first + g] =
          static_cast<W>(dead ? 0.0 : -ratio[g] * sums[2 * n] - scratch.theta[g] * sums[3 * n]);
    }
    T* __restrict g_in = out;
    W* __restrict g_metric = grad_metric;
    apply(call.form, tile, scratch, scratch.theta.data(), scratch.tau.data(), ratio.data(),
          [w, g_out, D, g_in, g_metric](int64_t i, double theta, double tau, double s) {
            const double d = D[i], q = inverse_shift(theta, tau, d), x = load(w + i), g = load(g_out + i);
            const double along = x * q * q;
            store(g_in + i, theta == 0 ? 0.0 : theta * q * g + s * along);
            g_metric[i] = static_cast<W>(theta == 0 ? 0.0 : tau / (d * d) * along * (theta * g + s * x * q));
          });
  }
};

template <class F>
void by_dtype(const ShrinkCall& call, F&& f) {
  switch (call.dtype) {
    case DType::float32:
      return f(Call<float>{call});
    case DType::float64:
      return f(Call<double>{call});
    case DType::bfloat16:
      return f(Call<BFloat16>{call});
    case DType::float16:
      return f(Call<Float16>{call});
  }
}

}  // namespace

void group_norms(const ShrinkCall& call) {
  by_dtype(call, [](const auto& c) { c.norms(); });
}
void group_alive(const ShrinkCall& call) {
  by_dtype(call, [](const auto& c) { c.alive(); });
}
void group_shrink(const ShrinkCall& call) {
  by_dtype(call, [](const auto& c) { c.shrink(); });
}
void group_shrink_backward(const ShrinkCall& call) {
  by_dtype(call, [](const auto& c) { c.backward(); });
}

}  // namespace lomt::LOMT_ISA
