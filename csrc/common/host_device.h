// Functions that run on hosts and on devices alike.
#pragma once

#ifdef __CUDACC__
#define LOMT_HD __host__ __device__ __forceinline__
#else
#define LOMT_HD inline
#endif
