// Group shrinkage on processors: what one call works on, and its variants by instruction set.
#pragma once

#include "../common/dtype.h"
#include "../common/form.h"
#include "../common/parallel.h"

namespace lomt {

// Tensors of one call. Weights, `out` and gradients have `dtype` and the same form. Thresholds are float64; metrics, and
// what else there is one of a group (start, theta, norms), are float64 where the weights are, else float32.
struct ShrinkCall {
  DType dtype;
  Form form;
  ParallelFor pool;
  int64_t threads;  // that the pool has
  const void* weight;
  const void* metric;  // null: the Euclidean form
  const void* tau;
  int64_t tau_step;  // 0: one for all groups
  const void* start;  // null: from 0
  const void* grad;
  void* out;
  void* theta;  // what `norms` and `shrink` write and `backward` reads
  void* grad_tau;
  void* grad_metric;
};

#define LOMT_DECLARE(isa)                       \
  namespace isa {                               \
  void group_norms(const ShrinkCall& call);     \
  void group_alive(const ShrinkCall& call);     \
  void group_shrink(const ShrinkCall& call);    \
  void group_shrink_backward(const ShrinkCall&); \
  }

LOMT_DECLARE(baseline)
#ifdef LOMT_X86
LOMT_DECLARE(avx2)
LOMT_DECLARE(avx512)
#endif
#undef LOMT_DECLARE

}  // namespace lomt
