// Tensors as torch hands them out, by DLPack's table of functions (torch has it since 2.10). Addresses, sizes and strides
// that go by way of Python cost a call more than its kernel does where there is little to compute.
#pragma once

#include <pybind11/pybind11.h>

#include "common/dtype.h"
#include "common/form.h"

namespace lomt {

// https://dmlc.github.io/dlpack/latest/c_api.html, of major version 1.
struct DLTensor {
  char* data;
  struct {
    int32_t type, number;
  } device;
  int32_t ndim;
  struct {
    uint8_t code, bits;
    uint16_t lanes;
  } dtype;
  const int64_t* shape;
  const int64_t* strides;
  uint64_t byte_offset;
};

struct DLExchange {
  struct {
    uint32_t major, minor;
  } version;
  DLExchange* older;
  void *allocate, *give, *take;
  int (*view)(PyObject* tensor, DLTensor* out);
  void* stream;
};

// What is used of torch. All of it is null until the module is told of a torch that has the table.
struct Torch {
  PyObject *tensor, *parameter, *empty_like, *is_grad_enabled, *float32, *float64, *boolean;
  const DLExchange* exchange;

  // References are kept: torch outlives its extensions.
  explicit Torch(const pybind11::object& torch) : Torch() {
    const pybind11::object type = torch.attr("Tensor");
    if (!pybind11::hasattr(type, "__dlpack_c_exchange_api__")) return;
    const pybind11::object capsule = type.attr("__dlpack_c_exchange_api__");
    const void* found = PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api");
    if (found == nullptr) throw pybind11::error_already_set();
    const auto* table = static_cast<const DLExchange*>(found);
    if (table->version.major != 1 || table->view == nullptr) return;
    const auto kept = [](const pybind11::object& object) { return pybind11::object(object).release().ptr(); };
    tensor = kept(type);
    parameter = kept(torch.attr("nn").attr("Parameter"));
    empty_like = kept(torch.attr("empty_like"));
    is_grad_enabled = kept(torch.attr("is_grad_enabled"));
    float32 = kept(torch.attr("float32"));
    float64 = kept(torch.attr("float64"));
    boolean = kept(torch.attr("bool"));
    exchange = table;
  }
  Torch() : tensor(), parameter(), empty_like(), is_grad_enabled(), float32(), float64(), boolean(), exchange() {}

  // Whether this is an ordinary tensor on a processor; then `view` says where and how it lies.
  bool plain(PyObject* object, DLTensor& view) const {
    PyObject* type = reinterpret_cast<PyObject*>(Py_TYPE(object));
    if (exchange == nullptr || (type != tensor && type != parameter)) return false;
    static PyObject* is_neg = PyUnicode_InternFromString("is_neg");
    PyObject* negated = PyObject_CallMethodNoArgs(object, is_neg);  // a view whose numbers are those in memory, negated
    Py_XDECREF(negated);
    if (negated != Py_False || exchange->view(object, &view) != 0) {
      PyErr_Clear();
      return false;
    }
    constexpr int32_t kProcessor = 1;
    if (view.device.type != kProcessor || view.data == nullptr || (view.ndim > 0 && !view.strides)) return false;
    view.data += view.byte_offset;
    return true;
  }

  // Whether what is computed from these has a derivative; -1 with an exception set.
  int differentiated(PyObject* weight, PyObject* other) const {
    static PyObject* name = PyUnicode_InternFromString("requires_grad");
    bool asked = false;
    for (PyObject* object : {weight, other}) {
      if (PyFloat_CheckExact(object)) continue;
      PyObject* answer = PyObject_GetAttr(object, name);
      if (answer == nullptr) return -1;
      asked |= answer == Py_True;
      Py_DECREF(answer);
    }
    if (!asked) return 0;
    PyObject* enabled = PyObject_CallNoArgs(is_grad_enabled);
    if (enabled == nullptr) return -1;
    Py_DECREF(enabled);
    return enabled == Py_True;
  }

  // A new vector beside a tensor.
  PyObject* vector(PyObject* beside, int64_t size, PyObject* dtype) const {
    static PyObject* name = PyUnicode_InternFromString("new_empty");
    static PyObject* keywords = Py_BuildValue("(s)", "dtype");
    PyObject* count = PyLong_FromLongLong(size);
    if (count == nullptr) return nullptr;
    PyObject* arguments[] = {beside, count, dtype};
    PyObject* made = PyObject_VectorcallMethod(name, arguments, 2, keywords);
    Py_DECREF(count);
    return made;
  }
};

inline bool floating(const DLTensor& view, DType& dtype) {
  constexpr uint8_t kFloat = 2, kBFloat = 4;
  const auto is = [&view](uint8_t code, uint8_t bits) { return view.dtype.code == code && view.dtype.bits == bits; };
  if (is(kFloat, 32)) dtype = DType::float32;
  else if (is(kFloat, 64)) dtype = DType::float64;
  else if (is(kBFloat, 16)) dtype = DType::bfloat16;
  else if (is(kFloat, 16)) dtype = DType::float16;
  else return false;
  return view.dtype.lanes == 1;
}

// How many numbers there are, if they lie in the order of the dimensions (`last` < 0), or with dimension `last` innermost
// and else in that order; -1 if they lie otherwise.
inline int64_t dense(const DLTensor& view, int32_t last = -1) {
  int64_t count = last < 0 ? 1 : view.shape[last];
  if (last >= 0 && count != 1 && view.strides[last] != 1) return -1;
  for (int32_t i = view.ndim - 1; i >= 0; --i) {
    if (i == last) continue;
    if (view.shape[i] != 1 && view.strides[i] != count) return -1;
    count *= view.shape[i];
  }
  return count;
}

// A weight and its groups, as lomt_kernels/layout.py has them.
struct Groups {
  DType dtype;
  DLTensor view;
  Form form;

  // False where a weight is not plain, is empty or lies neither in order nor in channels_last, and where it has no such
  // groups.
  bool of(const Torch& torch, PyObject* weight, PyObject* axis, PyObject* conv_groups, PyObject* adjacent) {
    if (!torch.plain(weight, view) || !floating(view, dtype) || view.ndim < 2) return false;
    if (!PyUnicode_Check(axis) || !PyLong_Check(conv_groups) || !PyLong_Check(adjacent)) return false;
    const int64_t groups = number(conv_groups), block = number(adjacent);
    const bool in = PyUnicode_CompareWithASCIIString(axis, "in") == 0;
    if (!in && PyUnicode_CompareWithASCIIString(axis, "out") != 0) return false;
    const int64_t out = view.shape[0], inner = view.shape[1];
    if (groups < 1 || block < 1 || out % groups != 0 || (in ? inner : out / groups) % block != 0) return false;
    int64_t count = dense(view);
    const bool ordered = count >= 0;
    if (!ordered && (view.ndim == 4 || view.ndim == 5)) count = dense(view, 1);
    if (count < 1) return false;
    const int64_t size = count / out, rows = out / groups, window = size / inner;
    if (!in) {
      form = {1, 0, 1, 0, count, block * size};
    } else if (ordered) {
      form = {groups, rows * size, rows, size, size, block * window};
    } else {
      form = {groups, rows * size, rows * window, inner, inner, block};
    }
    return true;
  }

 private:
  static int64_t number(PyObject* object) {
    int overflow = 0;
    return PyLong_AsLongLongAndOverflow(object, &overflow);  // -1 where it does not fit
  }
};

}  // namespace lomt
