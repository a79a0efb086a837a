// What each thread of a block does with its numbers. cuda.cu has the sums over threads, and the launches; the test
// plays a block on the host.
#pragma once

#include <cstddef>

#include "call.h"
#include "tile.h"

#ifdef __CUDA_ARCH__
#define LOMT_UNROLL _Pragma("unroll")
#else
#define LOMT_UNROLL
#endif

namespace lomt {

// How many numbers a look sums up, and of those with a straight price.
constexpr int kSums = sizeof(Sums) / sizeof(double);
constexpr int kStraightSums = offsetof(Sums, square) / sizeof(double);

// One tensor in the table on the device. `numbers` are AdamW<C>'s or SGD<C>'s, each rounded to C.
struct Entry {
  ProxTensor tensor;
  Price price;
  double numbers[8];
  int64_t groups_of_tile;
};
constexpr int kEntryWords = 26;
static_assert(sizeof(Entry) == kEntryWords * 8, "native.py allocates so many, and one for the number of the first tile");

// How one tensor is cut, decided on the host.
struct Planned {
  ProxTensor tensor;
  double price;
  int64_t first_tile, groups_of_tile;
};

// What the writer needs of a call.
struct StepFacts {
  StepNumbers numbers;
  const void* lr;
  const float* grad_scale;
  const float* found_inf;
  bool sgd, lr_wide, wide;

  LOMT_HD bool skipped() const { return found_inf != nullptr && *found_inf != 0; }
};

// Counts the tensor's step, and fills its entry with what is the same for all of its weights.
LOMT_HD void write_entry(const StepFacts& facts, const Planned& planned, Entry* entry) {
  const StepNumbers& n = facts.numbers;
  const double lr = facts.lr == nullptr ? n.lr
                    : facts.lr_wide     ? *static_cast<const double*>(facts.lr)
                                        : static_cast<double>(*static_cast<const float*>(facts.lr));
  const double scale = facts.grad_scale == nullptr ? 1.0 : *facts.grad_scale;
  double* to = entry->numbers;
  double step = lr;
  const auto adamw = [&](auto a) {
    to[0] = a.beta1, to[1] = a.rest1, to[2] = a.beta2, to[3] = a.rest2;
    to[4] = a.decay, to[5] = a.size, to[6] = a.eps, to[7] = a.sign;
  };
  const auto sgd = [&](auto s) {
    to[0] = s.lr, to[1] = s.momentum, to[2] = s.rest, to[3] = s.decay, to[4] = s.sign;
  };
  if (facts.sgd) {
    const bool first = planned.tensor.fresh != 0;
    facts.wide ? sgd(sgd_of<double>(n, lr, first, scale)) : sgd(sgd_of<float>(n, lr, first, scale));
    to[5] = facts.wide ? n.momentum : static_cast<float>(n.momentum);
    to[6] = to[7] = 0;
  } else {
    const float steps = *planned.tensor.step + 1;
    *planned.tensor.step = steps;
    double root = 1;
    facts.wide ? adamw(adamw_of<double>(n, lr, steps, scale, &root)) : adamw(adamw_of<float>(n, lr, steps, scale, &root));
    step *= root;
  }
  entry->tensor = planned.tensor;
  entry->price = price_of(planned.price, step, n.gamma);
  entry->groups_of_tile = planned.groups_of_tile;
}

// The optimizers, one number at a time: what is read is read first, of several numbers, so that memory has much to do.
template <class T>
struct OneAdamW {
  using Number = T;
  using C = typename Wide<T>::type;
  static constexpr bool kMetric = true;
  AdamW<C> n;
  bool unscale;
  T* weight;
  T* grad;
  T* first;
  T* second;
  T* greatest;

  struct Values {
    C weight, grad, first, second, greatest;
  };

  LOMT_HD OneAdamW(const Entry& entry, bool unscale, bool /*nesterov*/)
      : n{static_cast<C>(entry.numbers[0]), static_cast<C>(entry.numbers[1]), static_cast<C>(entry.numbers[2]),
          static_cast<C>(entry.numbers[3]), static_cast<C>(entry.numbers[4]), static_cast<C>(entry.numbers[5]),
          static_cast<C>(entry.numbers[6]), static_cast<C>(entry.numbers[7])},
        unscale(unscale),
        weight(static_cast<T*>(entry.tensor.weight)),
        grad(static_cast<T*>(entry.tensor.grad)),
        first(static_cast<T*>(entry.tensor.first)),
        second(static_cast<T*>(entry.tensor.second)),
        greatest(static_cast<T*>(entry.tensor.greatest)) {}

  LOMT_HD C sign() const { return n.sign; }

  LOMT_HD Values values(int64_t i) const {
    return {read(weight + i), read(grad + i), read(first + i), read(second + i),
            greatest == nullptr ? C{0} : read(greatest + i)};
  }

  LOMT_HD Member<C> step(int64_t i, Values x) const {
    const C g = x.grad * n.sign;
    if (unscale) store(grad + i, n.sign < 0 ? -g : g);
    const Member<C> member = stepped<T>(n, greatest != nullptr, x.weight, g, &x.first, &x.second, &x.greatest);
    store(first + i, x.first);
    store(second + i, x.second);
    if (greatest != nullptr) store(greatest + i, x.greatest);
    return member;
  }

  // What the step left in memory.
  LOMT_HD Member<C> member(int64_t i) const {
    using std::sqrt;
    return {read(weight + i), sqrt(read((greatest != nullptr ? greatest : second) + i)) + n.eps};
  }
};

template <class T>
struct OneSGD {
  using Number = T;
  using C = typename Wide<T>::type;
  static constexpr bool kMetric = false;
  SGD<C> n;
  C momentum;
  bool unscale, nesterov;
  T* weight;
  T* grad;
  T* buffer;

  struct Values {
    C weight, grad, buffer;
  };

  LOMT_HD OneSGD(const Entry& entry, bool unscale, bool nesterov)
      : n{static_cast<C>(entry.numbers[0]), static_cast<C>(entry.numbers[1]), static_cast<C>(entry.numbers[2]),
          static_cast<C>(entry.numbers[3]), static_cast<C>(entry.numbers[4])},
        momentum(static_cast<C>(entry.numbers[5])),
        unscale(unscale),
        nesterov(nesterov),
        weight(static_cast<T*>(entry.tensor.weight)),
        grad(static_cast<T*>(entry.tensor.grad)),
        buffer(static_cast<T*>(entry.tensor.first)) {}

  LOMT_HD C sign() const { return n.sign; }

  LOMT_HD Values values(int64_t i) const {
    return {read(weight + i), read(grad + i), buffer == nullptr ? C{0} : read(buffer + i)};
  }

  LOMT_HD Member<C> step(int64_t i, Values x) const {
    const C g = x.grad * n.sign;
    if (unscale) store(grad + i, n.sign < 0 ? -g : g);
    const Member<C> member = stepped<T>(n, buffer != nullptr, momentum, nesterov, x.weight, g, &x.buffer);
    if (buffer != nullptr) store(buffer + i, x.buffer);
    return member;
  }

  LOMT_HD Member<C> member(int64_t i) const { return {read(weight + i), C{1}}; }
};

// Members that stay on chip: each thread's first `kept`, in slots of its own.
template <class One>
struct Chip {
  using T = typename One::Number;
  using C = typename One::C;
  static constexpr int kBytes = sizeof(T) + (One::kMetric ? sizeof(C) : 0);
  C* metric;
  T* weight;
  int kept, thread;

  LOMT_HD Chip(void* memory, int kept, int thread)
      : metric(static_cast<C*>(memory)),
        weight(reinterpret_cast<T*>(metric + (One::kMetric ? kept * kThreads : 0))),
        kept(kept),
        thread(thread) {}

  LOMT_HD void put(int visit, const Member<C>& member) const {
    store(weight + visit * kThreads + thread, member.weight);
    if constexpr (One::kMetric) metric[visit * kThreads + thread] = member.metric;
  }
  LOMT_HD Member<C> get(int visit) const {
    const C w = read(weight + visit * kThreads + thread);
    if constexpr (One::kMetric) {
      return {w, metric[visit * kThreads + thread]};
    } else {
      return {w, C{1}};
    }
  }
};

// One thread's share of the work.
template <class One>
struct Share {
  using T = typename One::Number;
  using C = typename One::C;
  // Numbers whose reads are under way at once.
  static constexpr int kBatch = sizeof(T) == 8 ? 2 : 4;

  const One& one;
  const Tile& tile;
  const Chip<One>& chip;
  const Price& price;

  // The plain step and the first look.
  LOMT_HD Sums first(const Group& group) const {
    Sums sums{};
    int64_t at[kBatch];
    int visit = 0;
    for (Walk walk(tile); walk.left > 0; visit += kBatch) {
      const int count = walk.next(at);
      typename One::Values values[kBatch];
      LOMT_UNROLL
      for (int k = 0; k < kBatch; ++k) values[k] = one.values(at[k]);
      LOMT_UNROLL
      for (int k = 0; k < kBatch; ++k) {
        if (k >= count) continue;
        const Member<C> member = one.step(at[k], values[k]);
        if (visit + k < chip.kept) {
          chip.put(visit + k, member);
        } else {
          store(one.weight + at[k], member.weight);
        }
        add_member(sums, member.weight, member.metric, group.theta, group.rest, price.curvature);
      }
    }
    return sums;
  }

  // Another one.
  LOMT_HD Sums again(const Group& group) const {
    const double theta = group.theta, rest = group.rest;
    Sums sums{};
    each(INT32_MAX, [&](int64_t, const Member<C>& member, bool) {
      add_member(sums, member.weight, member.metric, theta, rest, price.curvature);
    });
    return sums;
  }

  // Writes the weights; returns how many did not become 0. Where W itself stays, its norm says that, and what is in
  // memory is not looked at.
  LOMT_HD double write(const Group& group) const {
    if (group.theta == 0) {
      int64_t at[kBatch];
      for (Walk walk(tile); walk.left > 0;) {
        const int count = walk.next(at);
        LOMT_UNROLL
        for (int k = 0; k < kBatch; ++k) {
          if (k < count) store(one.weight + at[k], C{0});
        }
      }
      return 0;
    }
    const C theta = static_cast<C>(group.theta), rest = static_cast<C>(group.rest);
    const bool whole = rest == 0;
    double count = whole ? 1 : 0;
    each(whole ? chip.kept : INT32_MAX, [&](int64_t at, const Member<C>& member, bool kept) {
      const C u = rounded<T>(shrunk_one(member, theta, rest));
      count += u == 0 ? 0 : 1;
      if (kept || !whole) store(one.weight + at, u);
    });
    return count;
  }

  // Gradients of a group that is left alone are unscaled, too.
  LOMT_HD void unscale() const {
    for (Walk walk(tile); walk.left > 0;) {
      int64_t at[1];
      walk.next(at);
      const C g = read(one.grad + at[0]) * one.sign();
      store(one.grad + at[0], one.sign() < 0 ? -g : g);
    }
  }

 private:
  // Some visits more than `limit` at most.
  template <class F>
  LOMT_HD void each(int limit, F f) const {
    int64_t at[kBatch];
    int visit = 0;
    for (Walk walk(tile); walk.left > 0 && visit < limit; visit += kBatch) {
      const int count = walk.next(at);
      Member<C> members[kBatch];
      if (visit + count <= chip.kept) {
        LOMT_UNROLL
        for (int k = 0; k < kBatch; ++k) {
          if (k < count) members[k] = chip.get(visit + k);
        }
      } else {
        LOMT_UNROLL
        for (int k = 0; k < kBatch; ++k) {
          members[k] = visit + k < chip.kept ? chip.get(visit + k) : one.member(at[k]);
        }
      }
      LOMT_UNROLL
      for (int k = 0; k < kBatch; ++k) {
        if (k < count) f(at[k], members[k], visit + k < chip.kept);
      }
    }
  }
};

// The norms that a tensor's groups have.
template <class C>
struct Norms {
  C* norms;
  C* changes;

  LOMT_HD Norms(const ProxTensor& tensor)
      : norms(static_cast<C*>(tensor.state)), changes(norms + tensor.form.groups()) {}

  LOMT_HD double guess(int64_t group) const { return guess_of(norms[group], changes[group]); }

  // `members`: how many are not 0.
  LOMT_HD void done(int64_t group, double norm, double members) const {
    if (members == 0) norm = 0;
    const double before = norms[group];
    norms[group] = static_cast<C>(norm);
    changes[group] = before == before ? static_cast<C>(norm - before) : C{0};
  }
};

}  // namespace lomt
