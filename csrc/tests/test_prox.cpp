// The proximal optimizers' mathematics against brute force in float64; and blocks of the GPU code, played on the host.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "../prox/block.h"

namespace {

using lomt::Exact;
using lomt::Price;
using lomt::Sums;
using Numbers = std::vector<double>;

int failures = 0;

#define CHECK(condition, ...)          \
  do {                                 \
    if (!(condition)) {                \
      if (failures < 40) {             \
        std::printf("%s: ", #condition); \
        std::printf(__VA_ARGS__);      \
        std::printf("\n");             \
      }                                \
      ++failures;                      \
    }                                  \
  } while (false)

double norm_of(const Numbers& W) {
  double square = 0;
  for (const double w : W) square += w * w;
  return std::sqrt(square);
}

// The price of a norm, flat from its end on.
double price_at(double norm, const Price& price) {
  return norm < price.end() ? price.of(norm) : price.tau * price.end() / 2;
}

double cost(const Numbers& U, const Numbers& W, const Numbers& D, const Price& price) {
  double sum = 0;
  for (size_t i = 0; i < W.size(); ++i) sum += D[i] * (U[i] - W[i]) * (U[i] - W[i]) / 2;
  return sum + price_at(norm_of(U), price);
}

// Of all U of one norm, up to |W|, the one next to W: U = D W / (D + mu), mu by bisection.
Numbers nearest(const Numbers& W, const Numbers& D, double norm) {
  Numbers U(W.size(), 0.0);
  if (norm <= 0) return U;
  const auto at = [&](double mu) {
    for (size_t i = 0; i < W.size(); ++i) U[i] = W[i] * D[i] / (D[i] + mu);
    return norm_of(U);
  };
  double low = 0, high = 1;
  while (at(high) > norm) high *= 4;
  for (int i = 0; i < 80; ++i) {
    const double middle = (low + high) / 2;
    (at(middle) > norm ? low : high) = middle;
  }
  at(high);
  return U;
}

// The least cost over all norms: a grid, and a golden section around its three best places.
double least_cost(const Numbers& W, const Numbers& D, const Price& price) {
  constexpr int kGrid = 300;
  const double most = norm_of(W);
  std::vector<std::pair<double, int>> found;
  const auto of = [&](double norm) { return cost(nearest(W, D, norm), W, D, price); };
  for (int i = 0; i <= kGrid; ++i) found.push_back({of(most * i / kGrid), i});
  std::sort(found.begin(), found.end());
  double least = std::min(found[0].first, cost(W, W, D, price));
  for (int k = 0; k < 3; ++k) {
    double a = most * std::max(0, found[k].second - 1) / kGrid, b = most * std::min(kGrid, found[k].second + 1) / kGrid;
    for (int i = 0; i < 60; ++i) {
      const double c = b - 0.6180339887498949 * (b - a), d = a + 0.6180339887498949 * (b - a);
      (of(c) < of(d) ? b : a) = of(c) < of(d) ? d : c;
    }
    least = std::min(least, of((a + b) / 2));
  }
  return least;
}

Sums sums_at(const Numbers& W, const Numbers& D, const Exact& e, const Price& price) {
  Sums sums{};
  for (size_t i = 0; i < W.size(); ++i) {
    lomt::add_member(sums, W[i], D[i], e.group.theta, e.group.rest, price.curvature);
  }
  return sums;
}

struct Found {
  Numbers U;
  double norm;
  int looks;
};

Found solved(const Numbers& W, const Numbers& D, const Price& price, double guess, double accept) {
  Exact e = Exact::from(guess, price);
  int looks = 0;
  for (; e.open() && looks < lomt::kLooks; ++looks) e.look(sums_at(W, D, e, price), price, accept);
  e.end(price);
  Numbers U(W.size());
  for (size_t i = 0; i < W.size(); ++i) {
    U[i] = lomt::shrunk_one(lomt::Member<double>{W[i], D[i]}, e.group.theta, e.group.rest);
  }
  return {U, e.group.norm, looks};
}

double threshold_of(const Numbers& W, const Numbers& D) {
  Numbers pulls(W.size());
  for (size_t i = 0; i < W.size(); ++i) pulls[i] = W[i] * D[i];
  return norm_of(pulls);
}

std::mt19937 engine(0);
double uniform() { return std::uniform_real_distribution<double>(0, 1)(engine); }
double normal() { return std::normal_distribution<double>()(engine); }

void draw(int most, double decades, Numbers* W, Numbers* D) {
  const int size = 1 + static_cast<int>(uniform() * most);
  W->resize(size);
  D->resize(size);
  for (int i = 0; i < size; ++i) {
    (*W)[i] = normal();
    (*D)[i] = std::pow(10, decades * (uniform() - 0.5));
  }
}

// A straight price: the norm by bisection, from any guess, far from the threshold and next to it.
void straight() {
  Numbers W, D;
  for (int round = 0; round < 3000; ++round) {
    draw(40, 8, &W, &D);
    const double threshold = threshold_of(W, D);
    const double shares[] = {uniform(), 1 - 1e-3, 1 - 1e-9, 1 + 1e-9, 1.5};
    const Price price{threshold * shares[round % 5], 0};
    double low = 0, high = norm_of(W);
    const auto psi = [&](double theta) {
      double sum = 0;
      for (size_t i = 0; i < W.size(); ++i) sum += std::pow(W[i] * D[i] / (theta * D[i] + price.tau), 2);
      return sum;
    };
    const bool dead = threshold <= price.tau;
    for (int i = 0; i < 200 && !dead; ++i) {
      const double middle = (low + high) / 2;
      (psi(middle) > 1 ? low : high) = middle;
    }
    const double expected = dead ? 0 : low;
    double chi = 0;
    for (size_t i = 0; i < W.size(); ++i) {
      const double q = D[i] / (expected * D[i] + price.tau);
      chi += W[i] * W[i] * q * q * q;
    }
    const double tolerance = 1e-9 * expected + 1e-14 / chi;
    for (const double guess : {0.0, expected, 0.9 * expected, 1.5 * expected, 1e6, 1e-30, double(NAN), double(INFINITY), -1.0}) {
      const Found found = solved(W, D, price, guess, 1e-16);
      CHECK((found.norm == 0) == dead, "round %d from %g: %g for %g", round, guess, found.norm, expected);
      CHECK(std::fabs(found.norm - expected) <= tolerance, "round %d from %g: %.17g for %.17g", round, guess, found.norm,
            expected);
      CHECK(std::fabs(norm_of(found.U) - found.norm) <= 2 * tolerance, "round %d from %g: |U| %.17g, norm %.17g", round,
            guess, norm_of(found.U), found.norm);
      CHECK(found.looks < lomt::kLooks, "round %d from %g: %d looks", round, guess, found.looks);
    }
  }
}

// A concave price: what is found costs no more than what a search over all norms finds.
void concave() {
  Numbers W, D;
  int kinds[3] = {};
  for (int round = 0; round < 400; ++round) {
    draw(8, round % 2 ? 4 : 1, &W, &D);
    const double threshold = threshold_of(W, D), size = norm_of(W);
    const double shares[] = {uniform(), 1 - 1e-3, 1 - 1e-6, 1 + 1e-6, 1.3};
    // From curvatures below all of D to above all of it; so that the price ends before |W|, at it, and beyond.
    const double bends[] = {0.1, 0.5, 0.9, 1 + 1e-9, 1.2, 4, 50};
    Price price{threshold * shares[round % 5], 0};
    price.curvature = price.tau / size * bends[round % 7];
    const double least = least_cost(W, D, price), scale = cost(Numbers(W.size(), 0.0), W, D, price);
    for (const double guess : {0.0, 0.3 * size, size, price.end(), 2 * price.end(), 1e-30, double(NAN), double(INFINITY)}) {
      const Found found = solved(W, D, price, guess, 1e-16);
      const double reached = cost(found.U, W, D, price);
      CHECK(reached <= least + 1e-9 * scale, "round %d (share %g, bend %g, %zu members) from %g: %.12g for %.12g", round,
            shares[round % 5], bends[round % 7], W.size(), guess, reached, least);
      CHECK(std::fabs(norm_of(found.U) - found.norm) <= 1e-5 * size, "round %d from %g: |U| %g, norm %g", round, guess,
            norm_of(found.U), found.norm);
      CHECK(found.looks < lomt::kLooks, "round %d from %g: %d looks", round, guess, found.looks);
      ++kinds[found.norm == 0 ? 0 : found.U == W ? 1 : 2];
    }
  }
  CHECK(kinds[0] > 100 && kinds[1] > 100 && kinds[2] > 100, "dead %d, kept %d, shrunk %d", kinds[0], kinds[1], kinds[2]);
}

void strange() {
  const Numbers D{1, 2, 0.5};
  for (const double curvature : {0.0, 0.1, 3.0}) {
    const Price price{0.5, curvature};
    for (const double guess : {double(NAN), 0.0, 0.7, 100.0}) {
      for (const double bad : {double(NAN), double(INFINITY), -double(INFINITY)}) {
        const Found found = solved({1, bad, 2}, D, price, guess, 1e-16);
        CHECK(std::isnan(found.norm), "%g from %g, curvature %g: norm %g", bad, guess, curvature, found.norm);
        for (const double u : found.U) CHECK(std::isnan(u), "%g from %g, curvature %g: %g", bad, guess, curvature, u);
      }
      const Found zeros = solved({0, 0, 0}, D, price, guess, 1e-16);
      CHECK(zeros.norm == 0 && zeros.U == Numbers({0, 0, 0}), "zeros from %g: %g", guess, zeros.norm);
    }
  }
  for (const double guess : {double(NAN), 0.0, 3.0}) {
    const Found free = solved({3, 4, 0}, D, {0, 0}, guess, 1e-16);
    CHECK(std::fabs(free.norm - 5) < 1e-14 && free.U == Numbers({3, 4, 0}), "no price, from %g: %g", guess, free.norm);
  }
  const Price none = lomt::price_of(0.0, 1e-3, 2.0);
  CHECK(none.tau == 0 && none.curvature == 0, "no price has no curvature");
}

// --- Tiles: each number belongs to one thread, of its group; each thread's sum is added once.

struct Case {
  lomt::Form form;
  const char* name;
};

std::vector<Case> cases() {
  return {
      {{1, 0, 7, 45, 45, 9}, "7x5x3x3"},
      {{1, 0, 63, 5, 5, 1}, "7x5x3x3 channels_last"},
      {{3, 4 * 36, 4, 36, 36, 18}, "12x4x3x3, 3 conv groups, blocks of 2"},
      {{1, 0, 31, 17, 17, 1}, "31x17"},
      {{1, 0, 96, 130, 130, 2}, "96x130, blocks of 2"},
      {{1, 0, 8, 300 * 9, 300 * 9, 9}, "8x300x3x3"},
      {{1, 0, 1, 0, 12 * 25, 25}, "depthwise"},
      {{1, 0, 1, 0, 7 * 45, 45}, "7 output channels"},
      {{1, 0, 1, 0, 37 * 3, 3}, "short runs"},
      {{1, 0, 1, 0, 5 * 3000, 3000}, "long runs"},
      {{2, 5 * 100, 5, 100, 100, 100}, "rows of 100"},
      {{1, 0, 40, 600, 600, 300}, "rows of 300"},
      {{1, 0, 900, 8, 8, 4}, "900x8"},
      {{1, 0, 1, 0, 1, 1}, "one number"},
      {{1, 0, 2, 90, 90, 45}, "runs of 45"},
      {{1, 0, 3, 130, 130, 65}, "runs of 65"},
      {{4, 300, 1, 0, 200, 10}, "parts of one row that lie apart"},
  };
}

int64_t size_of(const lomt::Form& form) {
  return (form.outer - 1) * form.outer_stride + (form.rows - 1) * form.row_stride + form.length;
}

void tiles() {
  for (const auto& [form, name] : cases()) {
    for (const int64_t bytes : {2, 4, 8}) {
      const int many = lomt::groups_of_tile(form, bytes);
      const int most = lomt::visits_of(form, many);
      CHECK(many >= 1 && many <= lomt::kTileGroups, "%s: %d groups of a tile", name, many);
      std::vector<int> owner(size_of(form), -1), seen(size_of(form), 0);
      std::vector<int> covered(form.groups(), 0);
      for (int64_t part = 0, g = 0; part < form.outer; ++part) {
        for (int64_t j = 0; j < form.groups_of_part(); ++j, ++g) {
          for (int64_t r = 0; r < form.rows; ++r) {
            for (int64_t c = 0; c < form.run; ++c) {
              owner[part * form.outer_stride + r * form.row_stride + j * form.run + c] = static_cast<int>(g);
            }
          }
        }
      }
      for (int64_t block = 0; block < lomt::tiles_of(form, many); ++block) {
        std::vector<int> works(lomt::kThreads, 0), group(lomt::kThreads), listed(lomt::kThreads, 0);
        lomt::Layout all{};
        for (int thread = 0; thread < lomt::kThreads; ++thread) {
          const lomt::Tile tile = lomt::tile_of(form, many, block, thread, &all);
          CHECK(tile.group >= 0 && tile.group < all.groups, "%s: group %d of %d", name, tile.group, all.groups);
          group[thread] = tile.group;
          int visits = 0;
          int64_t at[4];
          for (lomt::Walk walk(tile); walk.left > 0;) {
            const int count = walk.next(at);
            for (int k = 0; k < 4; ++k) {
              CHECK(at[k] >= 0 && at[k] < size_of(form), "%s: place %lld", name, static_cast<long long>(at[k]));
            }
            for (int k = 0; k < count; ++k, ++visits) {
              ++seen[at[k]];
              works[thread] = 1;
              CHECK(owner[at[k]] == all.first + tile.group, "%s: thread %d", name, thread);
            }
          }
          CHECK(visits <= most, "%s: %d visits of %d", name, visits, most);
        }
        CHECK(all.team * all.groups <= lomt::kThreads && lomt::kWarp % all.team == 0, "%s: team %d", name, all.team);
        for (int g = 0; g < all.groups; ++g) {
          ++covered[all.first + g];
          for (int i = 0; i < all.list; ++i) {
            const int thread = all.listed(g, i);
            CHECK(thread >= 0 && thread < lomt::kThreads && (!works[thread] || group[thread] == g), "%s: listed", name);
            ++listed[thread];
          }
        }
        for (int thread = 0; thread < lomt::kThreads; ++thread) {
          CHECK(listed[thread] <= 1 && listed[thread] >= works[thread], "%s: thread %d is listed %d times", name, thread,
                listed[thread]);
        }
      }
      for (size_t i = 0; i < seen.size(); ++i) CHECK(seen[i] == (owner[i] >= 0), "%s: %zu seen %d times", name, i, seen[i]);
      for (const int times : covered) CHECK(times == 1, "%s: a group of %d tiles", name, times);
    }
  }
}

// --- A block, as cuda.cu has it, but one thread after the other.

template <class One>
void play(const lomt::Entry& entry, int64_t block, bool unscale, bool nesterov, int kept) {
  using C = typename One::C;
  constexpr int T = lomt::kThreads;
  std::vector<double> memory(static_cast<size_t>(kept) * T * lomt::Chip<One>::kBytes / 8 + 2);
  const One one(entry, unscale, nesterov);
  const lomt::Norms<C> norms(entry.tensor);
  const bool* computed = entry.tensor.computed;
  std::vector<lomt::Tile> tile;
  lomt::Layout all{};
  std::vector<Sums> sums(T);
  std::vector<Exact> groups(lomt::kTileGroups);
  for (int t = 0; t < T; ++t) {
    tile.push_back(lomt::tile_of(entry.tensor.form, static_cast<int>(entry.groups_of_tile), block, t, &all));
  }
  const int count = all.groups;
  const int64_t first = all.first;
  const auto there = [&](int g) { return computed == nullptr || computed[first + g]; };
  const auto each = [&](auto f) {
    for (int t = 0; t < T; ++t) {
      const lomt::Chip<One> chip(memory.data(), kept, t);
      f(t, lomt::Share<One>{one, tile[t], chip, entry.price});
    }
  };
  for (int g = 0; g < count; ++g) groups[g] = Exact::from(norms.guess(first + g), entry.price);
  each([&](int t, const auto& share) {
    if (there(tile[t].group)) {
      sums[t] = share.first(groups[tile[t].group].group);
    } else if (unscale) {
      share.unscale();
    }
  });
  bool open = true;
  for (int looks = 0; open && looks < lomt::kLooks; ++looks) {
    open = false;
    for (int g = 0; g < count; ++g) {
      if (!there(g) || !groups[g].open()) continue;
      double each_sum[lomt::kSums] = {};
      for (int i = 0; i < all.list; ++i) {
        double one_of[lomt::kSums];
        std::memcpy(one_of, &sums[all.listed(g, i)], sizeof one_of);
        for (int k = 0; k < lomt::kSums; ++k) each_sum[k] += one_of[k];
      }
      Sums total;
      std::memcpy(&total, each_sum, sizeof total);
      groups[g].look(total, entry.price, lomt::Precision<C>::accept);
      open |= groups[g].open();
    }
    each([&](int t, const auto& share) {
      const Exact& mine = groups[tile[t].group];
      sums[t] = there(tile[t].group) && mine.open() ? share.again(mine.group) : Sums{};
    });
  }
  std::vector<double> alive(count, 0.0);
  each([&](int t, const auto& share) {
    if (there(tile[t].group)) alive[tile[t].group] += share.write(groups[tile[t].group].group);
  });
  for (int g = 0; g < count; ++g) {
    if (there(g)) norms.done(first + g, groups[g].group.norm, alive[g]);
  }
}

template <class T>
struct Tensors {
  std::vector<T> w, g, m, v, most;
  std::vector<typename lomt::Wide<T>::type> state;
  float step = 2;
};

template <class T>
Numbers doubles(const std::vector<T>& x) {
  Numbers found(x.size());
  for (size_t i = 0; i < x.size(); ++i) found[i] = lomt::load(&x[i]);
  return found;
}

// A step played on the host against one made by the definitions in float64.
template <class T>
void step(const Case& test, bool sgd, double gamma, bool amsgrad, bool masked, int kept, double scale) {
  using C = typename lomt::Wide<T>::type;
  const lomt::Form& form = test.form;
  const int64_t size = size_of(form), groups = form.groups();
  const double eps = sizeof(T) == 8 ? 1e-13 : sizeof(T) == 4 ? 2e-6 : 1e-2;
  Tensors<T> x;
  const auto fill = [&](std::vector<T>& to, auto f) {
    to.resize(size);
    for (T& number : to) lomt::store(&number, static_cast<double>(f()));
  };
  fill(x.w, normal), fill(x.g, normal);
  fill(x.m, [] { return 0.1 * normal(); });
  fill(x.v, [] { return 0.01 + 0.1 * uniform(); });
  fill(x.most, [] { return 0.01 + 0.1 * uniform(); });
  x.state.assign(2 * groups, static_cast<C>(NAN));
  std::vector<char> mask(groups, 1);
  if (masked) {
    for (int64_t i = 0; i < groups; ++i) mask[i] = i % 3 != 1;
  }
  const lomt::StepNumbers n{0.05, 0.9, 0.99, 1e-3, 0.1, 0.9, 0.2, gamma, masked, amsgrad};
  const float grad_scale = static_cast<float>(scale);
  lomt::StepFacts facts{n, nullptr, scale == 1 ? nullptr : &grad_scale, nullptr, sgd, false, sizeof(T) == 8};
  lomt::Planned planned{};
  planned.tensor = {x.w.data(), x.g.data(), x.m.data(), sgd ? nullptr : x.v.data(), amsgrad && !sgd ? x.most.data() : nullptr,
                    &x.step, x.state.data(), masked ? reinterpret_cast<bool*>(mask.data()) : nullptr, form, 0};
  planned.groups_of_tile = lomt::groups_of_tile(form, sizeof(T));
  // W, D by the definitions; and a price that some of the groups survive.
  const Numbers w = doubles(x.w), g = doubles(x.g), m = doubles(x.m), v = doubles(x.v), most = doubles(x.most);
  const double steps = 3, sign = n.maximize ? -1 : 1;
  Numbers W(size), D(size, 1.0);
  for (int64_t i = 0; i < size; ++i) {
    const double gradient = sign * g[i] / scale;
    if (sgd) {
      const double along = gradient + n.weight_decay * w[i], b = n.momentum * m[i] + (1 - n.dampening) * along;
      W[i] = w[i] - n.lr * (n.nesterov ? along + n.momentum * b : b);
      continue;
    }
    const double m_new = n.beta1 * m[i] + (1 - n.beta1) * gradient;
    double v_new = n.beta2 * v[i] + (1 - n.beta2) * gradient * gradient;
    if (amsgrad) v_new = std::max(v_new, most[i]);
    D[i] = std::sqrt(v_new / (1 - std::pow(n.beta2, steps))) + n.eps;
    W[i] = w[i] * (1 - n.lr * n.weight_decay) - n.lr * m_new / (1 - std::pow(n.beta1, steps)) / D[i];
  }
  std::vector<std::vector<int64_t>> places(groups);
  for (int64_t part = 0, k = 0; part < form.outer; ++part) {
    for (int64_t j = 0; j < form.groups_of_part(); ++j, ++k) {
      for (int64_t r = 0; r < form.rows; ++r) {
        for (int64_t c = 0; c < form.run; ++c) {
          places[k].push_back(part * form.outer_stride + r * form.row_stride + j * form.run + c);
        }
      }
    }
  }
  Numbers thresholds;
  std::vector<std::pair<Numbers, Numbers>> members(groups);
  for (int64_t k = 0; k < groups; ++k) {
    for (const int64_t i : places[k]) members[k].first.push_back(W[i]), members[k].second.push_back(D[i]);
    thresholds.push_back(threshold_of(members[k].first, members[k].second));
  }
  std::vector<double> sorted = thresholds;
  std::sort(sorted.begin(), sorted.end());
  planned.price = (0.9 * sorted[groups / 2]) / n.lr;
  lomt::Entry entry;
  lomt::write_entry(facts, planned, &entry);
  CHECK(x.step == (sgd ? 2 : 3), "%s: step %g", test.name, x.step);
  for (int64_t block = 0; block < lomt::tiles_of(form, static_cast<int>(entry.groups_of_tile)); ++block) {
    sgd ? play<lomt::OneSGD<T>>(entry, block, scale != 1, n.nesterov, kept)
        : play<lomt::OneAdamW<T>>(entry, block, scale != 1, n.nesterov, kept);
  }
  const Numbers u = doubles(x.w), grads = doubles(x.g);
  for (int64_t k = 0; k < groups; ++k) {
    const Price price = lomt::price_of(planned.price, n.lr, gamma);
    const Found expected = solved(members[k].first, members[k].second, price, NAN, 1e-16);
    double norm = 0;
    for (size_t j = 0; j < places[k].size(); ++j) {
      const int64_t i = places[k][j];
      const double should = mask[k] ? expected.U[j] : w[i];
      CHECK(std::fabs(u[i] - should) <= eps * (1 + 4 * std::fabs(should)), "%s: %.9g for %.9g (W %g, D %g)", test.name,
            u[i], should, W[i], D[i]);
      CHECK(std::fabs(grads[i] - g[i] / scale) <= eps * std::fabs(g[i]) + 1e-7, "%s: gradient %g of %g", test.name, grads[i], g[i]);
      norm += u[i] * u[i];
    }
    norm = std::sqrt(norm);
    const double noted = x.state[k], change = x.state[groups + k];
    if (mask[k]) {
      CHECK(std::fabs(noted - norm) <= eps * (1 + norm) && (noted == 0) == (norm == 0), "%s: norm %g, noted %g", test.name,
            norm, noted);
      CHECK(change == 0, "%s: changed by %g", test.name, change);
    } else {
      CHECK(std::isnan(noted) && std::isnan(change), "%s: noted %g", test.name, noted);
    }
  }
  // Once more, from what is known now: what stays on chip makes no difference, and the norms' changes are noted.
  if (masked) return;
  const std::vector<C> before = x.state;
  Tensors<T> y = x;
  const auto again = [&](Tensors<T>& z, int on_chip) {
    planned.tensor.weight = z.w.data(), planned.tensor.grad = z.g.data(), planned.tensor.first = z.m.data();
    planned.tensor.second = z.v.data(), planned.tensor.state = z.state.data(), planned.tensor.step = &z.step;
    planned.tensor.greatest = amsgrad && !sgd ? z.most.data() : nullptr;
    lomt::write_entry(facts, planned, &entry);
    for (int64_t block = 0; block < lomt::tiles_of(form, static_cast<int>(entry.groups_of_tile)); ++block) {
      sgd ? play<lomt::OneSGD<T>>(entry, block, scale != 1, n.nesterov, on_chip)
          : play<lomt::OneAdamW<T>>(entry, block, scale != 1, n.nesterov, on_chip);
    }
  };
  again(x, 1000), again(y, 1);
  CHECK(doubles(x.w) == doubles(y.w) && doubles(x.v) == doubles(y.v), "%s: what is on chip matters", test.name);
  for (int64_t k = 0; k < groups; ++k) {
    const double now = x.state[k], was = before[k], change = x.state[groups + k];
    CHECK(std::fabs(change - (now - was)) <= 1e-6 * (now + was), "%s: from %g to %g, changed by %g", test.name, was, now,
          change);
  }
}

template <class T>
void steps() {
  for (const Case& test : cases()) {
    for (const bool sgd : {false, true}) {
      for (const double gamma : {double(INFINITY), 3.0}) {
        for (const int kept : {0, 3, 1000}) {
          step<T>(test, sgd, gamma, false, false, kept, 1);
          step<T>(test, sgd, gamma, true, kept == 3, kept, 8);
        }
      }
    }
  }
}

}  // namespace

int main() {
  straight();
  concave();
  strange();
  tiles();
  steps<float>();
  steps<double>();
  steps<lomt::BFloat16>();
  steps<lomt::Float16>();
  std::printf(failures ? "%d failures\n" : "all well\n", failures);
  return failures != 0;
}
