// What a thread block works on: a tile of adjacent groups of one part, and how its threads share it.
//
// Each number belongs to one thread, and each thread to one group. Where rows are many, threads lie over the tile's
// columns, as many rows at once as fit, or, where one group's rows are long, a warp takes a row. Where there is one row,
// each group has as many adjacent threads as every other.
#pragma once

#include "../common/form.h"

namespace lomt {

constexpr int kThreads = 256;
constexpr int kWarp = 32;
constexpr int kTileGroups = 64;     // at most
constexpr int kTileColumns = 64;    // at most, where groups have several rows and are several
constexpr int kTileNumbers = 4096;  // as a rule: what a thread's share of is worth its block's start
constexpr int kSector = 32;         // bytes of a row that are to be adjacent at least

// What all threads of a block know of their tile.
struct Layout {
  int groups;
  int64_t first;  // number of its first group

  // Where sums of threads are: group g's threads are listed(g, 0), ..., listed(g, list - 1); `team` of the block's
  // threads add them up.
  int width, pitch, list, team;

  LOMT_HD int listed(int g, int i) const { return i / width * pitch + g * width + i % width; }
};

// And one of them of its numbers.
struct Tile {
  int64_t start;  // where the first one is
  int64_t row_jump;
  int column_step;
  int column_visits, row_visits;
  int group;
};

LOMT_HD int64_t ceil_of(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How many groups a tile has, the last one of a part perhaps less; `size` is a number's in bytes.
LOMT_HD int groups_of_tile(const Form& form, int64_t size) {
  int64_t groups = kTileNumbers / (form.rows * form.run);
  if (form.rows > 1) {
    const int64_t least = ceil_of(kSector / size, form.run), most = kTileColumns / form.run;
    groups = groups < most ? groups : most;
    groups = groups > least ? groups : least;
  } else {
    groups = groups < kWarp ? groups : kWarp;
  }
  const int64_t in_part = form.groups_of_part();
  groups = groups < in_part ? groups : in_part;
  if (form.rows > 1) return static_cast<int>(groups > 1 ? groups : 1);
  int power = 1;
  while (2 * power <= groups) power *= 2;
  return power;
}

LOMT_HD int64_t tiles_of(const Form& form, int groups_of_tile) {
  return form.outer * ceil_of(form.groups_of_part(), groups_of_tile);
}

LOMT_HD Tile tile_of(const Form& form, int groups_of_tile, int64_t block, int thread, Layout* all) {
  const int64_t in_part = form.groups_of_part(), tiles = ceil_of(in_part, groups_of_tile);
  const int64_t part = block / tiles, begin = (block - part * tiles) * groups_of_tile;
  const int64_t left = in_part - begin;
  Tile tile;
  Layout layout;
  layout.groups = static_cast<int>(left < groups_of_tile ? left : groups_of_tile);
  layout.first = part * in_part + begin;
  const int64_t columns = layout.groups * form.run;
  int64_t column, end, row;
  int row_step;
  if (form.rows == 1) {
    layout.width = kThreads / groups_of_tile;
    layout.pitch = layout.list = layout.width;
    tile.group = thread / layout.width;
    column = tile.group * form.run + thread % layout.width;
    end = tile.group < layout.groups ? (tile.group + 1) * form.run : 0;
    tile.column_step = layout.width;
    row = 0;
    row_step = 1;
  } else if (columns <= kTileColumns) {
    row_step = kThreads / static_cast<int>(columns);
    layout.width = static_cast<int>(form.run);
    layout.pitch = static_cast<int>(columns);
    layout.list = row_step * layout.width;
    column = thread % static_cast<int>(columns);
    row = thread / static_cast<int>(columns);
    tile.group = static_cast<int>(column / form.run);
    end = row < row_step ? column + 1 : 0;
    tile.column_step = 1;
  } else {  // one group
    row_step = kThreads / kWarp;
    layout.width = layout.pitch = layout.list = kThreads;
    column = thread % kWarp;
    row = thread / kWarp;
    tile.group = 0;
    end = columns;
    tile.column_step = kWarp;
  }
  tile.column_visits = column < end ? static_cast<int>(ceil_of(end - column, tile.column_step)) : 0;
  tile.row_visits = row < form.rows && tile.column_visits > 0 ? static_cast<int>(ceil_of(form.rows - row, row_step)) : 0;
  if (tile.group >= layout.groups) tile.group = 0;  // nothing to do
  tile.start = part * form.outer_stride + begin * form.run + row * form.row_stride + column;
  tile.row_jump = row_step * form.row_stride - static_cast<int64_t>(tile.column_visits) * tile.column_step;
  layout.team = kWarp;
  while (layout.team * layout.groups > kThreads) layout.team /= 2;
  *all = layout;
  return tile;
}

// How many numbers a thread of a tile has at most.
LOMT_HD int visits_of(const Form& form, int groups_of_tile) {
  Layout all;
  const Tile tile = tile_of(form, groups_of_tile, 0, 0, &all);
  return tile.row_visits * tile.column_visits;
}

// A thread's way through its numbers.
struct Walk {
  int64_t at;
  int left, column_left;
  const Tile& tile;

  LOMT_HD explicit Walk(const Tile& tile)
      : at(tile.start),
        left(tile.row_visits * tile.column_visits),
        column_left(tile.column_visits),
        tile(tile) {}

  // Places of the next numbers, at most N, and how many; the first one's stands in for those that are not there.
  template <int N>
  LOMT_HD int next(int64_t (&places)[N]) {
    const int count = left < N ? left : N;
    const int64_t begin = at;
    for (int k = 0; k < N; ++k) {
      places[k] = k < count ? at : begin;
      at += tile.column_step;
      if (--column_left == 0) {
        column_left = tile.column_visits;
        at += tile.row_jump;
      }
    }
    left -= count;
    return count;
  }
};

}  // namespace lomt
