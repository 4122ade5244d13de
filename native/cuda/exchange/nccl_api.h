// NCCL 2 (libnccl.so.2) as far as exchange.cc uses it: our own declarations, so that building needs no NCCL and one binary
// serves machines with and without it. The numbers are part of NCCL's ABI, which grows by appending; they and the signatures
// were compared with nccl.h of 2.30.7, whose library opens and makes ids. The functions are a table, filled by nccl_api.cc from
// the library or by a test with its own.
#pragma once
#include <cuda_runtime.h>

#include <climits>
#include <cstddef>
#include <string>

namespace wbsr::cuda::nccl {

enum Result : int {
  kSuccess = 0,
  kUnhandledCudaError = 1,
  kSystemError = 2,
  kInternalError = 3,
  kInvalidArgument = 4,
  kInvalidUsage = 5,
  kRemoteError = 6,
  kInProgress = 7,
};
constexpr int kFloat32 = 7;  // of ncclDataType_t

struct UniqueId {
  char bytes[128];
};
using Comm = struct Communicator*;  // ncclComm_t

// ncclConfig_t of 2.14, the first version of it, which later libraries accept by its size and version.
struct Config {
  size_t size = sizeof(Config);
  unsigned magic = 0xcafebeef;
  unsigned version = 21400;
  int blocking = 0;  // calls return before they are done, so that they can be given up
};

struct Api {
  int (*getVersion)(int*);
  int (*getUniqueId)(UniqueId*);
  int (*commInitRankConfig)(Comm*, int ranks, UniqueId, int rank, Config*);
  int (*commGetAsyncError)(Comm, int*);
  int (*commAbort)(Comm);
  int (*send)(const void*, size_t count, int type, int to, Comm, cudaStream_t);
  int (*recv)(void*, size_t count, int type, int from, Comm, cudaStream_t);
  const char* (*getErrorString)(int);
  const char* (*getLastError)(Comm);
};

// Loads libnccl.so.2 unless it is loaded; returns "", or what was tried. Thread-safe. The next call retries a failure.
std::string open();
// After open() returned empty, or install().
const Api& api();
// For tests: replaces the table; null: none, the library is looked for again. Not while another thread uses the table.
void install(const Api* table);

}  // namespace wbsr::cuda::nccl
