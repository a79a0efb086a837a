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

struct Tile {
  int64_t start;  // where this thread's first number is
  int64_t row_jump;
  int column_step;
  int column_visits, row_visits;
  int groups;     // of the tile
  int64_t first;  // number of its first group
  int group;      // this thread's

  // Where sums of threads are: group g's threads are listed(g, 0), ..., listed(g, list - 1); `team` of the block's
  // threads add them up.
  int width, pitch, list, team;

  LOMT_HD int listed(int g, int i) const { return i / width * pitch + g * width + i % width; }
  LOMT_HD int leader(int g) const { return g * team; }
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

LOMT_HD Tile tile_of(const Form& form, int groups_of_tile, int64_t block, int thread) {
  const int64_t in_part = form.groups_of_part(), tiles = ceil_of(in_part, groups_of_tile);
  const int64_t part = block / tiles, begin = (block - part * tiles) * groups_of_tile;
  const int64_t left = in_part - begin;
  Tile tile;
  tile.groups = static_cast<int>(left < groups_of_tile ? left : groups_of_tile);
  tile.first = part * in_part + begin;
  const int64_t columns = tile.groups * form.run;
  int64_t column, end, row;
  int row_step;
  if (form.rows == 1) {
    tile.width = kThreads / groups_of_tile;
    tile.pitch = tile.list = tile.width;
    tile.group = thread / tile.width;
    column = tile.group * form.run + thread % tile.width;
    end = tile.group < tile.groups ? (tile.group + 1) * form.run : 0;
    tile.column_step = tile.width;
    row = 0;
    row_step = 1;
  } else if (columns <= kTileColumns) {
    row_step = kThreads / static_cast<int>(columns);
    tile.width = static_cast<int>(form.run);
    tile.pitch = static_cast<int>(columns);
    tile.list = row_step * tile.width;
    column = thread % static_cast<int>(columns);
    row = thread / static_cast<int>(columns);
    tile.group = static_cast<int>(column / form.run);
    end = row < row_step ? column + 1 : 0;
    tile.column_step = 1;
  } else {  // one group
    row_step = kThreads / kWarp;
    tile.width = tile.pitch = tile.list = kThreads;
    column = thread % kWarp;
    row = thread / kWarp;
    tile.group = 0;
    end = columns;
    tile.column_step = kWarp;
  }
  tile.column_visits = column < end ? static_cast<int>(ceil_of(end - column, tile.column_step)) : 0;
  tile.row_visits = row < form.rows && tile.column_visits > 0 ? static_cast<int>(ceil_of(form.rows - row, row_step)) : 0;
  if (tile.group >= tile.groups) tile.group = 0;  // nothing to do
  tile.start = part * form.outer_stride + begin * form.run + row * form.row_stride + column;
  tile.row_jump = row_step * form.row_stride - static_cast<int64_t>(tile.column_visits) * tile.column_step;
  tile.team = kWarp;
  while (tile.team * tile.groups > kThreads) tile.team /= 2;
  return tile;
}

// How many numbers a thread of a tile has at most.
LOMT_HD int64_t visits_of(const Form& form, int groups_of_tile) {
  const Tile tile = tile_of(form, groups_of_tile, 0, 0);
  return static_cast<int64_t>(tile.row_visits) * tile.column_visits;
}

// A thread's way through its numbers.
struct Walk {
  int64_t at, left;
  int column_left;
  const Tile& tile;

  LOMT_HD explicit Walk(const Tile& tile)
      : at(tile.start),
        left(static_cast<int64_t>(tile.row_visits) * tile.column_visits),
        column_left(tile.column_visits),
        tile(tile) {}

  // Places of the next numbers, at most N, and how many; the first one's stands in for those that are not there.
  template <int N>
  LOMT_HD int next(int64_t (&places)[N]) {
    const int count = left < N ? static_cast<int>(left) : N;
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
