// The proximal optimizers' steps on GPUs: one launch for all tensors, no word back to the host.
//
// Small kernels write a table of the tensors; its entries are their parameters, so that no memory of the host has to
// outlive the call, and a graph that captured it replays it. Then each block finds its tensor in the table, and its tile
// of adjacent groups, makes the plain step and takes the first look at each group's equation in one pass over memory.
// What the step leaves, W and D, stays on chip as far as it fits; as a rule that is all of it: 28 bytes a weight for
// AdamW in float32. What does not fit is read again from memory, or the second cache, for each look and for the last
// pass: 40 bytes with one look.
//
// Sums are float64 and added in a fixed order: who is dead is decided as in exact arithmetic, and the same input gives
// the same bits.
#include <algorithm>
#include <atomic>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "../common/cuda_calls.h"
#include "../common/on_device.h"
#include "block.h"

namespace lomt {
namespace {

// Bytes of parameters that a kernel may have.
#if __CUDACC_VER_MAJOR__ > 12 || (__CUDACC_VER_MAJOR__ == 12 && __CUDACC_VER_MINOR__ >= 1)
constexpr int kParameters = 32764;
#else
constexpr int kParameters = 4096;
#endif
constexpr int kDevices = 64;
// On a multiprocessor at least: so many that one reads while another looks again, so few that nothing spills.
constexpr int kBlocks = 3;

struct Table {
  int64_t* firsts;  // the number of each tensor's first tile
  Entry* entries;
};

struct Rows {
  StepFacts facts;
  Table table;
  int64_t count;  // of these rows
  static constexpr int64_t kMost =
      (kParameters - sizeof(StepFacts) - sizeof(Table) - sizeof(int64_t)) / sizeof(Planned);
  Planned rows[kMost];
};
static_assert(sizeof(Rows) <= kParameters, "a kernel's parameters");

__global__ void __launch_bounds__(kThreads) write_kernel(const __grid_constant__ Rows rows) {
  if (rows.facts.skipped()) return;
  for (int64_t i = threadIdx.x; i < rows.count; i += kThreads) {
    write_entry(rows.facts, rows.rows[i], rows.table.entries + i);
    rows.table.firsts[i] = rows.rows[i].first_tile;
  }
}

// What lies in shared memory, so that registers are left for numbers.
struct Shared {
  double partial[kSums][kThreads];
  Exact groups[kTileGroups];
  Layout tile;
  Price price;
};

// The tensor of a tile: all threads look at once, at as many places of the table. All of them call it.
__device__ int64_t tensor_of(const int64_t* firsts, int64_t count, int64_t tile) {
  int64_t begin = 0;
  while (count > 1) {
    const int64_t step = (count + kThreads - 1) / kThreads, place = threadIdx.x * step;
    const int below = __syncthreads_count(place < count && firsts[begin + place] <= tile);
    begin += (below - 1) * step;
    const int64_t left = count - (below - 1) * step;
    count = left < step ? left : step;
  }
  return begin;
}

// Sums of a group's threads, the first N, for the leader of its team; all threads call it.
template <int N>
__device__ void reduce(Shared& shared, double (&mine)[kSums]) {
  const Layout& tile = shared.tile;
  const int thread = threadIdx.x, group = thread / tile.team, lane = thread % tile.team;
#pragma unroll
  for (int k = 0; k < N; ++k) shared.partial[k][thread] = mine[k];
  __syncthreads();
#pragma unroll
  for (int k = 0; k < N; ++k) mine[k] = 0;
  if (group < tile.groups) {
    for (int i = lane; i < tile.list; i += tile.team) {
      const int from = tile.listed(group, i);
#pragma unroll
      for (int k = 0; k < N; ++k) mine[k] += shared.partial[k][from];
    }
  }
  for (int half = tile.team / 2; half > 0; half /= 2) {
#pragma unroll
    for (int k = 0; k < N; ++k) mine[k] += __shfl_down_sync(0xffffffffu, mine[k], half, tile.team);
  }
}

template <class One>
__global__ void __launch_bounds__(kThreads, kBlocks)
    step_kernel(Table table, int64_t count, const float* found_inf, bool unscale, bool nesterov, int kept) {
  using C = typename One::C;
  extern __shared__ double memory[];
  __shared__ Shared shared;
  if (found_inf != nullptr && *found_inf != 0) return;
  const int64_t i = tensor_of(table.firsts, count, blockIdx.x);
  const Entry& entry = table.entries[i];
  const int thread = threadIdx.x;
  __shared__ alignas(One) unsigned char place[sizeof(One)];
  Layout layout;
  const Tile tile =
      tile_of(entry.tensor.form, static_cast<int>(entry.groups_of_tile), blockIdx.x - table.firsts[i], thread, &layout);
  if (thread == 0) {
    shared.tile = layout;
    shared.price = entry.price;
    new (place) One(entry, unscale, nesterov);
  }
  __syncthreads();
  const One& one = *reinterpret_cast<const One*>(place);
  const Chip<One> chip(memory, kept, thread);
  const Share<One> share{one, tile, chip, shared.price};

  // A team's leader has its group.
  const int led = thread / shared.tile.team;
  bool leads = thread % shared.tile.team == 0 && led < shared.tile.groups, works = true;
  if (const bool* computed = entry.tensor.computed) {
    leads = leads && computed[shared.tile.first + led];
    works = computed[shared.tile.first + tile.group];
  }
  if (leads) shared.groups[led] = Exact::from(Norms<C>(entry.tensor).guess(shared.tile.first + led), shared.price);
  __syncthreads();
  const Exact& mine = shared.groups[tile.group];
  Sums sums{};
  if (works) {
    sums = share.first(mine.group);
  } else if (unscale) {
    share.unscale();
  }
  for (int looks = 0;;) {
    double each[kSums];
    memcpy(each, &sums, sizeof sums);
    shared.price.curvature > 0 ? reduce<kSums>(shared, each) : reduce<kStraightSums>(shared, each);
    memcpy(&sums, each, sizeof sums);
    bool open = false;
    if (leads) {
      Exact& group = shared.groups[led];
      if (group.open()) group.look(sums, shared.price, Precision<C>::accept);
      if (++looks == kLooks) group.end(shared.price);
      open = group.open();
    }
    if (!__syncthreads_or(open)) break;
    sums = Sums{};
    if (works && mine.open()) sums = share.again(mine.group);
  }
  double alive[kSums] = {works ? share.write(mine.group) : 0};
  reduce<1>(shared, alive);
  if (leads) Norms<C>(entry.tensor).done(shared.tile.first + led, shared.groups[led].group.norm, alive[0]);
}

// Bytes on chip for a block's members, if a multiprocessor is to have its blocks. Asked for once.
template <class One>
int budget_of(int device) {
  static std::atomic<int> known[kDevices];
  if (device < kDevices && known[device] > 0) return known[device];
  cudaFuncAttributes facts;
  check(cudaFuncGetAttributes(&facts, step_kernel<One>));
  int whole = 0, most = 0, reserved = 0;
  check(cudaDeviceGetAttribute(&whole, cudaDevAttrMaxSharedMemoryPerMultiprocessor, device));
  check(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  check(cudaDeviceGetAttribute(&reserved, cudaDevAttrReservedSharedMemoryPerBlock, device));
  const int fixed = static_cast<int>(facts.sharedSizeBytes);
  const int budget = std::max(1, std::min(whole / kBlocks - reserved, most) - fixed);
  check(cudaFuncSetAttribute(step_kernel<One>, cudaFuncAttributeMaxDynamicSharedMemorySize, budget));
  if (device < kDevices) known[device] = budget;
  return budget;
}

template <class One>
void launch(const ProxCall& call, const StepFacts& facts, void* workspace, int device, cudaStream_t stream) {
  const Table table{static_cast<int64_t*>(workspace),
                    reinterpret_cast<Entry*>(static_cast<int64_t*>(workspace) + call.count)};
  int64_t tiles = 0;
  int visits = 0;
  std::vector<Planned> plan(call.count);
  for (int64_t i = 0; i < call.count; ++i) {
    ProxTensor tensor = call.tensors[i];
    Form& form = tensor.form;
    form.merge();
    const int groups = groups_of_tile(form, sizeof(typename One::Number));
    plan[i] = {tensor, call.prices[i], tiles, groups};
    tiles += tiles_of(form, groups);
    visits = std::max(visits, visits_of(form, groups));
  }
  if (tiles > 0x7fffffff) throw std::runtime_error("more tiles than a grid has blocks");
  for (int64_t begin = 0; begin < call.count; begin += Rows::kMost) {
    Rows rows{facts, {table.firsts + begin, table.entries + begin}, std::min(Rows::kMost, call.count - begin), {}};
    std::copy_n(plan.begin() + begin, rows.count, rows.rows);
    write_kernel<<<1, kThreads, 0, stream>>>(rows);
    check(cudaGetLastError());
  }
  constexpr int row = kThreads * Chip<One>::kBytes;
  const int kept = std::min(visits, budget_of<One>(device) / row);
  step_kernel<One><<<static_cast<unsigned>(tiles), kThreads, kept * row, stream>>>(
      table, call.count, call.found_inf, call.grad_scale != nullptr, call.numbers.nesterov, kept);
  check(cudaGetLastError());
}

template <class T>
void of_type(const ProxCall& call, const StepFacts& facts, void* workspace, int device, cudaStream_t stream) {
  call.sgd ? launch<OneSGD<T>>(call, facts, workspace, device, stream)
           : launch<OneAdamW<T>>(call, facts, workspace, device, stream);
}

}  // namespace

// `workspace` is kEntryWords + 1 numbers of 64 bits a tensor.
void cuda_prox(const ProxCall& call, void* workspace, int device, void* stream) {
  if (call.count == 0) return;
  const OnDevice guard(device);
  const StepFacts facts{call.numbers, call.lr, call.grad_scale, call.found_inf, call.sgd,
                        call.lr_dtype == DType::float64, call.dtype == DType::float64};
  const auto on = static_cast<cudaStream_t>(stream);
  switch (call.dtype) {
    case DType::float32:
      return of_type<float>(call, facts, workspace, device, on);
    case DType::float64:
      return of_type<double>(call, facts, workspace, device, on);
    case DType::bfloat16:
      return of_type<BFloat16>(call, facts, workspace, device, on);
    case DType::float16:
      return of_type<Float16>(call, facts, workspace, device, on);
  }
}

}  // namespace lomt
