// Group norms, group shrinkage and its derivative, on GPUs: one launch, no word back to the host.
//
// A block owns a tile of adjacent groups. It sums their members (float64, so that a group is dead or alive as in exact
// arithmetic), lets one thread a group decide, and writes; between the looks of Newton's method the tile is read again,
// from the second cache as a rule. Sums are added in a fixed order: the same input gives the same bits.
#include <algorithm>
#include <stdexcept>
#include <string>

#include "../common/cuda_calls.h"
#include "../common/on_device.h"
#include "shrink.h"

namespace lomt {
namespace {

constexpr int kThreads = 256;
// On a multiprocessor at least; so that a thread may have 128 registers, and nothing spills.
constexpr int kBlocks = 2;
// Adjacent numbers of a row that a tile has at least: a sector of memory.
constexpr int kColumns = 8;

template <int N>
struct Terms {
  double value[N];
};

// Where a block's groups are, and where each thread works: a column of the tile, or all of a single group's.
struct Tile {
  int64_t base, first;  // of the first number; number of the first group
  int groups;
  int64_t columns, rows, row_stride, run;
  int group;  // this thread's; -1: none
  int64_t column, row, column_step, row_step;
};

__device__ Tile tile_of(const Form& form, int64_t groups_of_tile) {
  const int64_t in_part = form.groups_of_part(), tiles = (in_part + groups_of_tile - 1) / groups_of_tile;
  const int64_t block = blockIdx.x, part = block / tiles, start = (block % tiles) * groups_of_tile;
  Tile tile;
  tile.groups = static_cast<int>(in_part - start < groups_of_tile ? in_part - start : groups_of_tile);
  tile.base = part * form.outer_stride + start * form.run;
  tile.first = part * in_part + start;
  tile.run = form.run;
  tile.columns = tile.groups * form.run;
  tile.rows = form.rows;
  tile.row_stride = form.row_stride;
  const int64_t thread = threadIdx.x;
  if (tile.columns <= kThreads) {
    tile.row_step = kThreads / tile.columns;
    tile.column = thread % tile.columns;
    tile.row = thread / tile.columns;
    tile.column_step = tile.columns;
    tile.group = tile.row < tile.row_step ? static_cast<int>(tile.column / tile.run) : -1;
  } else {  // one group
    tile.row_step = 1;
    tile.column = thread;
    tile.row = 0;
    tile.column_step = kThreads;
    tile.group = 0;
  }
  return tile;
}

template <class F>
__device__ void each(const Tile& tile, F f) {
  if (tile.group < 0) return;
  for (int64_t r = tile.row; r < tile.rows; r += tile.row_step) {
    const int64_t at = tile.base + r * tile.row_stride;
    for (int64_t c = tile.column; c < tile.columns; c += tile.column_step) f(at + c);
  }
}

// Sums of N terms for each group, into sums[k * groups + g]; all threads call it.
template <int N, class Term>
__device__ void reduce(const Tile& tile, double* partial, double* sums, Term term) {
  double mine[N] = {};
  each(tile, [&](int64_t i) {
    const Terms<N> t = term(i);
#pragma unroll
    for (int k = 0; k < N; ++k) mine[k] += t.value[k];
  });
  for (int k = 0; k < N; ++k) {
    __syncthreads();
    partial[threadIdx.x] = mine[k];
    __syncthreads();
    if (tile.groups == 1 && tile.columns >= kThreads) {
      for (int half = kThreads / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
        __syncthreads();
      }
      if (threadIdx.x == 0) sums[k] = partial[0];
    } else if (threadIdx.x < tile.groups) {
      double sum = 0;
      for (int64_t r = 0; r < tile.row_step; ++r) {
        for (int64_t j = 0; j < tile.run; ++j) sum += partial[r * tile.columns + threadIdx.x * tile.run + j];
      }
      sums[k * tile.groups + threadIdx.x] = sum;
    }
  }
  __syncthreads();
}

struct Shared {
  double partial[kThreads];
  double sums[4 * kThreads];
  double theta[kThreads], tau[kThreads], ratio[kThreads];
};

__device__ double tau_of(const ShrinkCall& call, int64_t group) {
  return static_cast<const double*>(call.tau)[group * call.tau_step];
}

template <class T>
__global__ void __launch_bounds__(kThreads, kBlocks) norms_kernel(ShrinkCall call, int64_t groups_of_tile) {
  __shared__ Shared shared;
  const Tile tile = tile_of(call.form, groups_of_tile);
  const T* w = static_cast<const T*>(call.weight);
  reduce<1>(tile, shared.partial, shared.sums, [w](int64_t i) { return Terms<1>{{load(w + i) * load(w + i)}}; });
  if (threadIdx.x < tile.groups) {
    using W = typename Wide<T>::type;
    static_cast<W*>(call.theta)[tile.first + threadIdx.x] = static_cast<W>(sqrt(shared.sums[threadIdx.x]));
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads, kBlocks) alive_kernel(ShrinkCall call, int64_t groups_of_tile) {
  __shared__ Shared shared;
  const Tile tile = tile_of(call.form, groups_of_tile);
  const T* w = static_cast<const T*>(call.weight);
  reduce<1>(tile, shared.partial, shared.sums, [w](int64_t i) { return Terms<1>{{load(w + i) == 0 ? 0.0 : 1.0}}; });
  if (threadIdx.x < tile.groups) {
    static_cast<bool*>(call.theta)[tile.first + threadIdx.x] = shared.sums[threadIdx.x] > 0;
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads, kBlocks) euclidean_kernel(ShrinkCall call, int64_t groups_of_tile) {
  using W = typename Wide<T>::type;
  __shared__ Shared shared;
  const Tile tile = tile_of(call.form, groups_of_tile);
  const T* w = static_cast<const T*>(call.weight);
  T* u = static_cast<T*>(call.out);
  reduce<1>(tile, shared.partial, shared.sums, [w](int64_t i) { return Terms<1>{{load(w + i) * load(w + i)}}; });
  if (threadIdx.x < tile.groups) {
    const double square = shared.sums[threadIdx.x], factor = euclidean_factor(square, tau_of(call, tile.first + threadIdx.x));
    shared.theta[threadIdx.x] = factor;
    static_cast<W*>(call.theta)[tile.first + threadIdx.x] = static_cast<W>(sqrt(square) * factor);
  }
  __syncthreads();
  const double factor = tile.group < 0 ? 0.0 : shared.theta[tile.group];
  each(tile, [=](int64_t i) { store(u + i, factor == 0 ? 0.0 : load(w + i) * factor); });
}

template <class T>
__global__ void __launch_bounds__(kThreads, kBlocks) metric_kernel(ShrinkCall call, int64_t groups_of_tile) {
  using W = typename Wide<T>::type;
  constexpr double accept = sizeof(T) == 8 ? 1e-16 : 1e-9;
  __shared__ Shared shared;
  const Tile tile = tile_of(call.form, groups_of_tile);
  const T* w = static_cast<const T*>(call.weight);
  const W* D = static_cast<const W*>(call.metric);
  const W* starts = static_cast<const W*>(call.start);
  T* u = static_cast<T*>(call.out);
  // Where tau is 0 nothing shrinks, and theta is the norm; else it is at most that.
  reduce<1>(tile, shared.partial, shared.sums, [w](int64_t i) { return Terms<1>{{load(w + i) * load(w + i)}}; });
  Root root = Root::known(0);
  if (threadIdx.x < tile.groups) {
    const int64_t group = tile.first + threadIdx.x;
    const double tau = tau_of(call, group);
    shared.tau[threadIdx.x] = tau;
    const double norm = sqrt(shared.sums[threadIdx.x]);
    root = tau == 0 ? Root::known(norm) : Root::from(starts == nullptr ? norm : static_cast<double>(starts[group]));
    shared.theta[threadIdx.x] = root.theta;
  }
  __syncthreads();
  const int g = tile.group < 0 ? 0 : tile.group;
  const double tau = shared.tau[g];
  for (int looks = 0; looks < kLooks && __syncthreads_or(root.open); ++looks) {
    const double theta = shared.theta[g];
    reduce<3>(tile, shared.partial, shared.sums, [=](int64_t i) {
      const double q = inverse_shift(theta, tau, D[i]), term = load(w + i) * q, square = term * term;
      return Terms<3>{{square, square * q, square * q * q}};
    });
    if (threadIdx.x < tile.groups) {
      root.look(shared.sums[threadIdx.x], shared.sums[tile.groups + threadIdx.x], shared.sums[2 * tile.groups + threadIdx.x],
                accept);
      shared.theta[threadIdx.x] = root.theta;
    }
    __syncthreads();
  }
  if (threadIdx.x < tile.groups) static_cast<W*>(call.theta)[tile.first + threadIdx.x] = static_cast<W>(root.theta);
  const double theta = shared.theta[g];
  each(tile, [=](int64_t i) {
    const double kept = tau == 0 ? load(w + i) : load(w + i) * (theta * inverse_shift(theta, tau, D[i]));
    store(u + i, theta == 0 ? 0.0 : kept);
  });
}

// Formulas: cpu.cpp.
template <class T>
__global__ void __launch_bounds__(kThreads, kBlocks) euclidean_backward_kernel(ShrinkCall call, int64_t groups_of_tile) {
  using W = typename Wide<T>::type;
  __shared__ Shared shared;
  const Tile tile = tile_of(call.form, groups_of_tile);
  const T* w = static_cast<const T*>(call.weight);
  const T* g_out = static_cast<const T*>(call.grad);
  T* g_in = static_cast<T*>(call.out);
  reduce<2>(tile, shared.partial, shared.sums, [=](int64_t i) {
    return Terms<2>{{load(w + i) * load(w + i), load(w + i) * load(g_out + i)}};
  });
  if (threadIdx.x < tile.groups) {
    const double square = shared.sums[threadIdx.x], inner = shared.sums[tile.groups + threadIdx.x];
    const double norm = sqrt(square), tau = tau_of(call, tile.first + threadIdx.x);
    const double factor = euclidean_factor(square, tau);
    shared.theta[threadIdx.x] = factor;
    shared.ratio[threadIdx.x] = factor == 0 ? 0.0 : tau * inner / (norm * norm * norm);
    static_cast<W*>(call.grad_tau)[tile.first + threadIdx.x] = static_cast<W>(factor == 0 ? 0.0 : -inner / norm);
  }
  __syncthreads();
  const int g = tile.group < 0 ? 0 : tile.group;
  const double factor = shared.theta[g], along = shared.ratio[g];
  each(tile, [=](int64_t i) {
    store(g_in + i, factor == 0 ? 0.0 : factor * load(g_out + i) + along * load(w + i));
  });
}

template <class T>
__global__ void __launch_bounds__(kThreads, kBlocks) metric_backward_kernel(ShrinkCall call, int64_t groups_of_tile) {
  using W = typename Wide<T>::type;
  __shared__ Shared shared;
  const Tile tile = tile_of(call.form, groups_of_tile);
  const T* w = static_cast<const T*>(call.weight);
  const T* g_out = static_cast<const T*>(call.grad);
  const W* D = static_cast<const W*>(call.metric);
  T* g_in = static_cast<T*>(call.out);
  W* g_metric = static_cast<W*>(call.grad_metric);
  if (threadIdx.x < tile.groups) {
    shared.theta[threadIdx.x] = static_cast<const W*>(call.theta)[tile.first + threadIdx.x];
    shared.tau[threadIdx.x] = tau_of(call, tile.first + threadIdx.x);
  }
  __syncthreads();
  const int g = tile.group < 0 ? 0 : tile.group;
  const double theta = shared.theta[g], tau = shared.tau[g];
  reduce<4>(tile, shared.partial, shared.sums, [=](int64_t i) {
    const double d = D[i], q = inverse_shift(theta, tau, d), x = load(w + i);
    const double cube = x * x * q * q * q, pull = x * q * q * load(g_out + i) / d;
    return Terms<4>{{cube, tau * pull, cube / d, pull}};
  });
  if (threadIdx.x < tile.groups) {
    const double* sums = shared.sums + threadIdx.x;
    const int n = tile.groups;
    const bool dead = shared.theta[threadIdx.x] == 0;
    const double ratio = dead ? 0.0 : sums[n] / sums[0];
    shared.ratio[threadIdx.x] = ratio;
    static_cast<W*>(call.grad_tau)[tile.first + threadIdx.x] =
        static_cast<W>(dead ? 0.0 : -ratio * sums[2 * n] - shared.theta[threadIdx.x] * sums[3 * n]);
  }
  __syncthreads();
  const double s = shared.ratio[g];
  each(tile, [=](int64_t i) {
    const double d = D[i], q = inverse_shift(theta, tau, d), x = load(w + i), pull = load(g_out + i);
    const double along = x * q * q;
    store(g_in + i, theta == 0 ? 0.0 : theta * q * pull + s * along);
    g_metric[i] = static_cast<W>(theta == 0 ? 0.0 : tau / (d * d) * along * (theta * pull + s * x * q));
  });
}

template <class T>
void launch(int operation, const ShrinkCall& call, cudaStream_t stream) {
  const Form& form = call.form;
  if (form.groups() == 0) return;
  const int64_t in_part = form.groups_of_part();
  int64_t groups = form.run >= kColumns ? 1 : (kColumns + form.run - 1) / form.run;
  groups = std::min(groups, in_part);
  const int64_t blocks = form.outer * ((in_part + groups - 1) / groups);
  if (blocks > 0x7fffffff) throw std::runtime_error("more groups than a grid has blocks");
  const dim3 grid(static_cast<unsigned>(blocks));
  switch (operation) {
    case 0:
      norms_kernel<T><<<grid, kThreads, 0, stream>>>(call, groups);
      break;
    case 1:
      alive_kernel<T><<<grid, kThreads, 0, stream>>>(call, groups);
      break;
    case 2:
      if (call.metric == nullptr) {
        euclidean_kernel<T><<<grid, kThreads, 0, stream>>>(call, groups);
      } else {
        metric_kernel<T><<<grid, kThreads, 0, stream>>>(call, groups);
      }
      break;
    default:
      if (call.metric == nullptr) {
        euclidean_backward_kernel<T><<<grid, kThreads, 0, stream>>>(call, groups);
      } else {
        metric_backward_kernel<T><<<grid, kThreads, 0, stream>>>(call, groups);
      }
  }
  check(cudaGetLastError());
}

}  // namespace

void cuda_shrink(int operation, const ShrinkCall& call, int device, void* stream) {
  const OnDevice guard(device);
  const auto on = static_cast<cudaStream_t>(stream);
  switch (call.dtype) {
    case DType::float32:
      return launch<float>(operation, call, on);
    case DType::float64:
      return launch<double>(operation, call, on);
    case DType::bfloat16:
      return launch<BFloat16>(operation, call, on);
    case DType::float16:
      return launch<Float16>(operation, call, on);
  }
}

}  // namespace lomt
