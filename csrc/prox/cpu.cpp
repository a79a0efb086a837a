// The proximal optimizers' steps on processors. Compiled once an instruction set (LOMT_ISA).
//
// The plain step and the first look at each group's equation are one pass over memory: where the look is, the last
// steps' norms tell. As a rule that closes nearly all groups, and a second pass writes them. The few that stay open are
// looked at again, alone. What sums of float32 terms can't decide (who is next to the threshold, NaNs) is solved in
// float64, member by member.
#include "call.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "../common/vector.h"

namespace lomt::LOMT_ISA {
namespace {

// Rows of float32 terms that are summed before they go into float64.
constexpr int64_t kRows = 32;
// Columns that are worked on at once: what is kept of each stays in the second cache.
constexpr int64_t kColumns = 8192;
// Numbers, and rows of single vectors, that are asked for ahead.
constexpr int64_t kAhead = 64, kRowsAhead = 8;
// The second pass goes backwards in blocks, since the last rows are still near; forward within one, for the prefetcher.
constexpr int64_t kBlockBytes = 256 * 1024;
// Numbers of a line of the cache.
constexpr int64_t kLine = 16;
// Numbers that are worth a thread, and pieces of the work that each has.
constexpr int64_t kGrain = 1 << 15, kPieces = 2;

// What an optimizer's plain step does, a vector at a time: `begin` what takes long, `finish` the rest, so that a loop can
// begin the next vector before it finishes one.
template <class C>
struct Begun {
  Vector<C> along, metric;
};

// kGeneral: amsgrad, scaled gradients.
template <class T, bool kGeneral>
struct AdamWStep {
  using C = typename Wide<T>::type;
  AdamW<C> n;
  bool unscale;
  T* weight;
  T* grad;
  T* first;
  T* second;
  T* greatest;

  template <class N, class M>
  Begun<C> begin(int64_t i, N lanes, const M& mask) const {
    Vector<C> g = load_vector<C>(grad + i, lanes);
    if constexpr (kGeneral) {
      g *= n.sign;
      if (unscale) store_vector<C>(grad + i, n.sign < 0 ? -g : g, lanes);
    }
    const Vector<C> m_old = load_vector<C>(first + i, lanes), v_old = load_vector<C>(second + i, lanes);
    const Vector<C> m = n.first(m_old, g);
    Vector<C> v = n.second(v_old, g);
    store_vector<C>(first + i, mask(m, m_old), lanes);
    store_vector<C>(second + i, mask(v, v_old), lanes);
    if constexpr (kGeneral) {
      if (greatest != nullptr) {
        const Vector<C> most = load_vector<C>(greatest + i, lanes);
        v = v > most ? v : most != most ? most : v != v ? v : most;
        store_vector<C>(greatest + i, mask(v, most), lanes);
      }
    }
    return {m * n.size, square_root(as_stored<T, C>(v)) + n.eps};
  }

  template <class N, class M>
  Vector<C> finish(int64_t i, N lanes, const Begun<C>& begun, const M& mask) const {
    const Vector<C> old = load_vector<C>(weight + i, lanes);
    const Vector<C> w = mask(old * n.decay - begun.along / begun.metric, old);
    store_vector<C>(weight + i, w, lanes);
    return as_stored<T, C>(w);
  }

  template <class N>
  Vector<C> metric(int64_t i, N lanes) const {
    return square_root(load_vector<C>(metric_of() + i, lanes)) + n.eps;
  }
  C metric(int64_t i) const { return std::sqrt(read(metric_of() + i)) + n.eps; }

  void ahead(int64_t i) const {
    __builtin_prefetch(grad + i);
    __builtin_prefetch(weight + i);
    __builtin_prefetch(first + i);
    __builtin_prefetch(second + i);
  }
  void ahead_again(int64_t i) const {
    __builtin_prefetch(weight + i);
    __builtin_prefetch(metric_of() + i);
  }

 private:
  const T* metric_of() const { return kGeneral && greatest != nullptr ? greatest : second; }
};

template <class T>
struct SGDStep {
  using C = typename Wide<T>::type;
  SGD<C> n;
  bool unscale, nesterov;
  T* weight;
  T* grad;
  T* buffer;

  template <class N, class M>
  Begun<C> begin(int64_t i, N lanes, const M& mask) const {
    Vector<C> g = load_vector<C>(grad + i, lanes) * n.sign;
    if (unscale) store_vector<C>(grad + i, n.sign < 0 ? -g : g, lanes);
    g += n.decay * load_vector<C>(weight + i, lanes);
    if (buffer != nullptr) {
      const Vector<C> old = load_vector<C>(buffer + i, lanes);
      // A fresh buffer may hold anything, NaNs too.
      const Vector<C> b = n.momentum == 0 ? n.rest * g : n.momentum * old + n.rest * g;
      store_vector<C>(buffer + i, mask(b, old), lanes);
      g = nesterov ? g + momentum * b : b;
    }
    return {g * n.lr, all_of<C>(1)};
  }
  C momentum = 0;  // also at the first step, for nesterov

  template <class N, class M>
  Vector<C> finish(int64_t i, N lanes, const Begun<C>& begun, const M& mask) const {
    const Vector<C> old = load_vector<C>(weight + i, lanes), w = mask(old - begun.along, old);
    store_vector<C>(weight + i, w, lanes);
    return as_stored<T, C>(w);
  }

  template <class N>
  Vector<C> metric(int64_t, N) const {
    return all_of<C>(1);
  }
  C metric(int64_t) const { return 1; }

  void ahead(int64_t i) const {
    __builtin_prefetch(grad + i);
    __builtin_prefetch(weight + i);
    if (buffer != nullptr) __builtin_prefetch(buffer + i);
  }
  void ahead_again(int64_t i) const { __builtin_prefetch(weight + i); }
};

// Vectors of sums.
template <class C, bool kConcave>
struct Partial {
  Vector<C> psi = {}, chi = {}, omega = {};
  void add(Vector<C> w, Vector<C> D, Vector<C> theta, Vector<C> rest, C) {
    const Vector<C> q = D * reciprocal(theta * D + rest);
    Vector<C> t = w * q;
    t *= t;
    psi += t;
    t *= q;
    chi += t;
    omega += t * q;
  }
};
template <class C>
struct Partial<C, true> {
  Vector<C> psi = {}, chi = {}, omega = {}, square = {}, kappa = {};
  void add(Vector<C> w, Vector<C> D, Vector<C> theta, Vector<C> rest, C curvature) {
    const Vector<C> r = reciprocal(theta * D + rest), q = D * r, lost = w * (1 - theta * q);
    Vector<C> t = w * q;
    t *= t;
    psi += t;
    const Vector<C> slope = q - curvature * r;
    t *= slope;
    chi += t;
    omega += t * slope;
    square += w * w;
    kappa += D * lost * lost;
  }
};

// U from W: 0 where theta is 0, and, if some groups are to stay as they are, W where rest is 0.
template <bool kKeep, class C>
Vector<C> shrunk(Vector<C> w, Vector<C> D, Vector<C> theta, Vector<C> rest) {
  // Where theta is 0 this is a zero of either sign, which adding one makes +0.
  const Vector<C> t = theta * D, u = w * (t * reciprocal(t + rest)) + Vector<C>{};
  if constexpr (kKeep) return rest == 0 ? w : u;
  return u;
}

// Masks of groups whose gradient was computed: none, or a vector of them.
struct Everywhere {
  template <class V>
  V operator()(V now, V) const {
    return now;
  }
};
template <class C>
struct Where {
  Vector<C> there;  // 1 or 0
  Vector<C> operator()(Vector<C> now, Vector<C> old) const { return there != 0 ? now : old; }
};

// One column's vector: where its groups are looked at, and its sums.
template <class C, bool kConcave>
struct Cell {
  Vector<C> theta;
  Partial<C, kConcave> sums;
};

// What a thread works with, kept from tensor to tensor.
template <class C, bool kConcave>
struct Scratch {
  std::vector<Group> groups;
  std::vector<Cell<C, kConcave>> cells;
  std::vector<Vector<C>> rests;  // beside the cells: with a straight price all groups' are alike but in a first step
  std::vector<Vector<C>> there;
  std::vector<char> dead;        // vectors with no living group
  std::vector<double> columns;   // sums of each
  std::vector<int64_t> visited;  // vectors with an open group
  std::vector<double> members;
};

// Some adjacent groups of one tensor.
template <class Step, bool kConcave>
struct Worker {
  using C = typename Step::C;
  static constexpr int L = kLanes<C>;
  static constexpr int N = kConcave ? 5 : 3;
  using Precision = lomt::Precision<C>;

  const ProxTensor& tensor;
  const Step& step;
  const Price price;
  C* norms;
  C* changes;

  Scratch<C, kConcave>& scratch;
  std::vector<Group>& groups = scratch.groups;
  std::vector<Cell<C, kConcave>>& cells = scratch.cells;
  std::vector<Vector<C>>& rests = scratch.rests;
  std::vector<Vector<C>>& there = scratch.there;
  std::vector<char>& dead = scratch.dead;
  std::vector<double>& columns = scratch.columns;
  std::vector<int64_t>& visited = scratch.visited;
  std::vector<double>& members = scratch.members;

  bool active(int64_t group) const { return tensor.computed == nullptr || tensor.computed[group]; }

  Group begin(int64_t group) const {
    Group g = Group::from(guess_of(norms[group], changes[group]), price);
    round(g);
    return g;
  }

  void look(Group& g, const Sums& sums) const {
    g.look(sums, price, Precision::fuzz, Precision::accept);
    if (g.root.open) round(g);
  }

  // The next look is where theta is rounded to.
  void round(Group& g) const {
    if (g.blank || g.flat) return;
    g.root.theta = static_cast<C>(g.root.theta);
    g.aim(price);
  }

  void done(int64_t group, const Group& g) {
    const double before = norms[group];
    norms[group] = static_cast<C>(g.norm);
    changes[group] = before == before ? static_cast<C>(g.norm - before) : C{0};
  }

  // In float64, from a cold start; writes the group.
  template <class Each>
  void solve(Group& g, Each&& each) {
    const int64_t count = static_cast<int64_t>(members.size()) / 2;
    const double* W = members.data();
    const double* D = W + count;
    double square = 0;
    for (int64_t i = 0; i < count; ++i) square += W[i] * W[i];
    g = Group::from(std::sqrt(square), price);
    if (!(square < INFINITY)) {
      g.root.open = false;
      g.theta = g.norm = NAN;
      g.rest = 1;
    }
    const double curvature = price.curvature;
    Sums s{};
    for (int looks = 0; g.root.open && looks < kLooks; ++looks) {
      s = sums_of(W, D, count, g.theta, g.rest, curvature);
      g.look(s, price, 0, 1e-16);
    }
    if (square < INFINITY && g.rest != 0) {
      s = sums_of(W, D, count, g.theta, g.rest, curvature);
      s.square = square;
      g.choose(s, price);
    }
    bool any = false;
    each([&](auto* place, int64_t i) {
      const double t = g.theta * D[i];
      store(place, g.theta == 0 ? 0.0 : g.rest == 0 ? W[i] : W[i] * (t / (t + g.rest)));
      any |= !(read(place) == 0);
    });
    if (!any) g.norm = 0;
    g.theta = 1;
    g.rest = 0;
  }

  static Sums sums_of(const double* W, const double* D, int64_t count, double theta, double rest, double curvature) {
    double psi = 0, chi = 0, omega = 0, kappa = 0;
#pragma omp simd reduction(+ : psi, chi, omega, kappa)
    for (int64_t i = 0; i < count; ++i) {
      const double r = 1 / (theta * D[i] + rest), q = D[i] * r, t = W[i] * q, lost = W[i] * (1 - theta * q);
      const double slope = q - curvature * r;
      psi += t * t;
      chi += t * t * slope;
      omega += t * t * slope * slope;
      kappa += D[i] * lost * lost;
    }
    return {psi, chi, omega, 0, kappa};
  }

  // A group that is written as float32 and may have come out as zeros only, though its norm is not 0.
  bool vanishing(const Group& g, int64_t size) const {
    using T = std::remove_pointer_t<decltype(step.weight)>;
    const double tiny = std::is_same_v<T, Float16> ? 6e-8 : std::is_same_v<T, double> ? 5e-324 : 1.5e-45;
    return g.norm > 0 && g.norm <= tiny * static_cast<double>(size);
  }

  // --- Groups of one run of adjacent numbers, each in the first cache.

  void runs(int64_t first, int64_t last) {
    const int64_t run = tensor.form.run;
    for (int64_t k = first; k < last; ++k) {
      const int64_t at = k * run;
      if (!active(k)) {
        // A gradient that takes no part is divided by grad_scale all the same.
        for (int64_t i = at; step.unscale && i < at + run; ++i) {
          store(step.grad + i, read(step.grad + i) * std::fabs(step.n.sign));
        }
        continue;
      }
      Group g = begin(k);
      look(g, pass<true>(at, run, g));
      for (int looks = 0; g.open() && looks < kLooks; ++looks) look(g, pass<false>(at, run, g));
      if (g.doubtful || vanishing(g, run)) {
        members.resize(2 * run);
        for (int64_t i = 0; i < run; ++i) {
          members[i] = read(step.weight + at + i);
          members[run + i] = step.metric(at + i);
        }
        solve(g, [&](auto write) {
          for (int64_t i = 0; i < run; ++i) write(step.weight + at + i, i);
        });
      } else if (g.theta == 0) {
        std::memset(step.weight + at, 0, run * sizeof(*step.weight));
      } else if (g.rest != 0) {
        const Vector<C> theta = all_of<C>(static_cast<C>(g.theta)), rest = all_of<C>(static_cast<C>(g.rest));
        for_vectors<C>(run, [&](int64_t i, auto lanes) {
          const Vector<C> w = load_vector<C>(step.weight + at + i, lanes);
          store_vector<C>(step.weight + at + i, shrunk<false, C>(w, step.metric(at + i, lanes), theta, rest), lanes);
        });
      }
      done(k, g);
    }
  }

  // One look at a run; the first one makes the plain step.
  template <bool kStep>
  Sums pass(int64_t at, int64_t run, const Group& g) const {
    const Step step = this->step;
    const Vector<C> theta = all_of<C>(static_cast<C>(g.theta)), rest = all_of<C>(static_cast<C>(g.rest));
    const C curvature = static_cast<C>(price.curvature);
    const Everywhere all{};
    double total[5] = {};
    const int64_t whole = run / L * L;
    Begun<C> next{};
    if (kStep && whole > 0) next = step.begin(at, AllLanes<C>{}, all);
    for (int64_t block = 0; block < run; block += kRows * L) {
      Partial<C, kConcave> sums;
      const int64_t end = std::min(whole, block + kRows * L);
      for (int64_t i = block; i < end; i += L) {
        Vector<C> w, D;
        if constexpr (kStep) {
          const Begun<C> begun = next;
          if (i + L < whole) next = step.begin(at + i + L, AllLanes<C>{}, all);
          D = begun.metric;
          w = step.finish(at + i, AllLanes<C>{}, begun, all);
        } else {
          w = load_vector<C>(step.weight + at + i, AllLanes<C>{});
          D = step.metric(at + i, AllLanes<C>{});
        }
        sums.add(w, D, theta, rest, curvature);
      }
      add(total, sums);
    }
    if (whole < run) {
      const int lanes = static_cast<int>(run - whole);
      Vector<C> w, D;
      if constexpr (kStep) {
        const Begun<C> begun = step.begin(at + whole, lanes, all);
        D = begun.metric;
        w = step.finish(at + whole, lanes, begun, all);
      } else {
        w = load_vector<C>(step.weight + at + whole, lanes);
        D = step.metric(at + whole, lanes);
      }
      for (int k = lanes; k < L; ++k) {  // lanes that are not meant
        w[k] = 0;
        D[k] = 1;
      }
      Partial<C, kConcave> sums;
      sums.add(w, D, theta, rest, curvature);
      add(total, sums);
    }
    return {total[0], total[1], total[2], total[3], total[4]};
  }

  static void add(double* total, const Partial<C, kConcave>& sums) {
    for (int k = 0; k < L; ++k) {
      total[0] += sums.psi[k];
      total[1] += sums.chi[k];
      total[2] += sums.omega[k];
      if constexpr (kConcave) {
        total[3] += sums.square[k];
        total[4] += sums.kappa[k];
      }
    }
  }

  // --- Groups of several rows: some adjacent columns of one part.

  void rows(int64_t part, int64_t first, int64_t last) {
    const Form& form = tensor.form;
    const int64_t in_part = form.groups_of_part(), offset = part * in_part, count = last - first;
    const int64_t base = part * form.outer_stride + first * form.run, width = count * form.run;
    const int64_t vectors = (width + L - 1) / L;
    groups.resize(count);
    cells.assign(vectors, Cell<C, kConcave>{});
    rests.resize(vectors);
    columns.assign(N * vectors * L, 0.0);
    for (int64_t g = 0; g < count; ++g) groups[g] = begin(offset + first + g);
    const bool masked = tensor.computed != nullptr;
    if (masked) {
      there.assign(vectors, Vector<C>{});
      for (int64_t j = 0; j < width; ++j) there[j / L][j % L] = active(offset + first + j / form.run);
    }
    const bool alike = spread(width);
    if (masked) {
      walk<true>(base, width, [&](int64_t v) { return Where<C>{there[v]}; });
    } else if (!alike) {
      walk<true>(base, width, [](int64_t) { return Everywhere{}; });
    } else {
      walk<false>(base, width, [](int64_t) { return Everywhere{}; });
    }
    if (masked) {
      for (int64_t g = 0; g < count; ++g) {
        if (!active(offset + first + g)) groups[g].keep(0);
      }
    }
    take();
    for (int looks = 0; looks < kLooks && find_open(); ++looks) {
      walk_again(base, width);
      take();
    }
    for (int64_t g = 0; g < count; ++g) {
      if (groups[g].doubtful || vanishing(groups[g], form.rows * form.run)) {
        gather(base + g * form.run, groups[g]);
      }
    }
    write(base, width, spread(width));
    for (int64_t g = 0; g < count; ++g) {
      if (active(offset + first + g)) done(offset + first + g, groups[g]);
    }  }

  // What each group has goes to its columns. Returns whether all have the same rest, that of a straight price.
  bool spread(int64_t width) {
    const int64_t run = tensor.form.run;
    bool alike = !kConcave;
    int64_t j = 0;
    for (const Group& g : groups) {
      alike &= g.rest == price.tau;
      const C theta = static_cast<C>(g.theta), rest = static_cast<C>(g.rest);
      for (int64_t end = j + run; j < end; ++j) {
        cells[j / L].theta[j % L] = theta;
        rests[j / L][j % L] = rest;
      }
    }
    for (; j % L != 0; ++j) {  // lanes beyond the last column
      cells[width / L].theta[j % L] = 0;
      rests[width / L][j % L] = 1;
    }
    return alike;
  }

  // The plain step and the first look.
  template <bool kRests, class M>
  void walk(int64_t base, int64_t width, M mask) {
    // A copy: stores to weights might change what is behind a reference, for all that the compiler knows.
    const Step step = this->step;
    const Form form = tensor.form;
    const int64_t whole = width / L * L;
    const C curvature = static_cast<C>(price.curvature);
    const Vector<C> straight = all_of<C>(static_cast<C>(price.tau));
    const Vector<C>* all_rests = rests.data();
    const auto rest = [&](int64_t v) { return kRests ? all_rests[v] : straight; };
    for (int64_t r = 0; r < form.rows; ++r) {
      const int64_t at = base + r * form.row_stride;
      Cell<C, kConcave>* cell = cells.data();
      Begun<C> next{};
      if (whole > 0) next = step.begin(at, AllLanes<C>{}, mask(0));
      for (int64_t j = 0; j < whole; j += L, ++cell) {
        const Begun<C> begun = next;
        if (j + L < whole) {
          if ((j + L) * sizeof(C) % 64 == 0) step.ahead(at + j + kAhead);
          next = step.begin(at + j + L, AllLanes<C>{}, mask(j / L + 1));
        }
        const Vector<C> w = step.finish(at + j, AllLanes<C>{}, begun, mask(j / L));
        cell->sums.add(w, begun.metric, cell->theta, rest(j / L), curvature);
      }
      if (whole < width) {
        const int lanes = static_cast<int>(width - whole);
        const Begun<C> begun = step.begin(at + whole, lanes, mask(whole / L));
        const Vector<C> w = step.finish(at + whole, lanes, begun, mask(whole / L));
        cell->sums.add(w, begun.metric, cell->theta, rest(whole / L), curvature);
      }
      if (r % kRows == kRows - 1 || r == form.rows - 1) flush(static_cast<int64_t>(cells.size()), nullptr);
    }
  }

  // Another look, at vectors that have an open group.
  void walk_again(int64_t base, int64_t width) {
    const Step step = this->step;
    const Form form = tensor.form;
    const C curvature = static_cast<C>(price.curvature);
    for (int64_t r = 0; r < form.rows; ++r) {
      const int64_t at = base + r * form.row_stride;
      for (const int64_t v : visited) {
        Cell<C, kConcave>& cell = cells[v];
        step.ahead_again(at + kRowsAhead * form.row_stride + v * L);
        const auto visit = [&](auto lanes) {
          const Vector<C> w = load_vector<C>(step.weight + at + v * L, lanes);
          cell.sums.add(w, step.metric(at + v * L, lanes), cell.theta, rests[v], curvature);
        };
        (v + 1) * L <= width ? visit(AllLanes<C>{}) : visit(static_cast<int>(width - v * L));
      }
      if (r % kRows == kRows - 1 || r == form.rows - 1) {
        flush(static_cast<int64_t>(visited.size()), visited.data());
      }
    }
  }

  // Sums of some rows go into float64.
  void flush(int64_t count, const int64_t* list) {
    const auto into = [](Vector<C>& from, double* to) {
      for (int k = 0; k < L; ++k) to[k] += from[k];
      from = Vector<C>{};
    };
    const int64_t plane = static_cast<int64_t>(cells.size()) * L;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t v = list == nullptr ? i : list[i];
      double* to = columns.data() + v * L;
      into(cells[v].sums.psi, to);
      into(cells[v].sums.chi, to + plane);
      into(cells[v].sums.omega, to + 2 * plane);
      if constexpr (kConcave) {
        into(cells[v].sums.square, to + 3 * plane);
        into(cells[v].sums.kappa, to + 4 * plane);
      }
    }
  }

  void take() {
    const int64_t run = tensor.form.run, plane = static_cast<int64_t>(cells.size()) * L;
    for (size_t g = 0; g < groups.size(); ++g) {
      if (!groups[g].open()) continue;
      double total[5] = {};
      for (int n = 0; n < N; ++n) {
        const double* column = columns.data() + n * plane + g * run;
        for (int64_t j = 0; j < run; ++j) total[n] += column[j];
      }
      look(groups[g], {total[0], total[1], total[2], total[3], total[4]});
    }
  }

  // Lists the vectors with an open group, and makes them ready for another look.
  bool find_open() {
    const int64_t run = tensor.form.run, plane = static_cast<int64_t>(cells.size()) * L;
    visited.clear();
    for (size_t g = 0; g < groups.size(); ++g) {
      if (!groups[g].open()) continue;
      const int64_t first = g * run;
      const C theta = static_cast<C>(groups[g].theta), rest = static_cast<C>(groups[g].rest);
      for (int64_t j = first; j < first + run; ++j) {
        cells[j / L].theta[j % L] = theta;
        rests[j / L][j % L] = rest;
        if (visited.empty() || visited.back() < j / L) visited.push_back(j / L);
      }
    }
    for (const int64_t v : visited) {
      for (int n = 0; n < N; ++n) std::fill_n(columns.begin() + n * plane + v * L, L, 0.0);
    }
    return !visited.empty();
  }

  void gather(int64_t at, Group& g) {
    const Form& form = tensor.form;
    const int64_t count = form.rows * form.run;
    members.resize(2 * count);
    const auto each = [&](auto&& f) {
      for (int64_t r = 0, i = 0; r < form.rows; ++r) {
        for (int64_t j = 0; j < form.run; ++j, ++i) f(at + r * form.row_stride + j, i);
      }
    };
    each([&](int64_t place, int64_t i) {
      members[i] = read(step.weight + place);
      members[count + i] = step.metric(place);
    });
    solve(g, [&](auto write) { each([&](int64_t place, int64_t i) { write(step.weight + place, i); }); });
  }

  void write(int64_t base, int64_t width, bool alike) {
    size_t kept = 0;
    for (const Group& g : groups) kept += g.rest == 0;
    if (kept == groups.size()) return;
    dead.resize(cells.size());
    for (size_t v = 0; v < cells.size(); ++v) {
      bool all = true;
      for (int k = 0; k < L; ++k) all &= cells[v].theta[k] == 0;
      dead[v] = all;
    }
    kept > 0 ? write_rows<true, true>(base, width)
             : alike ? write_rows<false, false>(base, width) : write_rows<false, true>(base, width);
  }

  template <bool kKeep, bool kRests>
  void write_rows(int64_t base, int64_t width) {
    const Step step = this->step;
    const Form form = tensor.form;
    const Vector<C> straight = all_of<C>(static_cast<C>(price.tau));
    const Cell<C, kConcave>* all_cells = cells.data();
    const Vector<C>* all_rests = rests.data();
    const char* all_dead = dead.data();
    const int64_t block = std::max<int64_t>(1, kBlockBytes / (width * static_cast<int64_t>(sizeof(*step.weight))));
    for (int64_t end = form.rows; end > 0; end -= std::min(block, end)) {
      for (int64_t r = std::max<int64_t>(0, end - block); r < end; ++r) {
        const int64_t at = base + r * form.row_stride;
        int64_t v = 0;
        for_vectors<C>(width, [&](int64_t j, auto lanes) {
          Vector<C> u = {};
          if (!all_dead[v]) {
            const Vector<C> w = load_vector<C>(step.weight + at + j, lanes), D = step.metric(at + j, lanes);
            u = shrunk<kKeep, C>(w, D, all_cells[v].theta, kRests ? all_rests[v] : straight);
          }
          store_vector<C>(step.weight + at + j, u, lanes);
          ++v;
        });
      }
    }
  }
};

template <class Step>
void work(const ProxTensor& tensor, const Step& step, const Price& price, int64_t first, int64_t last) {
  using C = typename Step::C;
  const Form& form = tensor.form;
  C* norms = static_cast<C*>(tensor.state);
  const auto run = [&](auto&& worker) {
    if (form.rows == 1 && form.outer == 1) {
      worker.runs(first, last);
      return;
    }
    const int64_t in_part = form.groups_of_part(), most = std::max<int64_t>(1, kColumns / form.run);
    while (first < last) {
      const int64_t part = first / in_part, begin = first % in_part;
      const int64_t end = std::min({in_part, begin + last - first, begin + most});
      worker.rows(part, begin, end);
      first += end - begin;
    }
  };
  C* changes = norms + form.groups();
  if (price.curvature > 0) {
    static thread_local Scratch<C, true> scratch;
    run(Worker<Step, true>{tensor, step, price, norms, changes, scratch});
  } else {
    static thread_local Scratch<C, false> scratch;
    run(Worker<Step, false>{tensor, step, price, norms, changes, scratch});
  }
}

double lr_of(const ProxCall& call) {
  if (call.lr == nullptr) return call.numbers.lr;
  return call.lr_dtype == DType::float64 ? *static_cast<const double*>(call.lr)
                                         : static_cast<double>(*static_cast<const float*>(call.lr));
}

template <class T>
void one(const ProxCall& call, int64_t i, int64_t first, int64_t last) {
  using C = typename Wide<T>::type;
  const ProxTensor& tensor = call.tensors[i];
  const StepNumbers& n = call.numbers;
  const double lr = lr_of(call), scale = call.grad_scale == nullptr ? 1.0 : *call.grad_scale;
  const bool unscale = call.grad_scale != nullptr;
  T* weight = static_cast<T*>(tensor.weight);
  T* grad = static_cast<T*>(tensor.grad);
  if (call.sgd) {
    const SGDStep<T> step{sgd_of<C>(n, lr, tensor.fresh != 0, scale), unscale, n.nesterov, weight, grad,
                          static_cast<T*>(tensor.first), static_cast<C>(n.momentum)};
    work(tensor, step, price_of(call.prices[i], lr, n.gamma), first, last);
    return;
  }
  double root = 1;
  const AdamW<C> numbers = adamw_of<C>(n, lr, *tensor.step, scale, &root);
  const Price price = price_of(call.prices[i], lr * root, n.gamma);
  T* m = static_cast<T*>(tensor.first);
  T* v = static_cast<T*>(tensor.second);
  T* most = static_cast<T*>(tensor.greatest);
  if constexpr (std::is_same_v<T, float>) {  // what nearly everyone does is compiled apart
    if (!unscale && !n.maximize && most == nullptr) {
      work(tensor, AdamWStep<T, false>{numbers, false, weight, grad, m, v, nullptr}, price, first, last);
      return;
    }
  }
  work(tensor, AdamWStep<T, true>{numbers, unscale, weight, grad, m, v, most}, price, first, last);
}

}  // namespace

void prox_step(const ProxCall& call) {
  if (call.found_inf != nullptr && *call.found_inf != 0) return;
  // Groups of all tensors in one row, cut into pieces of as many weights, which threads take as they come: one that
  // wakes up late finds less to do. What becomes of a group does not depend on where the cuts are.
  std::vector<int64_t> before(call.count + 1, 0);
  for (int64_t i = 0; i < call.count; ++i) {
    Form& form = call.tensors[i].form;
    form.merge();
    if (!call.sgd) *call.tensors[i].step += 1;
    before[i + 1] = before[i] + form.groups() * form.rows * form.run;
  }
  const int64_t total = before[call.count];
  const int64_t threads = std::max<int64_t>(1, call.threads);
  const int64_t pieces = threads == 1 ? 1 : std::clamp<int64_t>(total / kGrain, 1, kPieces * threads);
  const auto piece = [&](int64_t number) {
    const int64_t from = total / pieces * number, to = number + 1 == pieces ? total : total / pieces * (number + 1);
    int64_t i = std::upper_bound(before.begin(), before.end(), from) - before.begin() - 1;
    for (; i < call.count && before[i] < to; ++i) {
      const Form& form = call.tensors[i].form;
      // Cuts between columns are between lines of the cache, too, which two threads must not write to in turn.
      const int64_t size = form.rows * form.run, whole = form.rows == 1 ? 1 : kLine;
      const auto cut = [&](int64_t place) {
        const int64_t group = (std::max<int64_t>(0, place - before[i]) + size - 1) / size;
        return std::min(form.groups(), (group + whole - 1) / whole * whole);
      };
      const int64_t first = cut(from), last = cut(to);
      if (first >= last) continue;
      switch (call.dtype) {
        case DType::float32:
          one<float>(call, i, first, last);
          break;
        case DType::float64:
          one<double>(call, i, first, last);
          break;
        case DType::bfloat16:
          one<BFloat16>(call, i, first, last);
          break;
        case DType::float16:
          one<Float16>(call, i, first, last);
          break;
      }
    }
  };
  std::atomic<int64_t> next{0};
  auto body = [&](int64_t, int64_t) {
    for (int64_t number = next++; number < pieces; number = next++) piece(number);
  };
  parallel(call.pool, std::min(threads, pieces), 1, body);
}

}  // namespace lomt::LOMT_ISA
