// lomt_kernels._C: kernels over addresses, sizes and strides. It knows no torch, so it fits every version of it.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/cuda_calls.h"
#include "prox/call.h"
#include "shrink/call.h"

namespace py = pybind11;

namespace {

#define LOMT_STRING_(x) #x
#define LOMT_STRING(x) LOMT_STRING_(x)

// The best instruction set of this processor that the kernels were built for.
int best_isa() {
#ifdef LOMT_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq"))
    return 2;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
  return 0;
}

const std::array<const char*, 3> kIsaNames = {"baseline", "avx2", "avx512"};

int isa = best_isa();
lomt::ParallelFor pool = nullptr;
lomt::ThreadCount thread_count = nullptr;

int64_t threads() {
  uint32_t count = 1;
  if (thread_count != nullptr) thread_count(&count);
  return count;
}

using ShrinkKernel = void (*)(const lomt::ShrinkCall&);
using ProxKernel = void (*)(const lomt::ProxCall&);

#ifdef LOMT_X86
#define LOMT_VARIANTS(name) {lomt::baseline::name, lomt::avx2::name, lomt::avx512::name}
#else
#define LOMT_VARIANTS(name) {lomt::baseline::name, lomt::baseline::name, lomt::baseline::name}
#endif

enum Operation { kNorms, kAlive, kShrink, kBackward };
const ShrinkKernel kShrinkKernels[4][3] = {LOMT_VARIANTS(group_norms), LOMT_VARIANTS(group_alive),
                                     LOMT_VARIANTS(group_shrink), LOMT_VARIANTS(group_shrink_backward)};
const ProxKernel kProxKernels[3] = LOMT_VARIANTS(prox_step);

const void* address(uintptr_t number) { return reinterpret_cast<const void*>(number); }
void* writable(uintptr_t number) { return reinterpret_cast<void*>(number); }

// One call for all four; addresses that an operation has no use for are 0. `stream` is -1 on a processor.
void shrink(int operation, int dtype, std::array<int64_t, 6> form, uintptr_t weight, uintptr_t metric, uintptr_t tau,
            int64_t tau_step, uintptr_t start, uintptr_t grad, uintptr_t out, uintptr_t theta, uintptr_t grad_tau,
            uintptr_t grad_metric, int64_t device, uintptr_t stream) {
  const lomt::ShrinkCall call{
      static_cast<lomt::DType>(dtype),
      {form[0], form[1], form[2], form[3], form[4], form[5]},
      pool,
      threads(),
      address(weight),
      address(metric),
      address(tau),
      tau_step,
      address(start),
      address(grad),
      writable(out),
      writable(theta),
      writable(grad_tau),
      writable(grad_metric),
  };
  if (device < 0) {
    kShrinkKernels[operation][isa](call);
    return;
  }
  lomt::cuda_shrink(operation, call, static_cast<int>(device), writable(stream));
}

// One step of many tensors. `addresses` holds eight columns of a number each: weight, gradient, first, second and greatest
// moment, step count, state, mask. `forms` holds six numbers of each, `prices` a float64, and `fresh` says whether its
// momentum buffer is. `workspace` is memory on the GPU.
void prox_step(bool sgd, int dtype, const py::buffer& addresses, const py::buffer& forms, const py::buffer& fresh,
               const py::buffer& prices, std::array<double, 8> numbers, bool maximize, bool nesterov, uintptr_t lr,
               int lr_dtype, uintptr_t grad_scale, uintptr_t found_inf, uintptr_t workspace, int64_t device,
               uintptr_t stream) {
  const py::buffer_info columns = addresses.request(), shapes = forms.request(), first = fresh.request();
  const py::buffer_info each = prices.request();
  const int64_t count = each.size;
  if (columns.size != 8 * count || shapes.size != 6 * count || first.size != count)
    throw std::invalid_argument("the columns are not as long as there are prices");
  const auto at = [&](int column, int64_t i) {
    return writable(static_cast<const uintptr_t*>(columns.ptr)[column * count + i]);
  };
  std::vector<lomt::ProxTensor> tensors(count);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t* form = static_cast<const int64_t*>(shapes.ptr) + 6 * i;
    tensors[i] = {at(0, i), at(1, i), at(2, i), at(3, i), at(4, i), static_cast<float*>(at(5, i)), at(6, i),
                  static_cast<const bool*>(at(7, i)), {form[0], form[1], form[2], form[3], form[4], form[5]},
                  static_cast<const int64_t*>(first.ptr)[i]};
  }
  const lomt::ProxCall call{
      sgd,
      static_cast<lomt::DType>(dtype),
      count,
      tensors.data(),
      static_cast<const double*>(each.ptr),
      {numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], numbers[6], numbers[7], maximize,
       nesterov},
      address(lr),
      static_cast<lomt::DType>(lr_dtype),
      static_cast<const float*>(address(grad_scale)),
      static_cast<const float*>(address(found_inf)),
      pool,
      threads(),
  };
  const py::gil_scoped_release release;
  if (device < 0) {
    kProxKernels[isa](call);
    return;
  }
  lomt::cuda_prox(call, writable(workspace), static_cast<int>(device), writable(stream));
}

py::dict facts() {
  py::dict facts;
  facts["version"] = LOMT_STRING(LOMT_VERSION);
  facts["compiler"] = LOMT_STRING(LOMT_COMPILER);
  facts["cuda"] = LOMT_STRING(LOMT_CUDA);
  facts["cuda_architectures"] = LOMT_STRING(LOMT_CUDA_ARCHITECTURES);
  py::list built;
#ifdef LOMT_X86
  for (const char* name : kIsaNames) built.append(name);
#else
  built.append("baseline");
#endif
  facts["instruction_sets"] = built;
  facts["instruction_set"] = kIsaNames[isa];
  return facts;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "Native kernels of lomt_kernels; lomt_kernels.native is the way to them.";
  m.attr("__version__") = LOMT_STRING(LOMT_VERSION);
  m.def("facts", &facts, "How this module was built, and which instruction set it uses here.");
  m.def(
      "set_pool",
      [](uintptr_t parallel_for, uintptr_t count) {
        pool = reinterpret_cast<lomt::ParallelFor>(parallel_for);
        thread_count = reinterpret_cast<lomt::ThreadCount>(count);
      },
      "Take torch's threads: the addresses of torch_parallel_for and torch_get_num_threads; 0 and 0 for one thread.");
  m.def(
      "use_instruction_set",
      [](const std::string& name) {
        for (int i = 0; i <= best_isa(); ++i) {
          if (name == kIsaNames[i]) {
            isa = i;
            return;
          }
        }
        throw std::invalid_argument("this processor, or this build, has no " + name);
      },
      "Use a lower instruction set than the best, for tests.");
  m.def("shrink", &shrink, "Group norms (0), group alive (1), group shrink (2) and its derivative (3).",
        py::arg("operation"), py::arg("dtype"), py::arg("form"), py::arg("weight"), py::arg("metric"), py::arg("tau"),
        py::arg("tau_step"), py::arg("start"), py::arg("grad"), py::arg("out"), py::arg("theta"), py::arg("grad_tau"),
        py::arg("grad_metric"), py::arg("device"), py::arg("stream"), py::call_guard<py::gil_scoped_release>());
  m.def("prox_step", &prox_step, "One step of AdamW, or of SGD, and its proximal operator, on many tensors.",
        py::arg("sgd"), py::arg("dtype"), py::arg("addresses"), py::arg("forms"), py::arg("fresh"), py::arg("prices"),
        py::arg("numbers"), py::arg("maximize"), py::arg("nesterov"), py::arg("lr"), py::arg("lr_dtype"), py::arg("grad_scale"), py::arg("found_inf"),
        py::arg("workspace"), py::arg("device"), py::arg("stream"));
}
