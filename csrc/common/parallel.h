// Work on several threads, by whoever has them: torch's own pool, whose address the caller passes in.
#pragma once

#include <cstdint>

namespace lomt {

using Body = void (*)(int64_t begin, int64_t end, void* context);
// libtorch_cpu exports this one with a C signature (torch_parallel_for, since 2.10).
using ParallelFor = int32_t (*)(int64_t begin, int64_t end, int64_t grain, Body body, void* context);

// And this one says how many threads that uses.
using ThreadCount = int32_t (*)(uint32_t* count);

// Calls body(begin, end) over parts of [0, count); serially where there is no pool.
template <class F>
void parallel(ParallelFor pool, int64_t count, int64_t grain, F& body) {
  if (count <= 0) return;
  if (pool == nullptr || count <= grain) {
    body(int64_t{0}, count);
    return;
  }
  pool(0, count, grain, [](int64_t begin, int64_t end, void* context) { (*static_cast<F*>(context))(begin, end); },
       &body);
}

}  // namespace lomt
