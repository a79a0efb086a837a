// What every CUDA launch does around itself.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace lomt {

inline void check(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(status));
}

// Makes a device the current one for a while.
struct OnDevice {
  explicit OnDevice(int device) {
    check(cudaGetDevice(&before));
    if (before != device) check(cudaSetDevice(device));
    now = device;
  }
  ~OnDevice() {
    if (before != now) cudaSetDevice(before);
  }
  int before = 0, now = 0;
};

}  // namespace lomt
