// The channel-masked convolution on processors. Compiled once an instruction set (LOMT_ISA).
//
// Outputs are made a tile of pixels at a time. The live channels of the input rows that a tile reads are gathered into
// the second cache, so that the map is read once and no narrow copy of it is written; each pixel of a tap's window is
// an address there, so that strides, dilations and borders cost nothing. Live weights are packed once a call, scaled,
// in panels of two vectors of outputs. What a tile yields is put at its places in the output, dead channels in between.
#include "call.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include "channels.h"

namespace lomt::LOMT_ISA {
namespace {

// Pixels whose sums are held in registers, with two vectors of outputs each.
#if defined(__AVX512F__)
constexpr int kRows = 12;
#else
constexpr int kRows = 6;
#endif
// Pixels of a tile, about: so often is each packed weight used that was fetched. More, where all weights of a call do not
// stay in the second cache.
constexpr int64_t kTile = 192;
constexpr int64_t kLargeTile = 768;
constexpr int64_t kCacheBytes = 1024 * 1024;
// Live channels that are gathered at a time, at most: a panel of their weights stays in the first cache.
constexpr int64_t kDepth = 16 * 1024 / (2 * kVectorBytes);
// Weights of a panel that are used at a time.
constexpr int64_t kPanelBytes = 24 * 1024;
// Gathered rows of a tile stay in the second cache.
constexpr int64_t kGatheredBytes = 384 * 1024;
// Numbers that a vector's store may write too many, or its load read.
constexpr int64_t kSlack = 64;

template <class C>
constexpr int kPanel = 2 * kLanes<C>;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class C>
struct Buffer {
  C* grow(int64_t size) {
    if (size > capacity) {
      numbers.reset(new (std::align_val_t{64}) C[size]);
      capacity = size;
    }
    return numbers.get();
  }
  struct Free {
    void operator()(C* p) const { operator delete[](p, std::align_val_t{64}); }
  };
  std::unique_ptr<C[], Free> numbers;
  int64_t capacity = 0;
};

struct Tap {
  int64_t down, right;   // from an output's place in the input
  int64_t row, column;   // in the kernel
};

// Outputs (i, j) of a grid, at origin + spread * (i, j) in their map, from the input's places step * (i, j) + tap. A
// convolution is one sweep; the gradient of its input is one for each remainder of places by the stride.
struct Sweep {
  int64_t grid[2], origin[2], spread[2], step[2];
  std::vector<Tap> taps;
};

// A run of live channels that are gathered together.
struct Part {
  const Octet* begin;
  const Octet* end;
  int64_t first, count;  // among the live ones
};

std::vector<Part> parts_of(const std::vector<Octet>& octets, int64_t most) {
  std::vector<Part> parts;
  int64_t first = 0;
  for (size_t i = 0; i < octets.size();) {
    Part part{&octets[i], &octets[i], first, 0};
    while (i < octets.size() && (part.count == 0 || part.count + octets[i].count <= most)) part.count += octets[i++].count;
    part.end = octets.data() + i;
    first += part.count;
    parts.push_back(part);
  }
  return parts;
}

// --- Arithmetic.

// For each of a group's pixels, and for each step: the gathered channels that it reads, and where their weights begin.
template <class C>
struct Step {
  const C* pixels[kRows];
  int64_t weights, depth;
};

// out[i] = start + Σ over steps, k of pixels[i][k] * weights[k], for kRows pixels and `Vectors` vectors of outputs; it
// starts from out[i] where there is no `start`.
template <class C, int Vectors>
void multiply(const Step<C>* steps, int64_t count, const C* panel, const C* start, C* out, int64_t ld) {
  constexpr int L = kLanes<C>;
  Vector<C> sums[kRows][Vectors];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v)
      sums[i][v] = load_vector<C>((start == nullptr ? out + i * ld : start) + v * L, AllLanes<C>{});
  for (int64_t s = 0; s < count; ++s) {
    const Step<C>& step = steps[s];
    const C* weights = panel + step.weights;
    const C* pixels[kRows];
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) pixels[i] = step.pixels[i];
    const int64_t depth = step.depth;
    for (int64_t k = 0; k < depth; ++k) {
      Vector<C> w[Vectors];
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) w[v] = load_vector<C>(weights + k * kPanel<C> + v * L, AllLanes<C>{});
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        const Vector<C> x = all_of<C>(pixels[i][k]);
#pragma GCC unroll 2
        for (int v = 0; v < Vectors; ++v) sums[i][v] += x * w[v];
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) store_vector<C>(out + i * ld + v * L, sums[i][v], AllLanes<C>{});
}

// A pixel's place among a tile's packed gradients, and among its gathered inputs.
struct Meeting {
  int32_t grad, input;
};

// out[i] (+)= Σ over pixels of grads[i] * inputs, for kRows outputs and `Vectors` vectors of inputs.
template <class C, int Vectors>
void outer(const Meeting* pixels, int64_t count, const C* grads, const C* inputs, bool add, C* out, int64_t ld) {
  constexpr int L = kLanes<C>;
  Vector<C> sums[kRows][Vectors] = {};
  for (int64_t p = 0; p < count; ++p) {
    const C* g = grads + pixels[p].grad;
    const C* x = inputs + pixels[p].input;
    Vector<C> vectors[Vectors];
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) vectors[v] = load_vector<C>(x + v * L, AllLanes<C>{});
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const Vector<C> grad = all_of<C>(g[i]);
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) sums[i][v] += grad * vectors[v];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) {
      C* to = out + i * ld + v * L;
      store_vector<C>(to, add ? load_vector<C>(to, AllLanes<C>{}) + sums[i][v] : sums[i][v], AllLanes<C>{});
    }
}

// --- Weights.

// Packs live weights as [panel of lanes][tap][depth][lane], scaled; a panel's missing lanes are 0. Lanes are outputs and
// depths are inputs, or for the gradient of the input the other way round.
template <class T, class C>
struct Packing {
  const ConvCall& call;
  const Reader& reader;
  const std::vector<Tap>& taps;
  const bool outputs;  // are the lanes
  C* out;
  const Channels& lanes = outputs ? reader.out : reader.in;
  const Channels& depths = outputs ? reader.in : reader.out;
  const int64_t* stride = reader.weight.stride;
  const T* weight = static_cast<const T*>(reader.weight.data);
  const C* scale = static_cast<const C*>(reader.scale);
  const int64_t count = static_cast<int64_t>(taps.size());
  const int64_t of_tap = depths.count * kPanel<C>, of_panel = count * of_tap;
  std::vector<int64_t> places = {};  // of each tap in the kernel
  // Of adjacent numbers of a lane: where they go, or -1; and whose scale they have.
  std::vector<int64_t> rows = {};
  std::vector<int32_t> inputs = {};

  void run() {
    for (const Tap& tap : taps) places.push_back(tap.row * stride[2] + tap.column * stride[3]);
    if (lanes.count == 0 || of_panel == 0) return;
#if defined(__AVX2__)
    const bool by_rows = std::is_same_v<T, float> && lay_rows();
#endif
    auto body = [&](int64_t begin, int64_t end) {
      for (int64_t panel = begin; panel < end; ++panel) {
        C* to = out + panel * of_panel;
        const int64_t there = std::min<int64_t>(kPanel<C>, lanes.count - panel * kPanel<C>);
        if (there < kPanel<C>) std::memset(static_cast<void*>(to), 0, of_panel * sizeof(C));
        const int32_t* live = lanes.live + panel * kPanel<C>;
        int64_t done = 0;
#if defined(__AVX2__)
        if constexpr (std::is_same_v<T, float>)
          for (; by_rows && done + 8 <= there; done += 8)
            for (int64_t d = 0; d < (outputs ? 1 : depths.count); ++d) eight(live + done, d, to + done);
#endif
        for (int64_t d = 0; d < depths.count; ++d)
          for (int64_t l = done; l < there; ++l) {
            const int64_t output = outputs ? live[l] : depths.live[d], input = outputs ? depths.live[d] : live[l];
            const T* from = weight + output * stride[0] + input * stride[1];
            const C factor = scale == nullptr ? C{1} : scale[input];
            for (int64_t t = 0; t < count; ++t) to[t * of_tap + d * kPanel<C> + l] = read(from + places[t]) * factor;
          }
      }
    };
    parallel(call.pool, ceil_div(lanes.count, kPanel<C>), std::max<int64_t>(1, (1 << 15) / of_panel), body);
  }

  // Whether a lane has runs of adjacent numbers that are worth it: all weights of an output, or the kernel of an input.
  bool lay_rows() {
    const int64_t kernel = call.kernel[0] * call.kernel[1];
    const bool kernel_last = stride[3] == 1 && stride[2] == call.kernel[1];
    const bool channels_last = stride[1] == 1 && stride[3] == reader.in.all && stride[2] == stride[3] * call.kernel[1];
    const int64_t numbers = outputs ? kernel * reader.in.all : kernel;
    if (numbers < 8 || !(kernel_last || (outputs && channels_last))) return false;
    if (outputs && kernel_last && stride[1] != kernel) return false;
    rows.assign(numbers, -1);
    inputs.assign(numbers, 0);
    for (int64_t t = 0; t < count; ++t)
      for (int64_t d = 0; d < (outputs ? depths.count : 1); ++d) {
        const int64_t at = places[t] + (outputs ? depths.live[d] * stride[1] : 0);
        rows[at] = t * of_tap + d * kPanel<C>;
        inputs[at] = outputs ? depths.live[d] : 0;
      }
    return true;
  }

#if defined(__AVX2__)
  // Eight lanes' rows; of one depth, where lanes are inputs.
  void eight(const int32_t* live, int64_t depth, C* to) const {
    const T* from[8];
    __m256 factor = _mm256_set1_ps(1);
    for (int k = 0; k < 8; ++k)
      from[k] = weight + live[k] * stride[outputs ? 0 : 1] + (outputs ? 0 : depths.live[depth] * stride[0]);
    if (!outputs && scale != nullptr) {
      float factors[8];
      for (int k = 0; k < 8; ++k) factors[k] = scale[live[k]];
      factor = _mm256_loadu_ps(factors);
    }
    const int64_t numbers = static_cast<int64_t>(rows.size());
    for (int64_t f = 0; f < numbers; f += 8) {
      const int64_t first = std::min(f, numbers - 8);
      __m256 r[8];
      for (int k = 0; k < 8; ++k) r[k] = _mm256_loadu_ps(from[k] + first);
      transpose(r);
      for (int64_t j = f; j < std::min(f + 8, numbers); ++j) {
        if (rows[j] < 0) continue;
        if (outputs && scale != nullptr) factor = _mm256_set1_ps(scale[inputs[j]]);
        _mm256_storeu_ps(to + rows[j] + depth * kPanel<C>, _mm256_mul_ps(r[j - first], factor));
      }
    }
  }
#endif
};

// --- Tiles.

// Rows and columns of the grid, of some images.
struct Tile {
  int64_t image, images, row, rows, column, columns;
};

// Equal shares of a range, about `size` each.
std::vector<std::pair<int64_t, int64_t>> shares(int64_t range, int64_t size) {
  std::vector<std::pair<int64_t, int64_t>> found;
  const int64_t count = ceil_div(range, std::max<int64_t>(1, size));
  for (int64_t i = 0; i < count; ++i) found.emplace_back(range * i / count, range * (i + 1) / count - range * i / count);
  return found;
}

// The same place of all images one after the other: their windows lie alike.
std::vector<Tile> tiles_of(int64_t batch, const int64_t grid[2], int64_t pixels) {
  std::vector<Tile> tiles;
  const int64_t of_image = grid[0] * grid[1];
  if (of_image == 0) return tiles;
  if (of_image <= pixels) {
    for (const auto& [image, images] : shares(batch, pixels / of_image)) tiles.push_back({image, images, 0, grid[0], 0, grid[1]});
    return tiles;
  }
  for (const auto& [column, columns] : shares(grid[1], 2 * pixels))
    for (const auto& [row, rows] : shares(grid[0], (pixels + columns / 2) / columns))
      for (int64_t n = 0; n < batch; ++n) tiles.push_back({n, 1, row, rows, column, columns});
  return tiles;
}

// Gathers some live channels of some rows of a map, `columns` pixels from `column` on: out[row][pixel][channel].
template <class T, class C>
void gather(const Strided& map, const std::vector<std::pair<int32_t, int32_t>>& rows, int64_t column, int64_t stride,
            int64_t columns, const Part& part, const Channels& channels, C* out) {
  const T* data = static_cast<const T*>(map.data);
  const bool whole = channels.all >= 8;
  const int64_t step = stride * map.stride[3];
  std::vector<const T*> planes(map.stride[1] == 1 ? 0 : part.count);
  for (const auto& [image, y] : rows) {
    const T* row = data + image * map.stride[0] + y * map.stride[2] + column * map.stride[3];
    if (map.stride[1] == 1) {
      for (int64_t x = 0; x < columns; ++x) compress(row + x * step, part.begin, part.end, whole, out + x * part.count);
    } else {
      for (int64_t k = 0; k < part.count; ++k) planes[k] = row + channels.live[part.first + k] * map.stride[1];
      to_pixels(planes.data(), part.count, columns, step, out, part.count);
    }
    out += columns * part.count;
  }
}

// Where a tile's windows lie: which input rows and columns are gathered, and for each tap and pixel, which gathered one it
// reads.
struct Windows {
  std::vector<int32_t> slots;                     // of each image and input row: its number among the gathered ones, or -1
  std::vector<std::pair<int32_t, int32_t>> rows;  // image and input row of each
  int64_t column, stride, columns;                // the gathered ones
  std::vector<int32_t> places;                    // (tap, pixel), or -1
  std::vector<int32_t> order;                     // where each pixel is computed, and stands in `places`
  int64_t pixels;
  static constexpr std::array<int64_t, 5> kNever{-1, -1, -1, -1, -1};
  std::array<int64_t, 5> laid = kNever;  // images, rows and columns of the tile before; if some lay outside, its first row

  // Returns whether the tile's windows lie as those of the tile before.
  bool lay(const Tile& tile, const Sweep& sweep, int64_t height, int64_t width) {
    slots.assign(tile.images * height, -1);
    rows.clear();
    bool within = true;
    for (int64_t n = 0; n < tile.images; ++n)
      for (int64_t i = tile.row; i < tile.row + tile.rows; ++i)
        for (const Tap& tap : sweep.taps) {
          const int64_t y = i * sweep.step[0] + tap.down;
          within &= y >= 0 && y < height;
          if (y < 0 || y >= height || slots[n * height + y] >= 0) continue;
          slots[n * height + y] = static_cast<int32_t>(rows.size());
          rows.emplace_back(static_cast<int32_t>(tile.image + n), static_cast<int32_t>(y));
        }
    const std::array<int64_t, 5> now{tile.images, tile.rows, within ? -1 : tile.row, tile.column, tile.columns};
    if (now == laid) return true;
    laid = now;
    lay_columns(tile, sweep, width);
    const int64_t step = sweep.step[1], grid = tile.columns;
    pixels = tile.images * tile.rows * grid;
    places.resize(pixels * sweep.taps.size());
    int32_t* place = places.data();
    for (const Tap& tap : sweep.taps) {
      // Columns of the tile that the tap finds inside, and what the first one's is among the gathered ones.
      const int64_t left = tile.column * step + tap.right;
      const int64_t begin = std::clamp<int64_t>(left < 0 ? ceil_div(-left, step) : 0, 0, grid);
      const int64_t end = std::clamp<int64_t>(left < width ? ceil_div(width - left, step) : 0, begin, grid);
      const int64_t first = begin < end ? (left + begin * step - column) / stride : 0, advance = step / stride;
      for (int64_t n = 0; n < tile.images; ++n)
        for (int64_t i = tile.row; i < tile.row + tile.rows; ++i, place += grid) {
          const int64_t y = i * sweep.step[0] + tap.down;
          const bool there = y >= 0 && y < height;
          const int64_t from = there ? slots[n * height + y] * columns + first : 0, last = there ? end : begin;
          for (int64_t j = 0; j < begin; ++j) place[j] = -1;
          for (int64_t j = begin; j < last; ++j) place[j] = static_cast<int32_t>(from + (j - begin) * advance);
          for (int64_t j = last; j < grid; ++j) place[j] = -1;
        }
    }
    return false;
  }

  // From the first that a tap meets to the last; if the kernel is one column, no others than it meets.
  void lay_columns(const Tile& tile, const Sweep& sweep, int64_t width) {
    column = 0, stride = 1, columns = 0;
    if (sweep.taps.empty()) return;
    const auto by_column = [](const Tap& a, const Tap& b) { return a.right < b.right; };
    const auto [left, right] = std::minmax_element(sweep.taps.begin(), sweep.taps.end(), by_column);
    const int64_t first = tile.column * sweep.step[1] + left->right;
    const int64_t last = (tile.column + tile.columns - 1) * sweep.step[1] + right->right;
    if (left->right == right->right) stride = sweep.step[1];
    column = first >= 0 ? first : first + ceil_div(-first, stride) * stride;
    columns = std::max<int64_t>(0, ceil_div(std::min(last + 1, width) - column, stride));
  }

  // Pixels at whose window's border the same taps fall outside stand together, so that those taps are skipped.
  void sort() {
    const int64_t taps = pixels == 0 ? 0 : static_cast<int64_t>(places.size()) / pixels;
    sorted = false;
    order.resize(pixels);
    for (int64_t p = 0; p < pixels; ++p) order[p] = static_cast<int32_t>(p);
    int32_t signs = 0;
    for (const int32_t place : places) signs |= place;
    if (signs >= 0) return;
    keys.resize(pixels);
    for (int64_t p = 0; p < pixels; ++p) keys[p] = {0, static_cast<int32_t>(p)};
    for (int64_t t = 0; t < std::min<int64_t>(taps, 64); ++t)
      for (int64_t p = 0; p < pixels; ++p) keys[p].first |= static_cast<uint64_t>(places[t * pixels + p] < 0) << t;
    for (int64_t p = 1; p < pixels; ++p) sorted |= keys[p].first != keys[0].first;
    if (!sorted) return;
    std::sort(keys.begin(), keys.end());
    for (int64_t q = 0; q < pixels; ++q) order[keys[q].second] = static_cast<int32_t>(q);
    before.resize(pixels);
    for (int64_t t = 0; t < taps; ++t) {
      int32_t* row = places.data() + t * pixels;
      std::copy(row, row + pixels, before.data());
      for (int64_t q = 0; q < pixels; ++q) row[q] = before[keys[q].second];
    }
  }

  bool sorted = false;
  std::vector<std::pair<uint64_t, int32_t>> keys;  // which taps fall outside, and the pixel
  std::vector<int32_t> before;
};

// Gathers some live channels of a tile's windows: out[row][column][channel].
template <class T, class C>
void gather(const Strided& map, const Windows& windows, const Part& part, const Channels& channels, C* out) {
  gather<T>(map, windows.rows, windows.column, windows.stride, windows.columns, part, channels, out);
}

// A convolution of a reader, as a sweep sees it: from which channels to which.
template <class C>
struct Flow {
  const Strided* input;
  const Channels* from;
  const Channels* to;
  std::vector<Octet> octets;  // of `from`
  std::vector<Part> parts;
  Buffer<C> packed;
};

// What a thread works with.
template <class C>
struct Scratch {
  Windows windows;
  Buffer<C> gathered, yielded, summed;
  std::vector<Step<C>> steps;
  std::vector<int32_t> ends;  // of each group's steps, by groups of taps
};

// Taps whose weights of a panel stay in the first cache; whole rows of the kernel, if they do.
template <class C>
int64_t taps_at_once(const Sweep& sweep, int64_t depth) {
  const int64_t taps = static_cast<int64_t>(sweep.taps.size());
  const int64_t most = std::max<int64_t>(1, kPanelBytes / (depth * kPanel<C> * static_cast<int64_t>(sizeof(C))));
  int64_t row = 1;
  while (row < taps && sweep.taps[row].down == sweep.taps[0].down) ++row;
  const int64_t even = ceil_div(taps, ceil_div(taps, most)), rows = ceil_div(even, row) * row;
  return rows <= most ? rows : even;
}

// A step that goes on where the one before ended is one with it: taps side by side, with all live channels of a pixel.
// Returns where the next step is.
template <class C>
Step<C>* merged(Step<C>* step, const Step<C>* first) {
  if (step == first) return step + 1;
  Step<C>& before = step[-1];
  bool on = step->weights == before.weights + before.depth * kPanel<C>;
  for (int i = 0; i < kRows; ++i) on &= step->pixels[i] == before.pixels[i] + before.depth;
  if (!on) return step + 1;
  before.depth += step->depth;
  return step;
}

// A tile of one flow: rows of live outputs, `ld` numbers a pixel, in `direct` if it can be there, else in scratch.yielded.
// Steps are those of the tile before where windows lie the `same`.
template <class T, class C>
C* compute(const Flow<C>& flow, const Sweep& sweep, const C* added, Scratch<C>& scratch, int64_t ld, C* direct,
           bool same) {
  const Windows& windows = scratch.windows;
  const int64_t taps = static_cast<int64_t>(sweep.taps.size()), pixels = windows.pixels;
  const int64_t groups = ceil_div(pixels, kRows), panels = ceil_div(flow.to->count, kPanel<C>);
  const bool once = taps == 0 || flow.parts.empty() ||
                    (flow.parts.size() == 1 && taps_at_once<C>(sweep, flow.parts[0].count) >= taps);
  // Where pixels are no multiple of a group's, the last group has some of the one before again.
  if (pixels % kRows != 0 && (!once || pixels < kRows)) direct = nullptr;
  if (direct != nullptr) ld = flow.to->count;
  C* yielded = direct != nullptr ? direct : scratch.yielded.grow(groups * kRows * ld + kSlack);
  if (taps == 0 || flow.from->count == 0 || windows.rows.empty()) {
    for (int64_t p = 0; p < pixels; ++p) std::copy(added, added + flow.to->count, yielded + p * ld);
    return yielded;
  }
  const auto first_of = [&](int64_t group) {
    return direct == nullptr ? group * kRows : std::min(group * kRows, pixels - kRows);
  };
  int64_t most = 0;
  for (const Part& part : flow.parts) most = std::max(most, part.count);
  C* zeros = scratch.gathered.grow(most + static_cast<int64_t>(windows.rows.size()) * windows.columns * most + kSlack);
  C* gathered = zeros + most;
  std::fill(zeros, gathered, C{});
  scratch.steps.resize(groups * taps);
  for (const Part& part : flow.parts) {
    const int64_t depth = part.count;
    gather<T>(*flow.input, windows, part, *flow.from, gathered);
    const int64_t chunk_taps = taps_at_once<C>(sweep, depth), chunks = ceil_div(taps, chunk_taps);
    scratch.ends.resize(groups * (chunks + 1));
    Step<C>* next = scratch.steps.data();
    for (int64_t g = 0; g < (same && flow.parts.size() == 1 ? 0 : groups); ++g) {
      int32_t* ends = scratch.ends.data() + g * (chunks + 1);
      *ends++ = static_cast<int32_t>(next - scratch.steps.data());
      for (int64_t t = 0; t < taps; ++t) {
        const int32_t* places = windows.places.data() + t * pixels;
        bool any = false;
        for (int i = 0; i < kRows; ++i) {
          const int64_t p = std::min(first_of(g) + i, pixels - 1);
          any |= places[p] >= 0;
          next->pixels[i] = places[p] >= 0 ? gathered + places[p] * depth : zeros;
        }
        next->weights = (t * flow.from->count + part.first) * kPanel<C>;
        next->depth = depth;
        if (any) next = merged(next, scratch.steps.data() + ends[-1]);
        if ((t + 1) % chunk_taps == 0 || t + 1 == taps) *ends++ = static_cast<int32_t>(next - scratch.steps.data());
      }
    }
    for (int64_t panel = 0; panel < panels; ++panel) {
      const C* weights = flow.packed.numbers.get() + panel * taps * flow.from->count * kPanel<C>;
      const bool half = flow.to->count - panel * kPanel<C> <= kLanes<C>;
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        const bool add = part.first > 0 || chunk > 0;
        for (int64_t g = 0; g < groups; ++g) {
          const int32_t* ends = scratch.ends.data() + g * (chunks + 1) + chunk;
          if (add && ends[0] == ends[1]) continue;
          C* out = yielded + first_of(g) * ld + panel * kPanel<C>;
          const Step<C>* steps = scratch.steps.data() + ends[0];
          const C* start = add ? nullptr : added + panel * kPanel<C>;
          if (half)
            multiply<C, 1>(steps, ends[1] - ends[0], weights, start, out, ld);
          else
            multiply<C, 2>(steps, ends[1] - ends[0], weights, start, out, ld);
        }
      }
    }
  }
  return yielded;
}

// How a tile's outputs are written: at their channels, `fill` in the others.
template <class T, class C>
struct Sink {
  const Strided* map;
  const Channels* channels;
  std::vector<Octet> octets;
  std::vector<T> fill;      // one a channel
  std::vector<C> added;     // one a live channel
  std::vector<int32_t> dead;

  Sink(const Strided& map, const Channels& channels, const void* bias, bool zero)
      : map(&map), channels(&channels), octets(octets_of(channels)), fill(channels.all), added(channels.count + kPanel<C>) {
    std::vector<bool> alive(channels.all);
    for (int64_t k = 0; k < channels.count; ++k) alive[channels.live[k]] = true;
    for (int64_t c = 0; c < channels.all; ++c) {
      if (!alive[c]) dead.push_back(static_cast<int32_t>(c));
      fill[c] = T{};
      if (bias != nullptr && !(zero && !alive[c])) fill[c] = static_cast<const T*>(bias)[c];
    }
    for (int64_t k = 0; k < channels.count; ++k) added[k] = read(&fill[channels.live[k]]);
  }

  void write(const Tile& tile, const Sweep& sweep, const C* rows, const int32_t* order, int64_t ld) const {
    const int64_t* stride = map->stride;
    std::vector<T*> planes(stride[1] == 1 ? 0 : channels->count);
    const int64_t width = tile.columns, step = sweep.spread[1] * stride[3];
    for (int64_t n = tile.image; n < tile.image + tile.images; ++n)
      for (int64_t i = tile.row; i < tile.row + tile.rows; ++i, order += width) {
        T* row = static_cast<T*>(map->data) + n * stride[0] + (sweep.origin[0] + i * sweep.spread[0]) * stride[2] +
                 (sweep.origin[1] + tile.column * sweep.spread[1]) * stride[3];
        if (stride[1] == 1) {
          for (int64_t j = 0; j < width; ++j) pixel(rows + order[j] * ld, row + j * step);
          continue;
        }
        for (int64_t k = 0; k < channels->count; ++k) planes[k] = row + channels->live[k] * stride[1];
        to_planes(rows, order, ld, channels->count, width, step, planes.data());
        for (const int32_t c : dead)
          for (int64_t j = 0; j < width; ++j) row[c * stride[1] + j * step] = fill[c];
      }
  }

  // Where a tile's rows may be computed in their place: whole panels, all alive, one pixel beside the other.
  C* direct(const Tile& tile, const Sweep& sweep) const {
    if constexpr (std::is_same_v<T, C>) {
      const int64_t* stride = map->stride;
      const int64_t of_row = sweep.grid[1] * channels->all;
      if (dead.empty() && channels->all % kPanel<C> == 0 && stride[1] == 1 && stride[3] == channels->all &&
          stride[2] == of_row && sweep.spread[0] == 1 && sweep.spread[1] == 1 &&
          (tile.images == 1 || stride[0] == sweep.grid[0] * of_row) && (tile.rows == 1 || tile.columns == sweep.grid[1]))
        return static_cast<C*>(map->data) + tile.image * stride[0] + tile.row * of_row + tile.column * channels->all;
    }
    return nullptr;
  }

  void pixel(const C* live, T* out) const {
    if (dead.empty()) {
      for_vectors<C>(channels->count, [&](int64_t k, auto lanes) {
        store_vector<C>(out + k, load_vector<C>(live + k, AllLanes<C>{}), lanes);
      });
      return;
    }
    std::memcpy(static_cast<void*>(out), fill.data(), fill.size() * sizeof(T));
    expand(live, octets.data(), octets.data() + octets.size(), channels->all >= 8, out);
  }
};

// One sweep of all flows. Without `sum`, each has its own sink; with it, all yield into the only one.
template <class T, class C>
void run(const ConvCall& call, const Sweep& sweep, std::vector<Flow<C>>& flows, const std::vector<Sink<T, C>>& sinks, bool sum,
         int64_t height, int64_t width) {
  int64_t weights = 0;
  for (const Flow<C>& flow : flows) weights += flow.to->count * flow.from->count * static_cast<int64_t>(sweep.taps.size());
  int64_t tile = weights * static_cast<int64_t>(sizeof(C)) > kCacheBytes ? kLargeTile : kTile;
  std::vector<Tile> tiles = tiles_of(call.batch, sweep.grid, tile);
  // Few tiles: smaller ones, so that every thread has some.
  while (call.threads > 1 && static_cast<int64_t>(tiles.size()) < 2 * call.threads && tile > 4 * kRows)
    tiles = tiles_of(call.batch, sweep.grid, tile /= 2);
  const std::vector<C> nothing(sinks[0].channels->all + kPanel<C>);
  auto body = [&](int64_t begin, int64_t end) {
    static thread_local Scratch<C> scratch;
    scratch.windows.laid = Windows::kNever;
    for (int64_t number = begin; number < end; ++number) {
      const bool same = scratch.windows.lay(tiles[number], sweep, height, width);
      if (!same) scratch.windows.sort();
      C* summed = nullptr;
      const int64_t all = sinks[0].channels->all, pixels = scratch.windows.pixels;
      if (sum) {
        summed = scratch.summed.grow(pixels * all + kSlack);
        std::fill(summed, summed + pixels * all, C{});
      }
      for (size_t f = 0; f < flows.size(); ++f) {
        const Channels& to = *flows[f].to;
        // One more vector, so that pixels' rows do not lie a power of two apart.
        const int64_t ld = (ceil_div(to.count, kPanel<C>) + 1) * kPanel<C>;
        C* direct = sum || scratch.windows.sorted ? nullptr : sinks[f].direct(tiles[number], sweep);
        const C* rows = compute<T>(flows[f], sweep, sum ? nothing.data() : sinks[f].added.data(), scratch, ld, direct, same && flows.size() == 1);
        if (rows == direct) continue;
        if (!sum) {
          sinks[f].write(tiles[number], sweep, rows, scratch.windows.order.data(), ld);
          continue;
        }
        for (int64_t p = 0; p < pixels; ++p)
          for (int64_t k = 0; k < to.count; ++k) summed[p * all + to.live[k]] += rows[p * ld + k];
      }
      if (sum) sinks[0].write(tiles[number], sweep, summed, scratch.windows.order.data(), all);
    }
  };
  parallel(call.pool, static_cast<int64_t>(tiles.size()), 1, body);
}

int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

// How many live channels are gathered at a time for a sweep: as many as its tiles leave room for.
int64_t depth_for(const Sweep& sweep, int64_t width, int64_t size) {
  const int64_t columns = std::clamp<int64_t>(sweep.grid[1], 1, 2 * kTile), rows = std::max<int64_t>(1, kTile / columns);
  const int64_t span = rows * sweep.step[0] + std::min<int64_t>(static_cast<int64_t>(sweep.taps.size()), 3 * rows);
  const int64_t line = std::min(width, columns * sweep.step[1]);
  return std::clamp<int64_t>(kGatheredBytes / std::max<int64_t>(1, span * line * size), 32, kDepth);
}

// The convolution itself.
Sweep sweep_of(const ConvCall& call) {
  Sweep sweep{{call.height[1], call.width[1]}, {0, 0}, {1, 1}, {call.stride[0], call.stride[1]}, {}};
  for (int64_t r = 0; r < call.kernel[0]; ++r)
    for (int64_t c = 0; c < call.kernel[1]; ++c)
      sweep.taps.push_back({r * call.dilation[0] - call.padding[0], c * call.dilation[1] - call.padding[1], r, c});
  return sweep;
}

template <class T, class C>
void forward(const ConvCall& call) {
  const Sweep sweep = sweep_of(call);
  std::vector<Flow<C>> flows(call.count);
  std::vector<Sink<T, C>> sinks;
  for (int64_t i = 0; i < call.count; ++i) {
    Reader& reader = call.readers[i];
    flows[i].input = &call.input;
    flows[i].from = &reader.in;
    flows[i].to = &reader.out;
    flows[i].octets = octets_of(reader.in);
    flows[i].parts = parts_of(flows[i].octets, depth_for(sweep, call.width[0], sizeof(C)));
    C* packed = flows[i].packed.grow(ceil_div(reader.out.count, kPanel<C>) * kPanel<C> * reader.in.count *
                                     static_cast<int64_t>(sweep.taps.size()) + kSlack);
    Packing<T, C>{call, reader, sweep.taps, true, packed}.run();
    sinks.emplace_back(reader.map, reader.out, reader.bias, call.zero);
  }
  run<T, C>(call, sweep, flows, sinks, false, call.height[0], call.width[0]);
}

template <class T, class C>
void grad_input(const ConvCall& call) {
  std::vector<int32_t> every(call.readers[0].in.all);
  for (size_t c = 0; c < every.size(); ++c) every[c] = static_cast<int32_t>(c);
  const Channels all{every.data(), static_cast<int64_t>(every.size()), static_cast<int64_t>(every.size())};
  const bool sum = call.count > 1;
  std::vector<Sink<T, C>> sinks;
  sinks.emplace_back(call.input, sum ? all : call.readers[0].in, nullptr, true);
  std::vector<Flow<C>> flows(call.count);
  for (int64_t i = 0; i < call.count; ++i) {
    Reader& reader = call.readers[i];
    flows[i].input = &reader.map;
    flows[i].from = &reader.out;
    flows[i].to = &reader.in;
    flows[i].octets = octets_of(reader.out);
  }
  for (int64_t row = 0; row < std::min(call.stride[0], call.height[0]); ++row)
    for (int64_t column = 0; column < std::min(call.stride[1], call.width[0]); ++column) {
      Sweep sweep{{ceil_div(call.height[0] - row, call.stride[0]), ceil_div(call.width[0] - column, call.stride[1])},
                  {row, column}, {call.stride[0], call.stride[1]}, {1, 1}, {}};
      for (int64_t r = 0; r < call.kernel[0]; ++r)
        for (int64_t c = call.kernel[1] - 1; c >= 0; --c) {
          const int64_t down = row + call.padding[0] - r * call.dilation[0];
          const int64_t right = column + call.padding[1] - c * call.dilation[1];
          if (floor_div(down, call.stride[0]) * call.stride[0] != down) continue;
          if (floor_div(right, call.stride[1]) * call.stride[1] != right) continue;
          sweep.taps.push_back({floor_div(down, call.stride[0]), floor_div(right, call.stride[1]), r, c});
        }
      for (int64_t i = 0; i < call.count; ++i) {
        Reader& reader = call.readers[i];
        flows[i].parts = parts_of(flows[i].octets, depth_for(sweep, call.width[1], sizeof(C)));
        C* packed = flows[i].packed.grow(ceil_div(reader.in.count, kPanel<C>) * kPanel<C> * reader.out.count *
                                         static_cast<int64_t>(sweep.taps.size()) + kSlack);
        Packing<T, C>{call, reader, sweep.taps, false, packed}.run();
      }
      run<T, C>(call, sweep, flows, sinks, sum, call.height[1], call.width[1]);
    }
}

// The gradient of one reader's weight, a part of whose live channels a thread has for itself: outputs `outs`, inputs `ins`.
template <class T, class C>
void grad_weight_part(const ConvCall& call, const Reader& reader, const Sweep& sweep, const std::vector<Tile>& tiles,
                      const Part& outs, const std::vector<Part>& ins) {
  static thread_local Scratch<C> scratch;
  static thread_local Buffer<C> rows, grads;
  static thread_local std::vector<Meeting> meetings;
  const int64_t taps = static_cast<int64_t>(sweep.taps.size()), blocks = ceil_div(outs.count, kRows);
  std::vector<int64_t> starts;  // of each part's sums
  int64_t size = 0, most = 0;
  for (const Part& part : ins) {
    starts.push_back(size);
    size += taps * blocks * kRows * ceil_div(part.count, kPanel<C>) * kPanel<C>;
    most = std::max(most, part.count);
  }
  C* sums = scratch.summed.grow(size + kSlack);
  Windows& windows = scratch.windows;
  std::vector<std::pair<int32_t, int32_t>> lines;
  bool add = false;
  windows.laid = Windows::kNever;
  for (const Tile& tile : tiles) {
    windows.lay(tile, sweep, call.height[0], call.width[0]);
    const int64_t pixels = windows.pixels;
    lines.clear();
    for (int64_t n = 0; n < tile.images; ++n)
      for (int64_t i = 0; i < tile.rows; ++i)
        lines.emplace_back(static_cast<int32_t>(tile.image + n), static_cast<int32_t>(tile.row + i));
    C* flat = rows.grow(pixels * outs.count + kSlack);
    gather<T>(reader.map, lines, tile.column, 1, tile.columns, outs, reader.out, flat);
    C* packed = grads.grow(blocks * pixels * kRows);
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t there = std::min<int64_t>(kRows, outs.count - b * kRows);
      C* to = packed + b * pixels * kRows;
      const C* from = flat + b * kRows;
      if (there == kRows)
        for (int64_t p = 0; p < pixels; ++p) std::memcpy(to + p * kRows, from + p * outs.count, kRows * sizeof(C));
      else
        for (int64_t p = 0; p < pixels; ++p)
          for (int64_t i = 0; i < kRows; ++i) to[p * kRows + i] = i < there ? from[p * outs.count + i] : C{};
    }
    for (size_t k = 0; k < ins.size(); ++k) {
      const Part& part = ins[k];
      const int64_t ld = ceil_div(part.count, kPanel<C>) * kPanel<C>;
      C* gathered = scratch.gathered.grow(static_cast<int64_t>(windows.rows.size()) * windows.columns * most + kSlack);
      gather<T>(call.input, windows, part, reader.in, gathered);
      for (int64_t t = 0; t < taps; ++t) {
        meetings.resize(pixels);
        int64_t count = 0;
        for (int64_t p = 0; p < pixels; ++p) {
          const int32_t place = windows.places[t * pixels + p];
          meetings[count] = {static_cast<int32_t>(p * kRows), static_cast<int32_t>(place * part.count)};
          count += place >= 0;
        }
        if (count == 0 && add) continue;
        // Gradients of some outputs stay in the second cache while the inputs pass.
        const int64_t near = std::max<int64_t>(1, kGatheredBytes / (pixels * kRows * static_cast<int64_t>(sizeof(C))));
        for (int64_t begin = 0; begin < blocks; begin += near)
          for (int64_t c = 0; c < part.count; c += kPanel<C>)
            for (int64_t b = begin; b < std::min(begin + near, blocks); ++b) {
              C* out = sums + starts[k] + (t * blocks + b) * kRows * ld + c;
              if (part.count - c <= kLanes<C>)
                outer<C, 1>(meetings.data(), count, packed + b * pixels * kRows, gathered + c, add, out, ld);
              else
                outer<C, 2>(meetings.data(), count, packed + b * pixels * kRows, gathered + c, add, out, ld);
            }
      }
    }
    add = true;
  }
  if (!add) std::fill(sums, sums + size, C{});
  T* out = static_cast<T*>(reader.grad_weight.data);
  const int64_t* stride = reader.grad_weight.stride;
  for (size_t k = 0; k < ins.size(); ++k) {
    const int64_t ld = ceil_div(ins[k].count, kPanel<C>) * kPanel<C>;
    for (int64_t o = 0; o < outs.count; ++o)
      for (int64_t t = 0; t < taps; ++t) {
        const C* from = sums + starts[k] + (t * blocks * kRows + o) * ld;
        T* to = out + reader.out.live[outs.first + o] * stride[0] + sweep.taps[t].row * stride[2] +
                sweep.taps[t].column * stride[3];
        if (stride[1] == 1)
          expand(from, ins[k].begin, ins[k].end, reader.in.all >= 8, to);
        else
          for (int64_t c = 0; c < ins[k].count; ++c) store(to + reader.in.live[ins[k].first + c] * stride[1], from[c]);
      }
  }
}

// Raw: not scaled. What is not alive keeps what it holds.
template <class T, class C>
void grad_weight(const ConvCall& call) {
  const Sweep sweep = sweep_of(call);
  const std::vector<Tile> tiles = tiles_of(call.batch, sweep.grid, kTile);
  for (int64_t i = 0; i < call.count; ++i) {
    const Reader& reader = call.readers[i];
    const std::vector<Octet> ins = octets_of(reader.in), outs = octets_of(reader.out);
    const int64_t depth = depth_for(sweep, call.width[0], sizeof(C));
    // Threads have parts of the inputs, and where there are few, of the outputs.
    const int64_t in_parts = std::clamp<int64_t>(reader.in.count / 32, 1, call.threads);
    const int64_t out_parts = std::clamp<int64_t>(call.threads / in_parts, 1, std::max<int64_t>(1, reader.out.count / 32));
    const std::vector<Part> of_ins = parts_of(ins, ceil_div(reader.in.count, in_parts));
    const std::vector<Part> of_outs = parts_of(outs, ceil_div(reader.out.count, out_parts));
    auto body = [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        const Part& mine = of_ins[n % of_ins.size()];
        const std::vector<Octet> octets(mine.begin, mine.end);
        std::vector<Part> parts = parts_of(octets, depth);
        for (Part& part : parts) part.first += mine.first;
        grad_weight_part<T, C>(call, reader, sweep, tiles, of_outs[n / of_ins.size()], parts);
      }
    };
    parallel(call.pool, static_cast<int64_t>(of_ins.size() * of_outs.size()), 1, body);
  }
}

// Rows of a map that are worth a thread.
int64_t grain_of(const CopyCall& call) {
  return std::max<int64_t>(1, (1 << 15) / std::max<int64_t>(1, call.width * call.channels.count));
}

template <class T, class C>
void gather_map(const CopyCall& call) {
  const Channels& channels = call.channels;
  const int64_t count = channels.count;
  std::vector<C> scale(count + kPanel<C>, C{1}), shift(count + kPanel<C>);
  for (int64_t k = 0; k < count; ++k) {
    if (call.scale != nullptr) scale[k] = static_cast<const C*>(call.scale)[channels.live[k]];
    if (call.shift != nullptr) shift[k] = static_cast<const C*>(call.shift)[channels.live[k]];
  }
  // Numbers that nothing is done to are copied, whatever they are.
  const bool plain = call.scale == nullptr && call.shift == nullptr && !call.rectify;
  const auto of = [&](C value, int64_t k) {
    const C result = value * scale[k] + shift[k];
    return call.rectify && result < C{} ? C{} : result;
  };
  const bool rows = call.wide.stride[1] == 1 && call.narrow.stride[1] == 1 && std::is_sorted(channels.live, channels.live + count);
  const std::vector<Octet> octets = rows ? octets_of(channels) : std::vector<Octet>{};
  auto body = [&](int64_t begin, int64_t end) {
    std::vector<C> pixel(count + kSlack);
    for (int64_t line = begin; line < end; ++line) {
      const int64_t n = line / call.height, h = line % call.height;
      const T* from = static_cast<const T*>(call.wide.data) + n * call.wide.stride[0] + h * call.wide.stride[2];
      T* to = static_cast<T*>(call.narrow.data) + n * call.narrow.stride[0] + h * call.narrow.stride[2];
      if (rows) {
        for (int64_t x = 0; x < call.width; ++x) {
          compress(from + x * call.wide.stride[3], octets.data(), octets.data() + octets.size(), channels.all >= 8, pixel.data());
          T* out = to + x * call.narrow.stride[3];
          for_vectors<C>(count, [&](int64_t k, auto lanes) {
            Vector<C> value = load_vector<C>(pixel.data() + k, AllLanes<C>{});
            if (!plain) {
              value = value * load_vector<C>(scale.data() + k, AllLanes<C>{}) + load_vector<C>(shift.data() + k, AllLanes<C>{});
              if (call.rectify) value = value < Vector<C>{} ? Vector<C>{} : value;
            }
            store_vector<C>(out + k, value, lanes);
          });
        }
        continue;
      }
      for (int64_t k = 0; k < count; ++k) {
        const T* plane = from + channels.live[k] * call.wide.stride[1];
        T* out = to + k * call.narrow.stride[1];
        for (int64_t x = 0; x < call.width; ++x) {
          if (plain)
            out[x * call.narrow.stride[3]] = plane[x * call.wide.stride[3]];
          else
            store(out + x * call.narrow.stride[3], of(read(plane + x * call.wide.stride[3]), k));
        }
      }
    }
  };
  parallel(call.pool, call.batch * call.height, grain_of(call), body);
}

template <class T, class C>
void scatter_map(const CopyCall& call) {
  const Channels& channels = call.channels;
  std::vector<bool> alive(channels.all);
  for (int64_t k = 0; k < channels.count; ++k) alive[channels.live[k]] = true;
  auto body = [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      const int64_t n = line / call.height, h = line % call.height;
      T* wide = static_cast<T*>(call.wide.data) + n * call.wide.stride[0] + h * call.wide.stride[2];
      const T* narrow = static_cast<const T*>(call.narrow.data) + n * call.narrow.stride[0] + h * call.narrow.stride[2];
      const auto put = [&](int64_t x, int64_t k) {
        T* to = wide + channels.live[k] * call.wide.stride[1] + x * call.wide.stride[3];
        const T* from = narrow + k * call.narrow.stride[1] + x * call.narrow.stride[3];
        if (call.scale == nullptr)
          *to = *from;
        else
          store(to, read(from) * static_cast<const C*>(call.scale)[channels.live[k]]);
      };
      if (call.wide.stride[1] == 1) {
        for (int64_t x = 0; x < call.width; ++x) {
          std::memset(static_cast<void*>(wide + x * call.wide.stride[3]), 0, channels.all * sizeof(T));
          for (int64_t k = 0; k < channels.count; ++k) put(x, k);
        }
        continue;
      }
      for (int64_t c = 0; c < channels.all; ++c)
        for (int64_t x = 0; x < call.width && !alive[c]; ++x) wide[c * call.wide.stride[1] + x * call.wide.stride[3]] = T{};
      for (int64_t k = 0; k < channels.count; ++k)
        for (int64_t x = 0; x < call.width; ++x) put(x, k);
    }
  };
  parallel(call.pool, call.batch * call.height, grain_of(call), body);
}

template <class F>
void by_type(DType dtype, F&& f) {
  switch (dtype) {
    case DType::float32: return f(float{}, float{});
    case DType::float64: return f(double{}, double{});
    case DType::bfloat16: return f(BFloat16{}, float{});
    case DType::float16: return f(Float16{}, float{});
  }
}

}  // namespace

void conv_forward(const ConvCall& call) {
  by_type(call.dtype, [&](auto stored, auto computed) { forward<decltype(stored), decltype(computed)>(call); });
}

void conv_grad_input(const ConvCall& call) {
  by_type(call.dtype, [&](auto stored, auto computed) { grad_input<decltype(stored), decltype(computed)>(call); });
}

void conv_grad_weight(const ConvCall& call) {
  by_type(call.dtype, [&](auto stored, auto computed) { grad_weight<decltype(stored), decltype(computed)>(call); });
}

void conv_gather(const CopyCall& call) {
  by_type(call.dtype, [&](auto stored, auto computed) { gather_map<decltype(stored), decltype(computed)>(call); });
}

void conv_scatter(const CopyCall& call) {
  by_type(call.dtype, [&](auto stored, auto computed) { scatter_map<decltype(stored), decltype(computed)>(call); });
}

}  // namespace lomt::LOMT_ISA
