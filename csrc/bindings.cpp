// lomt_kernels._C: kernels over addresses, sizes and strides. It is built without torch, so it fits every version of it.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/cuda_calls.h"
#include "conv/call.h"
#include "ffn/call.h"
#include "prox/call.h"
#include "shrink/call.h"
#include "tensors.h"

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
using ConvKernel = void (*)(const lomt::ConvCall&);
using CopyKernel = void (*)(const lomt::CopyCall&);
using FfnKernel = void (*)(const lomt::FfnCall&);

#ifdef LOMT_X86
#define LOMT_VARIANTS(name) {lomt::baseline::name, lomt::avx2::name, lomt::avx512::name}
#else
#define LOMT_VARIANTS(name) {lomt::baseline::name, lomt::baseline::name, lomt::baseline::name}
#endif

enum Operation { kNorms, kAlive, kShrink, kBackward };
const ShrinkKernel kShrinkKernels[4][3] = {LOMT_VARIANTS(group_norms), LOMT_VARIANTS(group_alive),
                                     LOMT_VARIANTS(group_shrink), LOMT_VARIANTS(group_shrink_backward)};
const ProxKernel kProxKernels[3] = LOMT_VARIANTS(prox_step);
const ConvKernel kConvKernels[3][3] = {LOMT_VARIANTS(conv_forward), LOMT_VARIANTS(conv_grad_input),
                                       LOMT_VARIANTS(conv_grad_weight)};
const CopyKernel kCopyKernels[2][3] = {LOMT_VARIANTS(conv_gather), LOMT_VARIANTS(conv_scatter)};
const FfnKernel kFfnKernels[3] = LOMT_VARIANTS(ffn_forward);

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

lomt::Torch torch;

// Thresholds that are plain and not negative: a number, a tensor of one, or a float64 for each group.
struct Thresholds {
  double one = 0;
  const double* first = &one;
  int64_t step = 0;

  bool of(PyObject* tau, int64_t groups) {
    if (PyFloat_CheckExact(tau)) {
      one = PyFloat_AS_DOUBLE(tau);
      return one >= 0;
    }
    lomt::DLTensor view;
    lomt::DType dtype;
    if (!torch.plain(tau, view) || !lomt::floating(view, dtype)) return false;
    const int64_t count = lomt::dense(view);
    if (dtype == lomt::DType::float32 && count == 1) {
      one = *reinterpret_cast<const float*>(view.data);
      return one >= 0;
    }
    if (dtype != lomt::DType::float64 || (count != 1 && (view.ndim != 1 || count != groups))) return false;
    first = reinterpret_cast<const double*>(view.data);
    step = count == 1 ? 0 : 1;
    return std::all_of(first, first + count, [](double each) { return each >= 0; });
  }
};

// The short ways of group_norms and group_alive (weight, axis, groups, block) and of group_shrink (weight, tau, axis,
// groups, block). They give None where a tensor is not plain, a derivative is asked for, or there is an error to tell.
template <Operation operation>
PyObject* in_short(PyObject*, PyObject* const* given, Py_ssize_t count) {
  constexpr int kHow = operation == kShrink ? 2 : 1;
  if (count != kHow + 3) {
    PyErr_Format(PyExc_TypeError, "%d arguments are given, and %d are taken", static_cast<int>(count), kHow + 3);
    return nullptr;
  }
  PyObject* const weight = given[0];
  lomt::Groups groups;
  if (!groups.of(torch, weight, given[kHow], given[kHow + 1], given[kHow + 2])) Py_RETURN_NONE;
  const int64_t number = groups.form.groups();
  PyObject* result = nullptr;
  Thresholds tau;
  if constexpr (operation == kShrink) {
    if (!tau.of(given[1], number)) Py_RETURN_NONE;
    const int differentiated = torch.differentiated(weight, given[1]);
    if (differentiated < 0) return nullptr;
    if (differentiated) Py_RETURN_NONE;
    result = PyObject_CallOneArg(torch.empty_like, weight);
  } else {
    const bool wide = groups.dtype == lomt::DType::float64;
    result = torch.vector(weight, number, operation == kAlive ? torch.boolean : wide ? torch.float64 : torch.float32);
  }
  if (result == nullptr) return nullptr;
  lomt::DLTensor made;
  if (!torch.plain(result, made)) {  // somebody makes other tensors
    Py_DECREF(result);
    Py_RETURN_NONE;
  }
  try {
    std::vector<double> norms(operation == kShrink ? number : 0);
    void* const out = operation == kShrink ? made.data : nullptr;
    void* const theta = operation == kShrink ? static_cast<void*>(norms.data()) : made.data;
    const py::gil_scoped_release release;
    kShrinkKernels[operation][isa]({groups.dtype, groups.form, pool, threads(), groups.view.data, nullptr, tau.first,
                                    tau.step, nullptr, nullptr, out, theta, nullptr, nullptr});
  } catch (const std::bad_alloc&) {
    Py_DECREF(result);
    return PyErr_NoMemory();
  }
  return result;
}

PyMethodDef short_ways[] = {
    {"group_norms", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(&in_short<kNorms>)), METH_FASTCALL,
     "group_norms(weight, axis, groups, block), or None where anything is out of the ordinary."},
    {"group_alive", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(&in_short<kAlive>)), METH_FASTCALL,
     "group_alive(weight, axis, groups, block), or None where anything is out of the ordinary."},
    {"group_shrink", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(&in_short<kShrink>)), METH_FASTCALL,
     "group_shrink(weight, tau, axis, groups, block), or None where anything is out of the ordinary."},
    {nullptr, nullptr, 0, nullptr},
};

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

lomt::Strided strided(uintptr_t data, const int64_t* stride) {
  return {writable(data), {stride[0], stride[1], stride[2], stride[3]}};
}

// A live list: `count` numbers at an address; if that is negative, all channels, which `every` then holds.
lomt::Channels channels_of(int64_t live, int64_t count, int64_t all, std::vector<int32_t>& every) {
  if (count < 0) {
    for (int64_t c = static_cast<int64_t>(every.size()); c < all; ++c) every.push_back(static_cast<int32_t>(c));
    return {nullptr, all, all};
  }
  const auto* numbers = static_cast<const int32_t*>(address(static_cast<uintptr_t>(live)));
  for (int64_t i = 0; i < count; ++i)
    if (numbers[i] < 0 || numbers[i] >= all || (i > 0 && numbers[i] <= numbers[i - 1]))
      throw std::invalid_argument("live channel " + std::to_string(numbers[i]) + " of " + std::to_string(all) +
                                  ": a live list names channels in ascending order, each once");
  return {numbers, count, all};
}

// A convolution (0), or the gradient of its input (1) or of its weights (2). `window` holds batch, input and output
// height and width, kernel, stride, padding, dilation; `readers`, for each reader: weight, bias, scale, live inputs and
// their number, live outputs and their number, outputs, map, gradient of the weight; strides of weight, map and gradient.
void conv(int operation, int dtype, std::array<int64_t, 13> window, uintptr_t input, std::array<int64_t, 4> stride,
          int64_t channels, const std::vector<std::array<int64_t, 22>>& readers, bool zero) {
  std::vector<lomt::Reader> each;
  std::vector<int32_t> every;
  for (const auto& r : readers) {
    const auto at = [&](int i) { return static_cast<uintptr_t>(r[i]); };
    each.push_back({strided(at(0), &r[10]),
                    address(at(1)),
                    address(at(2)),
                    channels_of(r[3], r[4], channels, every),
                    channels_of(r[5], r[6], r[7], every),
                    strided(at(8), &r[14]),
                    strided(at(9), &r[18])});
  }
  for (lomt::Reader& reader : each)
    for (lomt::Channels* side : {&reader.in, &reader.out})
      if (side->live == nullptr) side->live = every.data();
  const lomt::ConvCall call{
      static_cast<lomt::DType>(dtype),
      pool,
      threads(),
      window[0],
      {window[1], window[3]},
      {window[2], window[4]},
      {window[5], window[6]},
      {window[7], window[8]},
      {window[9], window[10]},
      {window[11], window[12]},
      strided(input, stride.data()),
      each.data(),
      static_cast<int64_t>(each.size()),
      zero,
  };
  const py::gil_scoped_release release;
  kConvKernels[operation][isa](call);
}

// Channels of a wide map to a narrow one (0), or back (1). `size` holds batch, height and width.
void copy_channels(int operation, int dtype, std::array<int64_t, 3> size, uintptr_t wide,
                   std::array<int64_t, 4> wide_stride, uintptr_t narrow, std::array<int64_t, 4> narrow_stride,
                   uintptr_t channels, int64_t count, int64_t all, uintptr_t scale, uintptr_t shift, bool rectify) {
  const lomt::CopyCall call{
      static_cast<lomt::DType>(dtype),
      pool,
      size[0],
      size[1],
      size[2],
      strided(wide, wide_stride.data()),
      strided(narrow, narrow_stride.data()),
      {static_cast<const int32_t*>(address(channels)), count, all},
      address(scale),
      address(shift),
      rectify,
  };
  kCopyKernels[operation][isa](call);
}

// A block-sparse feed-forward network. `sizes` holds rows, blocks, parts, neurons of a block, inputs and outputs.
void ffn(int dtype, std::array<int64_t, 6> sizes, int activation, uintptr_t x, uintptr_t gate_up, uintptr_t down,
         uintptr_t active, uintptr_t bias, uintptr_t down_bias, uintptr_t y) {
  if (sizes[0] > lomt::kMostFfnRows) throw std::invalid_argument("too many rows for one call");
  kFfnKernels[isa]({
      static_cast<lomt::DType>(dtype),
      pool,
      threads(),
      sizes[0],
      sizes[1],
      sizes[2],
      sizes[3],
      sizes[4],
      sizes[5],
      static_cast<lomt::Activation>(activation),
      address(x),
      address(gate_up),
      address(down),
      static_cast<const bool*>(address(active)),
      address(bias),
      address(down_bias),
      writable(y),
  });
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
      "set_torch", [](const py::object& module) { torch = lomt::Torch(module); },
      "Take tensors of this torch as they are, in the short ways of group_norms, group_alive and group_shrink.");
  if (PyModule_AddFunctions(m.ptr(), short_ways) != 0) throw py::error_already_set();
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
  m.def("conv", &conv, "A channel-masked convolution (0), or the gradient of its input (1) or of its weights (2).",
        py::arg("operation"), py::arg("dtype"), py::arg("window"), py::arg("input"), py::arg("stride"),
        py::arg("channels"), py::arg("readers"), py::arg("zero"));
  m.def("copy_channels", &copy_channels, "Channels of a wide map to a narrow one (0), or back (1).",
        py::arg("operation"), py::arg("dtype"), py::arg("size"), py::arg("wide"), py::arg("wide_stride"),
        py::arg("narrow"), py::arg("narrow_stride"), py::arg("channels"), py::arg("count"), py::arg("all"),
        py::arg("scale"), py::arg("shift"), py::arg("rectify"), py::call_guard<py::gil_scoped_release>());
  m.def("ffn", &ffn, "A feed-forward network over active blocks of neurons.", py::arg("dtype"), py::arg("sizes"),
        py::arg("activation"), py::arg("x"), py::arg("gate_up"), py::arg("down"), py::arg("active"), py::arg("bias"),
        py::arg("down_bias"), py::arg("y"), py::call_guard<py::gil_scoped_release>());
}
