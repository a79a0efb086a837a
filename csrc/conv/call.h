// The channel-masked convolution on processors: what one call works on, and its variants by instruction set.
#pragma once

#include "../common/dtype.h"
#include "../common/parallel.h"

namespace lomt {

// A map (N, C, H, W) or a weight (out, in, kernel height, kernel width) of any strides, which count elements.
struct Strided {
  void* data;
  int64_t stride[4];
};

// Which of some channels are alive, in ascending order.
struct Channels {
  const int32_t* live;
  int64_t count, all;
};

// One of the convolutions that read a map together. Scales are float64 where weights are, else float32.
struct Reader {
  Strided weight;
  const void* bias;   // null: zeros
  const void* scale;  // one an input channel; null: ones
  Channels in, out;
  Strided map;          // its output, or the gradient of it
  Strided grad_weight;  // every number of it is written
};

struct ConvCall {
  DType dtype;
  ParallelFor pool;
  int64_t threads;  // that the pool has
  int64_t batch, height[2], width[2];  // of the inputs and of the outputs
  int64_t kernel[2], stride[2], padding[2], dilation[2];
  Strided input;  // or the gradient of it
  Reader* readers;
  int64_t count;
  bool zero;  // dead outputs are 0, not their bias
};

// Channels of a map that are copied to a narrow one, or back from it, on the way scale * x + shift and the rectifier.
struct CopyCall {
  DType dtype;
  ParallelFor pool;
  int64_t batch, height, width;
  Strided wide, narrow;
  Channels channels;  // of the wide map; here in any order
  const void* scale;  // one a channel of the wide map, as a reader's; null: ones
  const void* shift;  // null: zeros
  bool rectify;
};

#define LOMT_DECLARE(isa)                        \
  namespace isa {                                \
  void conv_forward(const ConvCall& call);       \
  void conv_grad_input(const ConvCall& call);    \
  void conv_grad_weight(const ConvCall& call);   \
  void conv_gather(const CopyCall& call);        \
  void conv_scatter(const CopyCall& call);       \
  }

LOMT_DECLARE(baseline)
#ifdef LOMT_X86
LOMT_DECLARE(avx2)
LOMT_DECLARE(avx512)
#endif
#undef LOMT_DECLARE

}  // namespace lomt
