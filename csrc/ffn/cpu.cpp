// The block-sparse feed-forward network on processors. Compiled once an instruction set (LOMT_ISA).
//
// Decoding is bound by reading weights: those of active blocks are read once, in the order in which they lie, for all
// rows that use them. Blocks are cut into chunks that depend on the network alone, whichever thread takes them; each
// row's share of a chunk is summed by itself, and chunks are added up in order. So neither the number of threads nor
// other rows change a row's result by a bit.
#include "call.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <vector>

#include "rows.h"

namespace lomt::LOMT_ISA {
namespace {

constexpr int64_t kChunks = 32;  // at most
// Neurons whose weights are read at a time: as many streams from memory.
constexpr int kNeurons = 8;
// Weights that are worth a thread.
constexpr int64_t kGrain = 1 << 15;

// Memory for numbers that somebody will write.
template <class C>
struct Numbers {
  explicit Numbers(int64_t size) : data(new C[size]) {}
  C* at(int64_t place) const { return data.get() + place; }
  std::unique_ptr<C[]> data;
};

template <class C>
C sum_of(Vector<C> vector) {
  C numbers[kLanes<C>];
  std::memcpy(numbers, &vector, sizeof numbers);
  for (int width = kLanes<C> / 2; width > 0; width /= 2)
    for (int k = 0; k < width; ++k) numbers[k] += numbers[k + width];
  return numbers[0];
}

// One of the rows that use a block.
template <class C>
struct User {
  const C* x;
  C* total;  // of its chunk
};

template <class C, class T>
struct Network {
  const FfnCall& call;

  const T* gate_up(int64_t block) const {
    return static_cast<const T*>(call.gate_up) + block * call.parts * call.block * call.in;
  }

  // Adds a block's share to the totals of the rows that use it. `hidden` holds parts * users * neurons. What lies at
  // `next` is read after that.
  void run(int64_t block, const std::vector<User<C>>& users, C* hidden, const T* next) const {
    const int64_t many = static_cast<int64_t>(users.size()), size = call.block, each = call.parts * size;
    const T* down = static_cast<const T*>(call.down) + block * size * call.out;
    by_neurons(each, gate_up(block), call.in, down, [&](int64_t first, auto N, const T* weights, const T* then) {
      Vector<C> sums[kMostFfnRows][N];
      std::fill_n(&sums[0][0], many * N, Vector<C>{});
      for_tiles<C, N>(weights, then, call.in, many > 1, [&](auto* w, auto* after, auto stride, auto i, auto n) {
        for_rows(many, after, [&](int64_t r, auto fetch) {
          multiply<C, N, fetch>(w, after, stride, n, users[r].x + i, sums[r]);
        });
      });
      for (int64_t r = 0; r < many; ++r)
        for (int n = 0; n < N; ++n) hidden[r * each + first + n] = sum_of<C>(sums[r][n]);
    });
    for (int64_t r = 0; r < many; ++r) activate(block, hidden + r * each);
    by_neurons(size, down, call.out, next, [&](int64_t first, auto N, const T* weights, const T* then) {
      for_tiles<C, N>(weights, then, call.out, many > 1, [&](auto* w, auto* after, auto stride, auto i, auto n) {
        for_rows(many, after, [&](int64_t r, auto fetch) {
          add<C, N, fetch>(w, after, stride, n, hidden + r * each + first, users[r].total + i);
        });
      });
    });
  }

 private:
  // Calls f(row, whether it fetches what is read next): the first one does, if something is to be fetched.
  template <class F>
  static void for_rows(int64_t count, const void* next, F&& f) {
    const bool fetch = next != nullptr;
    if (fetch) f(int64_t{0}, std::true_type{});
    for (int64_t r = fetch; r < count; ++r) f(r, std::false_type{});
  }

  // Calls f(first, how many, their weights, what is read after them) for a few neurons at a time.
  template <class F>
  static void by_neurons(int64_t count, const T* weights, int64_t size, const T* next, F&& f) {
    int64_t first = 0;
    const auto some = [&](auto N) {
      const T* after = weights + (first + N) * size;
      f(first, N, weights + first * size, first + N < count ? after : next);
      first += N;
    };
    while (first + kNeurons <= count) some(std::integral_constant<int, kNeurons>{});
    while (first < count) some(std::integral_constant<int, 1>{});
  }

  void activate(int64_t block, C* hidden) const {
    const int64_t size = call.block, each = call.parts * size;
    if (call.bias != nullptr)
      for (int64_t i = 0; i < each; ++i) hidden[i] += read(static_cast<const T*>(call.bias) + block * each + i);
    for (int64_t i = 0; i < size; ++i) {
      const C value = activated(call.activation, hidden[i]);
      hidden[i] = call.parts == 2 ? value * hidden[size + i] : value;
    }
  }
};

// Which blocks some row uses, chunk by chunk, and which rows use something of a chunk.
struct Plan {
  explicit Plan(const FfnCall& call) : chunks(std::min(kChunks, call.blocks)), rows(call.rows), first(1, 0) {
    users.resize(chunks * rows, 0);
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      for (int64_t block = chunk * call.blocks / chunks; block < (chunk + 1) * call.blocks / chunks; ++block) {
        bool any = false;
        for (int64_t row = 0; row < rows; ++row)
          if (call.active[row * call.blocks + block]) {
            users[chunk * rows + row] = 1;
            any = true;
          }
        if (any) blocks.push_back(block);
      }
      first.push_back(static_cast<int64_t>(blocks.size()));
    }
  }
  bool uses(int64_t row, int64_t chunk) const { return users[chunk * rows + row]; }

  int64_t chunks, rows;
  std::vector<int64_t> blocks, first;  // chunk c has blocks[first[c]] to blocks[first[c + 1]]
  std::vector<char> users;
};

// Each row's totals of the chunks that it uses, into (chunks, rows, out).
template <class C, class T>
void run_chunks(const FfnCall& call, const Plan& plan, const C* x, C* totals) {
  const Network<C, T> network{call};
  const int64_t count = static_cast<int64_t>(plan.blocks.size());
  const int64_t weights = count * call.block * (call.parts * call.in + call.out);
  const int64_t threads = std::clamp<int64_t>(weights / kGrain, 1, call.threads);
  std::atomic<int64_t> next{0};
  auto work = [&](int64_t, int64_t) {
    Numbers<C> hidden(call.parts * call.rows * call.block);
    std::vector<User<C>> users;
    for (int64_t chunk; (chunk = next++) < plan.chunks;) {
      const auto total = [&](int64_t row) { return totals + (chunk * call.rows + row) * call.out; };
      for (int64_t row = 0; row < call.rows; ++row)
        if (plan.uses(row, chunk)) std::fill_n(total(row), call.out, C(0));
      // The next chunk may be another thread's.
      const int64_t end = plan.first[chunk + 1], last = (threads == 1 ? count : end) - 1;
      for (int64_t i = plan.first[chunk]; i < end; ++i) {
        users.clear();
        for (int64_t row = 0; row < call.rows; ++row)
          if (call.active[row * call.blocks + plan.blocks[i]]) users.push_back({x + row * call.in, total(row)});
        network.run(plan.blocks[i], users, hidden.at(0), network.gate_up(plan.blocks[std::min(i + 1, last)]));
      }
    }
  };
  parallel(call.pool, threads, 1, work);
}

template <class C, class T>
void forward(const FfnCall& call) {
  const int64_t in = call.in, out = call.out;
  const Plan plan(call);
  Numbers<C> x(call.rows * in), totals(plan.chunks * call.rows * out);
  for (int64_t row = 0; row < call.rows; ++row)
    for (int64_t i = 0; i < in; ++i)
      *x.at(row * in + place<C, T>(i, in)) = read(static_cast<const T*>(call.x) + row * in + i);
  run_chunks<C, T>(call, plan, x.at(0), totals.at(0));

  auto add_up = [&](int64_t begin, int64_t end) {
    std::vector<C> sums(out);
    for (int64_t row = begin; row < end; ++row) {
      std::fill(sums.begin(), sums.end(), C(0));
      for (int64_t chunk = 0; chunk < plan.chunks; ++chunk) {
        if (!plan.uses(row, chunk)) continue;
        const C* part = totals.at((chunk * call.rows + row) * out);
        for (int64_t i = 0; i < out; ++i) sums[i] += part[i];
      }
      for (int64_t i = 0; i < out; ++i) {
        C sum = sums[place<C, T>(i, out)];
        if (call.down_bias != nullptr) sum += read(static_cast<const T*>(call.down_bias) + i);
        store(static_cast<T*>(call.y) + row * out + i, sum);
      }
    }
  };
  parallel(call.pool, call.rows, 1, add_up);
}

}  // namespace

void ffn_forward(const FfnCall& call) {
  switch (call.dtype) {
    case DType::float32:
      return forward<float, float>(call);
    case DType::float64:
      return forward<double, double>(call);
    case DType::bfloat16:
      return forward<float, BFloat16>(call);
    case DType::float16:
      return forward<float, Float16>(call);
  }
}

}  // namespace lomt::LOMT_ISA
