// Where the groups of a weight lie in memory.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace lomt {

// `outer` parts, each of `rows` rows of `length` adjacent numbers; a group is `run` adjacent columns of one part, over
// all of its rows. Axis "in" of a contiguous weight (out, in, *kernel): one part a conv group, a row an output channel,
// run = block * kernel size. In channels_last: a row an output channel and a place in the kernel, run = block.
// Axis "out": one row, run = the size of a group. Strides count elements.
struct Form {
  int64_t outer, outer_stride, rows, row_stride, length, run;

  LOMT_HD int64_t groups_of_part() const { return run > 0 ? length / run : 0; }
  LOMT_HD int64_t groups() const { return outer * groups_of_part(); }

  // Parts of one row that lie together are one.
  LOMT_HD void merge() {
    if (rows != 1 || (outer != 1 && outer_stride != length)) return;
    length *= outer;
    outer = 1;
  }
};

}  // namespace lomt
