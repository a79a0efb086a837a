// What the bindings call on a GPU; without nvcc, each says that this build has no CUDA.
#pragma once

#include <stdexcept>

#include "../prox/call.h"
#include "../shrink/call.h"

namespace lomt {

#ifdef LOMT_HAS_CUDA
void cuda_shrink(int operation, const ShrinkCall& call, int device, void* stream);
void cuda_prox(const ProxCall& call, void* workspace, int device, void* stream);
#else
inline void cuda_shrink(int, const ShrinkCall&, int, void*) {
  throw std::runtime_error("lomt_kernels._C was built without CUDA");
}
inline void cuda_prox(const ProxCall&, void*, int, void*) {
  throw std::runtime_error("lomt_kernels._C was built without CUDA");
}
#endif

}  // namespace lomt
