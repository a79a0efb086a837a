// The proximal optimizers' steps: what one call works on, and its variants by instruction set.
#pragma once

#include "../common/dtype.h"
#include "../common/form.h"
#include "../common/parallel.h"
#include "prox.h"

namespace lomt {

// One tensor; all of a call's have the same type. Weight, gradient and moments have the same form; the weight is not
// empty. `state` is float64 where the weights are, else float32: two rows of one number a group, the norms after the
// step (0: dead, NaN: not known) and by how much they changed.
struct ProxTensor {
  void* weight;
  void* grad;
  void* first;   // AdamW: exp_avg. SGD: the momentum buffer, or null
  void* second;  // AdamW: exp_avg_sq
  void* greatest;  // AdamW with amsgrad: max_exp_avg_sq, else null
  float* step;   // AdamW: how many steps were done, which this one is added to
  void* state;
  const bool* computed;  // which groups' gradients were; null: all. The others are left alone
  Form form;
  int64_t fresh;  // SGD: its momentum buffer holds nothing yet
};

struct ProxCall {
  bool sgd;
  DType dtype;
  int64_t count;
  ProxTensor* tensors;
  const double* prices;  // lambda sqrt(|g|), one a tensor
  StepNumbers numbers;
  const void* lr;  // where it is a tensor, its address and type; null: numbers.lr
  DType lr_dtype;
  const float* grad_scale;  // null: 1
  const float* found_inf;   // null: 0
  ParallelFor pool;
  int64_t threads;
};

#define LOMT_DECLARE(isa) \
  namespace isa {         \
  void prox_step(const ProxCall& call); \
  }

LOMT_DECLARE(baseline)
#ifdef LOMT_X86
LOMT_DECLARE(avx2)
LOMT_DECLARE(avx512)
#endif
#undef LOMT_DECLARE

}  // namespace lomt
