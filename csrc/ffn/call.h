// The block-sparse feed-forward network on processors: what one call works on, and its variants by instruction set.
#pragma once

#include "../common/dtype.h"
#include "../common/parallel.h"
#include "ffn.h"

namespace lomt {

constexpr int64_t kMostFfnRows = 32;

// Contiguous tensors of one dtype, of kMostFfnRows rows at most. `parts` is 2 for gate and up, 1 for a plain network.
struct FfnCall {
  DType dtype;
  ParallelFor pool;
  int64_t threads;  // that the pool has
  int64_t rows, blocks, parts, block, in, out;
  Activation activation;
  const void* x;          // (rows, in)
  const void* gate_up;    // (blocks, parts, block, in)
  const void* down;       // (blocks, block, out)
  const bool* active;     // (rows, blocks)
  const void* bias;       // (blocks, parts, block); null: zeros
  const void* down_bias;  // (out); null: zeros
  void* y;                // (rows, out)
};

#define LOMT_DECLARE(isa)              \
  namespace isa {                      \
  void ffn_forward(const FfnCall& call); \
  }

LOMT_DECLARE(baseline)
#ifdef LOMT_X86
LOMT_DECLARE(avx2)
LOMT_DECLARE(avx512)
#endif
#undef LOMT_DECLARE

}  // namespace lomt
