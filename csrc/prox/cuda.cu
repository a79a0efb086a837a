#include <stdexcept>
#include "../common/cuda_calls.h"
namespace lomt {
void cuda_prox(const ProxCall&, void*, int, void*) { throw std::runtime_error("not yet"); }
}
